"""Access control lists: canned names, grants, their XML, and what they allow without credentials."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final, cast, get_args
from xml.etree import ElementTree as ET

from aiodreamobjects._acls import ALL_USERS, AUTHENTICATED_USERS, Acl, Grant, Permission
from aiodreamobjects._memory.calls import Call, Reply
from aiodreamobjects._memory.codes import Code, S3Error
from aiodreamobjects._memory.dialects import Dialect
from aiodreamobjects._memory.documents import document, element, nested, parsed, text_in
from aiodreamobjects._memory.store import OWNER, PRIVATE, Bucket, Store, Version

_PUBLIC: Final = Grant("READ", uri=ALL_USERS)
_CANNED: Final = {
    "private": PRIVATE,
    "public-read": Acl(OWNER, (*PRIVATE.grants, _PUBLIC)),
    "public-read-write": Acl(OWNER, (*PRIVATE.grants, _PUBLIC, Grant("WRITE", uri=ALL_USERS))),
    "authenticated-read": Acl(OWNER, (*PRIVATE.grants, Grant("READ", uri=AUTHENTICATED_USERS))),
    "bucket-owner-read": PRIVATE,
    "bucket-owner-full-control": PRIVATE,
}
_GRANT_HEADERS: Final[dict[str, Permission]] = {
    f"x-amz-grant-{permission.lower().replace('_', '-')}": permission for permission in get_args(Permission)
}
_OF_B2: Final = ("private", "public-read")


def owner(name: str = "Owner") -> str:
    return nested(name, element("ID", OWNER), element("DisplayName", OWNER))


OWNER_XML: Final = owner()


# What a request gives


def bucket_acl(dialect: Dialect, call: Call) -> Acl | None:
    """Return the ACL that a request's headers give a bucket, if they give one."""
    return _in_headers(dialect, call, _OF_B2 if "acl_grants" in dialect.refuses else None)


def object_acl(dialect: Dialect, bucket: Bucket, call: Call) -> Acl | None:
    """Return the ACL that a request's headers give an object, if they give one.

    Where an object always has its bucket's ACL, only that one is allowed.
    """
    return _in_headers(dialect, call, (bucket.acl.canned or "",) if "object_acl" in dialect.refuses else None)


def _in_headers(dialect: Dialect, call: Call, allowed: Sequence[str] | None) -> Acl | None:
    """``allowed`` are the only names for it; None for all names, and grants."""
    name = call.amz.get("x-amz-acl")
    grants = [one for header in call.amz if header in _GRANT_HEADERS for one in _grants_in(call.amz[header], header)]
    if grants and name is not None:
        raise S3Error(Code.InvalidRequest, "Specifying both Canned ACLs and Header Grants is not allowed")
    if grants:
        if allowed is not None:
            raise S3Error(dialect.acl_refusal, "Only canned ACLs are supported.")
        return Acl(OWNER, tuple(grants))
    if name is None:
        return None
    if name in (_CANNED if allowed is None else allowed):
        return _CANNED[name]
    if name not in _CANNED and dialect.acl_refusal is not Code.InvalidArgument:
        raise S3Error(Code.InvalidArgument, f"'{name}' is no canned ACL.")
    raise S3Error(dialect.acl_refusal, f"Unsupported value for canned acl '{name}'")


def _grants_in(value: str, header: str) -> Iterator[Grant]:
    permission = _GRANT_HEADERS[header]
    for one in filter(None, value.split(",")):
        kind, _, who = one.strip().partition("=")
        who = who.strip('"')
        if kind == "emailAddress":
            raise S3Error(Code.UnresolvableGrantByEmailAddress)
        if kind not in ("id", "uri") or not who:
            raise S3Error(Code.InvalidArgument, "Argument format not recognized")
        yield Grant(permission, uri=who) if kind == "uri" else Grant(permission, id=who)


def get_acl(store: Store, call: Call) -> Reply:
    bucket = store.bucket(call.bucket)
    acl = acl_of(store.dialect, bucket, _version_of(bucket, call)) if call.key else bucket.acl
    return document("AccessControlPolicy", OWNER_XML, nested("AccessControlList", *map(_grant, acl.grants)))


def put_acl(store: Store, call: Call) -> Reply:
    bucket, dialect = store.bucket(call.bucket), store.dialect
    version = _version_of(bucket, call) if call.key else None
    if version is not None:
        acl = object_acl(dialect, bucket, call) or _given(call, dialect, is_refused="object_acl" in dialect.refuses)
        bucket.change(version, replace(version.attached, acl=acl))
    else:
        is_refused = "acl_grants" in dialect.refuses
        bucket.acl = bucket_acl(dialect, call) or _given(call, dialect, is_refused=is_refused)
    return Reply()


def _version_of(bucket: Bucket, call: Call) -> Version:
    return bucket.readable(call.key, call.query.get("versionId"))


def _given(call: Call, dialect: Dialect, *, is_refused: bool) -> Acl:
    """Return the ACL in a request's body."""
    if is_refused:
        raise S3Error(dialect.acl_refusal, "Only canned ACLs are supported.")
    if not call.body:
        raise S3Error(Code.InvalidRequest, "An ACL is needed, by its name or in the body.")
    root = parsed(call.body, "AccessControlPolicy")
    if text_in(root, "Owner/ID") != OWNER:
        raise S3Error(Code.AccessDenied, "An ACL cannot change the owner.")
    return Acl(OWNER, tuple(_parsed_grant(one) for one in root.iterfind("{*}AccessControlList/{*}Grant")))


def _parsed_grant(element: ET.Element) -> Grant:
    permission = text_in(element, "Permission")
    if permission not in get_args(Permission):
        raise S3Error(Code.MalformedACLError)
    if text_in(element, "Grantee/EmailAddress") is not None:
        raise S3Error(Code.UnresolvableGrantByEmailAddress)
    found, uri = text_in(element, "Grantee/ID"), text_in(element, "Grantee/URI")
    if (found is None) == (uri is None):
        raise S3Error(Code.MalformedACLError)
    return Grant(cast(Permission, permission), id=found, uri=uri)


def _grant(grant: Grant) -> str:
    kind, who = ("Group", element("URI", grant.uri)) if grant.uri else ("CanonicalUser", element("ID", grant.id or ""))
    attributes = f'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="{kind}"'
    return nested("Grant", f"<Grantee {attributes}>{who}</Grantee>", element("Permission", grant.permission))


# What it allows


def acl_of(dialect: Dialect, bucket: Bucket, version: Version) -> Acl:
    return bucket.acl if "object_acl" in dialect.refuses else version.attached.acl


def require(acl: Acl, permission: Permission) -> None:
    """Raise AccessDenied unless the ACL gives everybody this permission."""
    given = {grant.permission for grant in acl.grants if grant.uri == ALL_USERS}
    if not given & {permission, "FULL_CONTROL"}:
        raise S3Error(Code.AccessDenied)
