"""How fast this library is beside others: ``python -m benchmarks``, with large objects ``python -m benchmarks.large``.

Not installed with it.
"""
