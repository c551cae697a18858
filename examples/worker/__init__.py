"""A worker that compresses objects, by arq: see tasks.py."""
