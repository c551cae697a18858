"""How fast this library is beside others: ``python -m benchmarks``, with large objects ``python -m benchmarks.large``,
with listings, deletions and trees of files ``python -m benchmarks.many``.

Not installed with it.
"""
