"""What is given to writes, in this library's names or in boto's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import aiodreamobjects as dream

NAMES = {
    "ACL": "acl",
    "CacheControl": "cache_control",
    "ChecksumAlgorithm": "checksum",
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
OWN = {*NAMES.values(), "headers", "if_match", "legal_hold", "retention", "verify"}
IGNORED = {"blocksize", "chunksize", "fill_cache", "max_concurrency"}
"""Ways of s3fs to cut what is sent, which the session's limits decide here."""
OF_COPIES = {"acl", "checksum", "encryption", "storage_class"}
"""Defaults that copies take too. A copy keeps the headers and the metadata of its source, as in S3."""
OF_TREES = {*NAMES.values()} - {"checksum"}
KMS_KEY = "SSEKMSKeyId"


def options_of(given: Mapping[str, Any], mode: str = "overwrite") -> dict[str, Any]:
    """Return the options of a put. Raise TypeError for an unknown one."""
    options: dict[str, Any] = {}
    for name, value in given.items():
        own = NAMES.get(name, name)
        if own in IGNORED or name == KMS_KEY:
            continue
        if own not in OWN:
            msg = f"unknown option {name!r} of a write; there are: {', '.join(sorted({*OWN, *NAMES, KMS_KEY}))}"
            raise TypeError(msg)
        if value is not None and value is not False:
            options[own] = value.lower() if name == "ChecksumAlgorithm" else value
    key_id = given.get(KMS_KEY)
    if options.get("encryption") == "aws:kms":
        options["encryption"] = dream.SseKms(key_id)
    elif key_id is not None:
        msg = f"{KMS_KEY} needs ServerSideEncryption='aws:kms'"
        raise ValueError(msg)
    if mode not in ("overwrite", "create"):
        msg = f"mode must be 'overwrite' or 'create', not {mode!r}"
        raise ValueError(msg)
    if mode == "create":
        options["if_absent"] = True
    return options


def defaults_of(given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the options that s3fs's ``s3_additional_kwargs`` gives to every write. Raise TypeError for an unknown one."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        msg = f"s3_additional_kwargs must be a mapping such as {{'StorageClass': 'STANDARD_IA'}}, not {given!r}"
        raise TypeError(msg)
    if unknown := given.keys() - {*NAMES, KMS_KEY}:
        msg = f"s3_additional_kwargs has no {min(unknown)!r} here; there are: {', '.join(sorted({*NAMES, KMS_KEY}))}"
        raise TypeError(msg)
    return options_of(given)
