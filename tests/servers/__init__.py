"""Services for the contract tests to talk to."""
