"""Objects that a browser's form stores. The form's policy, which is signed, says what is allowed.

Source: Amazon S3 API reference, "Browser-Based Uploads Using POST".
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final
from urllib.parse import urlencode

from aiodreamobjects._memory import acls
from aiodreamobjects._memory.buckets import tags_in
from aiodreamobjects._memory.calls import Call, Reply
from aiodreamobjects._memory.checksums import check_digests
from aiodreamobjects._memory.codes import Code, S3Error
from aiodreamobjects._memory.documents import document, element, parsed
from aiodreamobjects._memory.objects import CONTENT_HEADERS, check_key, put_object
from aiodreamobjects._memory.signatures import check_keys, check_scope, sealed, sealed_v2
from aiodreamobjects._memory.store import Store

_OF_SIGNATURE: Final = frozenset(
    f"x-amz-{name}" for name in ("algorithm", "credential", "date", "security-token", "signature")
)
_UNCHECKED: Final = frozenset({"awsaccesskeyid", "bucket", "file", "policy", "signature", "x-amz-signature"})
"""Fields that need no condition in the policy. The same holds for names that begin with ``x-ignore-``."""


def post_object(store: Store, call: Call) -> Reply:
    fields, content, filename = _form_of(call)
    fields["bucket"], fields["key"] = call.bucket, fields.get("key", "").replace("${filename}", filename)
    if not fields["key"]:
        raise S3Error(Code.InvalidArgument, "Bucket POST must contain a field named 'key'.")
    if "policy" in fields:
        _check_signature(store, fields)
        _check_policy(fields, len(content), store.now())
    else:
        acls.require(store.bucket(call.bucket).acl, "WRITE")
    check_key(fields["key"])
    stored = replace(call, key=fields["key"], headers=_headers_of(fields), body=content)
    store.dialect.check_headers(stored)
    check_digests(stored, is_signed=False)
    reply = put_object(store, stored)
    return _answered(call, fields, reply)


def _headers_of(fields: Mapping[str, str]) -> dict[str, str]:
    """Return the headers of a PUT that stores the same object."""
    headers = {
        name: value
        for name, value in fields.items()
        if name in CONTENT_HEADERS or (name.startswith("x-amz-") and name not in _OF_SIGNATURE)
    }
    if "acl" in fields:
        headers["x-amz-acl"] = fields["acl"]
    if "tagging" in fields:
        headers["x-amz-tagging"] = urlencode(tags_in(parsed(fields["tagging"].encode(), "Tagging")))
    return headers


def _answered(call: Call, fields: Mapping[str, str], stored: Reply) -> Reply:
    """Answer as the form asks: with a redirection, or with the status it names."""
    if url := fields.get("success_action_redirect"):
        etag = stored.headers["ETag"].strip('"')
        sign = "&" if "?" in url else "?"
        where = f"{url}{sign}bucket={call.bucket}&key={fields['key']}&etag=%22{etag}%22"
        return Reply(HTTPStatus.SEE_OTHER, {**stored.headers, "Location": where})
    status = fields.get("success_action_status")
    if status == str(int(HTTPStatus.CREATED)):
        facts = element("Bucket", call.bucket), element("Key", fields["key"]), element("ETag", stored.headers["ETag"])
        return document("PostResponse", *facts, headers=stored.headers, status=HTTPStatus.CREATED)
    return replace(stored, status=HTTPStatus.OK if status == "200" else HTTPStatus.NO_CONTENT)


def _form_of(call: Call) -> tuple[dict[str, str], bytes, str]:
    """Return the fields before the file by their names in lower case, the file's content, and the file's name."""
    found = re.fullmatch(r'multipart/form-data;.*?boundary="?([^";]+)"?.*', call.headers.get("content-type", ""))
    if found is None:
        raise S3Error(Code.MalformedPOSTRequest)
    fields: dict[str, str] = {}
    for part in (b"\r\n" + call.body).split(f"\r\n--{found[1]}".encode("latin-1"))[1:]:
        head, blank, content = part.partition(b"\r\n\r\n")
        name = re.search(r'[; ]name="([^"]*)"', head.decode(errors="replace"))
        if not blank or name is None:
            break
        if name[1].lower() == "file":
            filename = re.search(r'filename="([^"]*)"', head.decode(errors="replace"))
            return fields, content, filename[1] if filename else ""
        fields[name[1].lower()] = content.decode(errors="replace")
    raise S3Error(Code.InvalidArgument, "POST requires exactly one file upload per request.")


def _check_signature(store: Store, fields: Mapping[str, str]) -> None:
    dialect, token = store.dialect, fields.get("x-amz-security-token")
    if "x-amz-signature" in fields:
        access_key, _, scope = fields.get("x-amz-credential", "").partition("/")
        check_keys(dialect, access_key, token)
        check_scope(dialect, scope, fields.get("x-amz-date", ""))
        expected, signature = sealed(dialect.secret_key, scope, fields["policy"]), fields["x-amz-signature"]
    else:
        check_keys(dialect, fields.get("awsaccesskeyid", ""), token)
        expected, signature = sealed_v2(dialect.secret_key, fields["policy"]), fields.get("signature", "")
    if not hmac.compare_digest(expected, signature):
        raise S3Error(Code.SignatureDoesNotMatch)


def _check_policy(fields: Mapping[str, str], size: int, now: datetime) -> None:
    """Raise S3Error unless all conditions hold and each field has one."""
    try:
        policy = json.loads(base64.b64decode(fields["policy"], validate=True))
        ends = datetime.fromisoformat(policy["expiration"]).astimezone(UTC)
        conditions = [_condition(one) for one in policy["conditions"]]
    except (binascii.Error, ValueError, KeyError, TypeError, AttributeError):
        raise S3Error(Code.InvalidPolicyDocument) from None
    if now > ends:
        raise S3Error(Code.AccessDenied, "Invalid according to Policy: Policy expired.")
    named = set(_UNCHECKED)
    for kind, name, value in conditions:
        named.add(name)
        if not _holds(kind, name, value, fields, size):
            msg = f'Invalid according to Policy: Policy Condition failed: ["{kind}", "{name}", "{value}"]'
            if isinstance(value, range):
                raise S3Error(Code.EntityTooSmall if size < value.start else Code.EntityTooLarge)
            raise S3Error(Code.AccessDenied, msg)
    if extra := {name for name in fields if name not in named and not name.startswith("x-ignore-")}:
        msg = f"Invalid according to Policy: Extra input fields: {', '.join(sorted(extra))}"
        raise S3Error(Code.AccessDenied, msg)


def _condition(condition: object) -> tuple[str, str, object]:
    """Return the condition's kind, its field in lower case, and the value."""
    if isinstance(condition, dict):
        ((name, value),) = condition.items()
        return "eq", name.lower(), value
    if not isinstance(condition, list):
        raise TypeError
    kind, name, value = condition
    if kind == "content-length-range":
        return kind, "", range(int(name), int(value) + 1)
    return kind.lower(), name.lower().removeprefix("$"), value


def _holds(kind: str, name: str, value: object, fields: Mapping[str, str], size: int) -> bool:
    if isinstance(value, range):
        return size in value
    if kind == "starts-with":
        return fields.get(name, "").startswith(str(value))
    return kind == "eq" and fields.get(name) == value
