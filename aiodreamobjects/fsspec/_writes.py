"""What is given to writes, in this library's names or in boto's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NAMES = {
    "ACL": "acl",
    "CacheControl": "cache_control",
    "ContentDisposition": "content_disposition",
    "ContentEncoding": "content_encoding",
    "ContentLanguage": "content_language",
    "ContentType": "content_type",
    "Expires": "expires",
    "Metadata": "metadata",
    "ServerSideEncryption": "encryption",
    "StorageClass": "storage_class",
    "WebsiteRedirectLocation": "website_redirect",
}
OWN = {*NAMES.values(), "checksum", "headers", "if_match", "legal_hold", "retention", "verify"}
IGNORED = {"blocksize", "chunksize", "fill_cache", "max_concurrency"}
"""Ways of s3fs to cut what is sent, which the session's limits decide here."""


def options_of(given: Mapping[str, Any], mode: str = "overwrite") -> dict[str, Any]:
    """Return the options of a put. Raise TypeError for an unknown one."""
    options: dict[str, Any] = {}
    for name, value in given.items():
        own = NAMES.get(name, name)
        if own in IGNORED:
            continue
        if own not in OWN:
            msg = f"unknown option {name!r} of a write; there are: {', '.join(sorted({*OWN, *NAMES}))}"
            raise TypeError(msg)
        if value is not None and value is not False:
            options[own] = value
    if mode not in ("overwrite", "create"):
        msg = f"mode must be 'overwrite' or 'create', not {mode!r}"
        raise ValueError(msg)
    if mode == "create":
        options["if_absent"] = True
    return options
