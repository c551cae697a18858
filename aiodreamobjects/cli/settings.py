"""``headers``, and the settings of buckets and objects: ``acl``, ``tags``, ``cors`` and so on."""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import click

import aiodreamobjects as dream
from aiodreamobjects.cli.addresses import Remote, bucket_of, one_object, remote
from aiodreamobjects.cli.app import App
from aiodreamobjects.cli.errors import RefusedError
from aiodreamobjects.cli.finding import one_or_all
from aiodreamobjects.cli.looking import as_json
from aiodreamobjects.cli.options import (
    HEADER_NAMES,
    command,
    filters,
    headers,
    headers_of,
    key_of,
    pass_app,
    raw,
    recursive,
    version_id,
)
from aiodreamobjects.cli.values import MOMENT

# Headers of objects


@command(
    "headers",
    examples="""
dreamobjects headers s3://www/index.html --cache-control no-cache
dreamobjects headers -r s3://www/ --include '*.css' --content-type text/css
dreamobjects headers s3://www/a.html --metadata author=ann --remove cache-control --remove draft
""",
)
@click.argument("address", metavar="URI")
@recursive
@raw
@filters
@headers
@click.option("--remove", multiple=True, metavar="NAME", help="Remove a header, or a name of the metadata.")
@click.option("--sse-c", metavar="FILE", help="A file with the 32 bytes of the object's encryption key.")
@pass_app
async def headers_command(app: App, address: str, **options: Any) -> None:
    """Change headers and metadata in place. What is not given stays, also ACL and tags."""
    where = remote(address, is_raw=options["raw"])
    if options["recursive"] and where.wildcard is None:
        where = where.below()
    elif where.is_directory:
        msg = f"{where}: add -r to change all objects below it"
        raise RefusedError(msg)
    given, key = headers_of(options), key_of(options["sse_c"])
    metadata: dict[str, str] = given.pop("metadata", {})
    removed = [name.lower().replace("-", "_") for name in options["remove"]]
    given |= {name: None for name in removed if name in HEADER_NAMES}
    unwanted = {name.lower() for name in options["remove"] if name.lower().replace("-", "_") not in HEADER_NAMES}
    if not given and not metadata and not unwanted:
        msg = f"headers {address}: nothing to change: give a header, --metadata or --remove"
        raise RefusedError(msg)
    session = await app.session()

    async def act(info: dream.ObjectInfo) -> None:
        obj, changes = session.bucket(info.bucket).object(info.key), dict(given)
        if not app.is_dry:
            if metadata or unwanted:
                old = (await obj.head(encryption=key)).metadata or {}
                changes["metadata"] = {name: value for name, value in old.items() if name not in unwanted} | metadata
            await obj.set_headers(encryption=key, **changes)
        app.acted("headers", Remote(info.bucket, info.key))

    if where.wildcard is None and not where.is_directory:
        await act(dream.ObjectInfo(where.bucket, where.key))
    else:
        await app.each(one_or_all(app, where, options), act, lambda info: Remote(info.bucket, info.key))
    app.summarize("headers")


# Settings

Get = Callable[[Any, Any], Awaitable[object]]
"""From the bucket or object and the options to the value."""
Put = Callable[[Any, Any, Any], Awaitable[None]]
Delete = Callable[[Any, Any], Awaitable[None]]
Read = Callable[[tuple[str, ...]], object]


def _document(words: tuple[str, ...]) -> object:
    """Return the JSON of an argument, of a file or of standard input."""
    if len(words) != 1:
        msg = "set needs one value: JSON, the name of a file with JSON, or - for standard input"
        raise RefusedError(msg)
    text = words[0]
    if text == "-":
        text = sys.stdin.read()
    elif not text.lstrip().startswith(("{", "[", '"')):
        text = Path(text).read_text(encoding="utf-8")
    try:
        return json.loads(text)
    except ValueError as error:
        msg = f"{words[0][:60]}: is not JSON: {error}"
        raise RefusedError(msg) from None


def _rules(words: tuple[str, ...]) -> object:
    found = _document(words)
    return found if isinstance(found, list) else [found]


def _lifecycle(words: tuple[str, ...]) -> object:
    """Return rules whose dates are times again, as ``get`` printed them."""
    rules = cast(list[dict[str, Any]], _rules(words))
    for rule in rules:
        for part in (rule.get("Expiration"), *(rule.get("Transitions") or ())):
            if isinstance(part, dict) and isinstance(part.get("Date"), str):
                part["Date"] = datetime.fromisoformat(part["Date"])
    return rules


