"""How fast this library and other clients are, and which faults they survive. Not installed with it.

    python -m benchmarks            small objects: small.py
    python -m benchmarks.large      large objects
    python -m benchmarks.many       listings, deletions and trees of files
    python -m benchmarks.filesystems    the filesystem for fsspec, beside s3fs and obstore's
    python -m benchmarks.scale      several processes beside one
    python -m benchmarks.faults     faults: faults_kinds.py says which, faults_jobs.py is a client's process

``clients/`` has one adapter for each client. ``run.py`` has what all works share: sides that take turns, a process for each
turn (``turn.py``), and the page. ``results.py`` makes the figures and tables. ``moves.py`` is the bench of large and many
objects. ``nginx_s3.py`` and ``ceph_rgw.py`` are the servers.
"""
