"""An S3 service in this process: behind the ``Transport`` of a session, or behind a real socket.

``store`` keeps the state, ``s3`` turns a request into a reply, and ``faults`` says what goes wrong. ``engine`` puts the
three together. ``transport`` and ``server`` bring requests to it.

To add something: an operation is a row of ``OPERATIONS`` in ``s3``, a bucket's setting a row of ``SETTINGS`` in
``buckets``, a request's header a name in ``dialects``, and what is attached to a version a field of ``Attached`` in
``store``. Everything else that is new gets a small file of its own, such as ``locks``, ``keys`` and ``checksums``.
"""
