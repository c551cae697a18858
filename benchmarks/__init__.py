"""How fast this library is beside others: ``python -m benchmarks``. Not installed with it."""
