"""What the sides work on: a server, its buckets and their objects."""

from __future__ import annotations

from dataclasses import dataclass

BUCKET = "bench"
PAYLOAD = bytes(range(256)) * 4
"""What every object of BUCKET holds: 1 KiB."""
READ_KEYS = [f"read/{number}" for number in range(1000)]
"""The objects of BUCKET that are read and never written."""


class ServerUnavailableError(Exception):
    """This server cannot be started here; says why."""


@dataclass(frozen=True, slots=True)
class Server:
    name: str
    endpoint: str
    access_key: str
    secret_key: str
    region: str
    version: str
    makes_up_listings: bool
    """Then any bucket of :func:`list_bucket` is there, with keys of sizes 1, 2, 3 and so on; else they are empty."""
    tls_endpoint: str = ""
    """The same over TLS, if it speaks that; ``certificate`` is then the PEM file to trust."""
    certificate: str = ""
    objects: str = ""
    """The directory of the buckets, where objects are files."""
    delayed_endpoint: str = ""
    """The same with latency, if it was asked for."""
    process: int = 0
    """The one that does the work, where it is one."""


def list_bucket(keys: int) -> str:
    """The bucket that holds this many keys to be listed."""
    return f"list-{keys}"