def _tags(words: tuple[str, ...]) -> object:
    """Return tags from ``k=v`` words, or from JSON."""
    if words and all("=" in word and not word.lstrip().startswith("{") for word in words):
        return dict(word.split("=", 1) for word in words)
    found = _document(words)
    if not isinstance(found, dict):
        msg = 'tags must be k=v k2=v2, or a JSON object {"k": "v"}'
        raise RefusedError(msg)
    return found


def _switch(words: tuple[str, ...]) -> object:
    if len(words) == 1 and words[0].lower() in ("on", "off", "enabled", "suspended"):
        return "Enabled" if words[0].lower() in ("on", "enabled") else "Suspended"
    msg = "versioning set needs on or off"
    raise RefusedError(msg)


def _acl(words: tuple[str, ...]) -> object:
    """Return a canned name, or grants as ``get`` prints them."""
    if len(words) == 1 and not words[0].lstrip().startswith("{") and words[0] != "-" and not Path(words[0]).is_file():
        return words[0]
    found = _document(words)
    try:
        assert isinstance(found, dict)
        return dream.Acl(found["owner"], tuple(dream.Grant(**grant) for grant in found["grants"]))
    except (AssertionError, KeyError, TypeError):
        msg = 'an ACL must be a canned name such as public-read, or {"owner": ..., "grants": [{"permission": ..., "id": ...}]}'
        raise RefusedError(msg) from None


def _website(words: tuple[str, ...]) -> object:
    """Return the website: JSON, or the index and perhaps the error document."""
    is_document = bool(words) and (words[0] == "-" or words[0].lstrip().startswith("{") or words[0].endswith(".json"))
    if words and len(words) < 3 and not is_document:  # noqa: PLR2004 - index and error
        error = {"ErrorDocument": {"Key": words[1]}} if words[1:] else {}
        return {"IndexDocument": {"Suffix": words[0]}, **error}
    return _document(words)


