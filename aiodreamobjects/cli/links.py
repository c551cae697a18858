"""``presign``."""

from __future__ import annotations

from typing import Any

import click

from aiodreamobjects.cli.addresses import one_object
from aiodreamobjects.cli.app import App
from aiodreamobjects.cli.errors import RefusedError
from aiodreamobjects.cli.options import command, pass_app, version_id
from aiodreamobjects.cli.values import DURATION

_METHODS = ("get", "put", "head", "delete")


@command(
    "presign",
    examples="""
dreamobjects presign s3://photos/a.jpg                      # anyone can read it, for an hour
dreamobjects presign s3://photos/a.jpg --expires 7d
dreamobjects presign put s3://inbox/new.jpg --content-type image/jpeg
curl -T new.jpg -H 'Content-Type: image/jpeg' "$(dreamobjects presign put s3://inbox/new.jpg --content-type image/jpeg)"
""",
)
@click.argument("words", metavar="[get|put|head|delete] URI", nargs=-1, required=True)
@click.option(
    "--expires", type=DURATION, default="1h", show_default=True, metavar="TIME", help="How long it works; at most 7d."
)
@click.option("--content-type", metavar="VALUE", help="For put: the header that whoever uploads must send.")
@click.option("--download-as", metavar="NAME", help="For get: browsers save it under this name.")
@version_id
@pass_app
async def presign_command(app: App, words: tuple[str, ...], **options: Any) -> None:
    """Print a link with which anyone can read, write, look at or delete an object until it expires."""
    method = words[0] if len(words) == 2 else "get"  # noqa: PLR2004 - a method and an address
    if method not in _METHODS or len(words) > 2:  # noqa: PLR2004
        msg = f"presign {' '.join(words)}: needs one of {', '.join(_METHODS)}, and one address"
        raise RefusedError(msg)
    where = one_object(words[-1])
    obj = (await app.session()).bucket(where.bucket).object(where.key)
    expires = options["expires"]
    if method == "put":
        given = {} if options["content_type"] is None else {"content_type": options["content_type"]}
        if options["version_id"] is not None:
            msg = "--version-id: a put makes a new version: leave it out"
            raise RefusedError(msg)
        url = obj.presign_put(expires, **given)
    elif method == "get":
        name = options["download_as"]
        headers = None if name is None else {"content-disposition": _attachment(name)}
        url = obj.presign_get(expires, response_headers=headers, version_id=options["version_id"])
    else:
        url = obj.presign("HEAD" if method == "head" else "DELETE", expires, version_id=options["version_id"])
    if app.out.is_json:
        values = {"action": "presign", "source": str(where), "method": method.upper(), "url": str(url)}
        app.out.record("action", {**values, "expires_in": expires.total_seconds()})
    else:
        app.out.line(str(url))


def _attachment(name: str) -> str:
    """Return the header that saves a download under a name (RFC 6266, and RFC 8187 for other characters)."""
    if name.isascii() and name.isprintable() and not {'"', "\\", "%"} & set(name):
        return f'attachment; filename="{name}"'
    from urllib.parse import quote  # noqa: PLC0415 - only here

    return f"attachment; filename*=UTF-8''{quote(name, safe='')}"
