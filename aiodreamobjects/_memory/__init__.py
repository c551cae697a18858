"""An S3 service in this process: behind the ``Transport`` of a session, or behind a real socket.

``store`` keeps the state, ``s3`` turns a request into a reply, and ``faults`` says what goes wrong. ``engine`` puts the
three together. ``transport`` and ``server`` bring requests to it.
"""