def _encryption(words: tuple[str, ...]) -> object:
    if words in (("AES256",), ("aws:kms",)):
        return [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": words[0]}}]
    return _rules(words)


def _lock(words: tuple[str, ...]) -> object:
    if len(words) == 2 and words[1].rstrip("dy").isdigit():  # noqa: PLR2004 - mode and days
        number = int(words[1].rstrip("dy"))
        kind = {"years": number} if words[1].endswith("y") else {"days": number}
        return dream.Retention(cast(Any, words[0].upper()), **kind)
    msg = "lock set needs a mode and days or years: GOVERNANCE 30d, or COMPLIANCE 1y"
    raise RefusedError(msg)


def _retention(words: tuple[str, ...]) -> object:
    if len(words) == 2:  # noqa: PLR2004 - mode and time
        return dream.Retention(cast(Any, words[0].upper()), MOMENT.convert(words[1], None, None))
    msg = "retention set needs a mode and a time: GOVERNANCE 2027-01-31"
    raise RefusedError(msg)


def _setting(
    name: str, text: str, examples: str, *, read: Read, get: Get, put: Put, delete: Delete | None, on: str = "bucket"
) -> click.Command:
    """Make the command of one setting. ``on``: ``bucket``, ``object`` or ``both``."""

    @command(name, help=text, examples=examples)
    @click.argument("action", type=click.Choice(("get", "set", "rm")))
    @click.argument("address", metavar="URI")
    @click.argument("words", metavar="[VALUE|FILE]", nargs=-1)
    @version_id
    @click.option(
        "--bypass-governance", is_flag=True, hidden=name != "retention", help="Also change a GOVERNANCE retention."
    )
    @pass_app
    async def setting(app: App, action: str, address: str, words: tuple[str, ...], **options: Any) -> None:
        where = {"bucket": bucket_of, "object": one_object}.get(on, lambda given: remote(given, is_raw=True))(address)
        if action != "set" and words:
            msg = f"{name} {action} {address}: takes no value: {' '.join(words)}"
            raise RefusedError(msg)
        if options["version_id"] is not None and not where.key:
            msg = f"{where}: --version-id is a version of an object"
            raise RefusedError(msg)
        value = read(words) if action == "set" else None
        bucket = (await app.session()).bucket(where.bucket)
        target = bucket.object(where.key) if where.key else bucket
        if action == "get":
            found = await get(target, options)
            app.done += 1
            if app.out.is_json:
                shown = json.loads(as_json(found))
                app.out.record("object" if where.key else "bucket", {"address": str(where), name: shown})
            else:
                app.out.line(found if isinstance(found, str) else as_json(found))
            return
        if action == "rm" and delete is None:
            msg = f"{name} rm {address}: cannot be removed: set another one"
            raise RefusedError(msg)
        if not app.is_dry:
            await (put(target, value, options) if action == "set" else cast(Delete, delete)(target, options))
        app.acted(f"{name} {action}", where)

    return setting


def _at(options: dict[str, Any], target: object) -> dict[str, Any]:
    """Return the version, for objects."""
    return {"version_id": options["version_id"]} if isinstance(target, dream.Object) else {}


async def _get_acl(target: Any, options: Any) -> object:
    found = await target.acl(**_at(options, target))
    grants = [
        {name: value for name in ("permission", "id", "uri", "email") if (value := getattr(one, name)) is not None}
        for one in found.grants
    ]
    return {"owner": found.owner, "canned": found.canned, "grants": grants}


async def _delete_tags(target: Any, options: Any) -> None:
    if isinstance(target, dream.Object):
        await target.set_tags({}, **_at(options, target))
    else:
        await target.delete_tags()


acl_command = _setting(
    "acl",
    "Show or replace who may do what with a bucket or an object. The value is a canned name, or JSON as 'get' prints it.",
    "dreamobjects acl get s3://photos/a.jpg\ndreamobjects acl set s3://photos/a.jpg public-read",
    read=_acl,
    get=_get_acl,
    put=lambda target, value, options: target.set_acl(value, **_at(options, target)),
    delete=lambda target, options: target.set_acl("private", **_at(options, target)),
    on="both",
)
tags_command = _setting(
    "tags",
    "Show, replace or remove the tags of a bucket or an object.",
    "dreamobjects tags set s3://photos/a.jpg team=web stage=live\ndreamobjects tags get s3://photos",
    read=_tags,
    get=lambda target, options: target.tags(**_at(options, target)),
    put=lambda target, value, options: target.set_tags(value, **_at(options, target)),
    delete=_delete_tags,
    on="both",
)


def _of_bucket(name: str, text: str, examples: str, read: Read, verb: str | None = None) -> click.Command:
    """Make the command of a setting whose verbs are ``x``, ``set_x`` and ``delete_x``."""
    verb = verb or name
    return _setting(
        name,
        text,
        examples,
        read=read,
        get=lambda target, options: getattr(target, verb)(),  # noqa: ARG005 - the form of all
        put=lambda target, value, options: getattr(target, f"set_{verb}")(value),  # noqa: ARG005
        delete=lambda target, options: getattr(target, f"delete_{verb}")(),  # noqa: ARG005
    )


cors_command = _of_bucket(
    "cors",
    "Show, replace or remove the rules which web pages may use a bucket from a browser. JSON, as 'get' prints it.",
    """dreamobjects cors get s3://photos > rules.json
dreamobjects cors set s3://photos rules.json
dreamobjects cors set s3://photos '[{"AllowedMethods": ["GET"], "AllowedOrigins": ["*"]}]'""",
    _rules,
)
policy_command = _of_bucket(
    "policy",
    "Show, replace or remove the policy of a bucket: a JSON document.",
    "dreamobjects policy set s3://photos policy.json\ndreamobjects policy rm s3://photos",
    _document,
)
lifecycle_command = _of_bucket(
    "lifecycle",
    "Show, replace or remove the rules by which objects expire. JSON, as 'get' prints it.",
    """dreamobjects lifecycle set s3://logs '[{"Status": "Enabled", "Filter": {"Prefix": "tmp/"}, "Expiration": {"Days": 7}}]'""",
    _lifecycle,
)
website_command = _of_bucket(
    "website",
    "Show, replace or remove how a bucket is served as a website: an index and an error document, or JSON.",
    "dreamobjects website set s3://www index.html 404.html\ndreamobjects website get s3://www",
    _website,
)
versioning_command = _of_bucket(
    "versioning",
    "Show whether a bucket keeps old versions, or turn it on or off.",
    "dreamobjects versioning set s3://docs on",
    _switch,
)
encryption_command = _of_bucket(
    "encryption",
    "Show, replace or remove how a bucket encrypts new objects: AES256, aws:kms, or JSON.",
    "dreamobjects encryption set s3://docs AES256",
    _encryption,
)
lock_command = _of_bucket(
    "lock",
    "Show, replace or remove how long Object Lock protects new objects of a bucket.",
    "dreamobjects lock set s3://archive GOVERNANCE 30d\ndreamobjects lock get s3://archive",
    _lock,
    "object_lock",
)
retention_command = _setting(
    "retention",
    "Show, replace or remove until when Object Lock protects an object.",
    "dreamobjects retention set s3://archive/a.pdf GOVERNANCE 2027-01-31",
    read=_retention,
    get=lambda target, options: target.retention(**_at(options, target)),
    put=lambda target, value, options: target.set_retention(
        value.mode, value.until, options["bypass_governance"], **_at(options, target)
    ),
    delete=lambda target, options: target.set_retention(
        None, None, options["bypass_governance"], **_at(options, target)
    ),
    on="object",
)
