"""A page of a listing that cannot be right is an error of every verb, before anything of that page is used."""

from __future__ import annotations

import itertools
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal
from urllib.parse import parse_qs, quote, unquote, urlsplit

import pytest
from servers.scripted import Received, Reply, ScriptedServer

import aiodreamobjects as dream

Listed = (
    dream.Listing[dream.ObjectInfo]
    | dream.Listing[dream.UploadInfo]
    | dream.Listing[dream.ObjectInfo | dream.CommonPrefix]
)

DATE = "2026-11-10T20:48:33.000Z"
MOST_EMPTY_PAGES = 1000

Item = str | tuple[str, str]
"""A key, or a key and the id of a version or an upload. A key that ends in ``/`` is a common prefix of ``list_dir``."""
Kind = Literal["objects", "dir", "versions", "uploads"]


def document(kind: Kind, items: Sequence[Item], token: str | None) -> bytes:
    rows, last = "", ""
    for item in items:
        key, unique = (item, "1") if isinstance(item, str) else item
        name = key if kind == "uploads" else quote(key)
        if kind == "uploads":
            rows += f"<Upload><Key>{name}</Key><UploadId>{unique}</UploadId><Initiated>{DATE}</Initiated></Upload>"
        elif kind == "dir" and key.endswith("/") and key != "p/":
            rows += f"<CommonPrefixes><Prefix>{name}</Prefix></CommonPrefixes>"
        else:
            tag, version = ("Version", f"<VersionId>{unique}</VersionId>") if kind == "versions" else ("Contents", "")
            told = f"<LastModified>{DATE}</LastModified><ETag>&quot;e&quot;</ETag><Size>1</Size>"
            rows += f"<{tag}><Key>{name}</Key>{version}{told}</{tag}>"
        last = name
    told = "<EncodingType>url</EncodingType>" if kind != "uploads" else ""
    told += f"<IsTruncated>{'false' if token is None else 'true'}</IsTruncated>"
    if token is not None:
        told += f"<NextContinuationToken>{token}</NextContinuationToken><NextMarker>{last or token}</NextMarker>"
        told += f"<NextKeyMarker>{last or token}</NextKeyMarker><NextVersionIdMarker>{token}</NextVersionIdMarker>"
        told += f"<NextUploadIdMarker>{token}</NextUploadIdMarker>"
    root = {"versions": "ListVersionsResult", "uploads": "ListMultipartUploadsResult"}.get(kind, "ListBucketResult")
    return f"<{root}>{told}{rows}</{root}>".encode()


class Liar:
    """Answers each listing of one kind with the next of these pages, and then, if it is ``endless``, with the first.

    Tokens are always fresh. All other listings are empty, and what is to be done is done.
    """

    def __init__(
        self, kind: Kind, pages: Sequence[Sequence[Item]], *, is_endless: bool = False, prefix: str = "p/"
    ) -> None:
        self.kind, self.pages, self.is_endless, self.prefix = kind, pages, is_endless, prefix
        self.listed = 0
        self.document: Callable[[Kind, Sequence[Item], str | None], bytes] = document
        self.first = 0
        """The page with which a circle begins again."""
        self.acted: list[str] = []
        """What was asked for beside listings."""

    def __call__(self, request: Received) -> Reply:
        target = urlsplit(request.target)
        query = parse_qs(target.query, keep_blank_values=True)
        if "versioning" in query:
            return Reply(200, b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>")
        is_of_object = target.path.strip("/").count("/") > 0
        if request.method == "GET" and not is_of_object:
            found: Kind = "versions" if "versions" in query else "uploads" if "uploads" in query else "objects"
            is_meant = found == self.kind.replace("dir", "objects") and query.get("prefix", [""])[0] == self.prefix
            return Reply(200, self._page() if is_meant else document(found, [], None))
        self.acted.append(unquote(request.target) + request.body.decode("latin-1"))
        if "delete" in query:
            keys = request.body.decode().split("<Object>")[1:]
            done = "".join(f"<Deleted>{key.partition('</Object>')[0]}</Deleted>" for key in keys)
            return Reply(200, f"<DeleteResult>{done}</DeleteResult>".encode())
        if request.method in ("GET", "HEAD"):
            return Reply(200, b"x", {"ETag": '"e"', "Last-Modified": "Tue, 10 Nov 2026 20:48:33 GMT"})
        if "x-amz-copy-source" in request.headers:
            return Reply(200, b"<CopyObjectResult><ETag>e</ETag></CopyObjectResult>")
        return Reply(204 if request.method == "DELETE" else 200, b"", {"ETag": '"e"'})

    def _page(self) -> bytes:
        number = self.listed
        self.listed += 1
        is_last = not self.is_endless and self.listed >= len(self.pages)
        if number >= len(self.pages):
            number = self.first + (number - self.first) % (len(self.pages) - self.first)
        return self.document(self.kind, self.pages[number], None if is_last else f"token{self.listed}")


@asynccontextmanager
async def session_to(scripted: ScriptedServer, list_type: Literal[1, 2] = 2) -> AsyncIterator[dream.Session]:
    service = replace(dream.Service.for_endpoint(scripted.endpoint), list_type=list_type)
    async with scripted.session(endpoint=None, service=service) as session:
        yield session


GOOD: list[Item] = ["p/1", "p/2"]
WRONG: Mapping[str, list[list[Item]]] = {
    "first without the prefix": [["bad", "p/3", "p/4"]],
    "in the middle without the prefix": [["p/3", "precious-bad", "p/4"]],
    "last without the prefix": [["p/3", "p/4", "q-bad"]],
    "all of another prefix": [["q/bad", "q/bad2"]],
    "a page later, in the middle": [GOOD, ["p/3bad", "precious-bad", "p/4bad"]],
    "a page later, first": [GOOD, ["bad", "p/4bad"]],
    "unsorted": [["p/4bad", "p/3bad"], ["p/5bad"]],
    "unsorted in the middle": [["p/3bad", "p/5bad", "p/4bad", "p/6bad"], []],
    "back on the next page": [["p/5"], ["p/4bad"]],
    "twice": [["p/3bad", "p/3bad", "p/4bad"]],
    "twice on two pages": [["p/3"], ["p/3", "p/4bad"]],
    "twice far behind": [["p/3"], ["p/4"], ["p/3", "p/7bad"]],
}
CIRCLES: Sequence[list[list[Item]]] = [
    [["p/1", "p/2"]],
    [["p/1", "p/2"], ["p/3", "p/4"]],
    [["p/1", "p/2"], ["p/3", "p/4"], ["p/5"]],
]

Use = Callable[[dream.Bucket, list[str]], Awaitable[object]]
"""Something that uses a listing. What it uses is noted in the list, where no request tells it."""


def listed(open_listing: Callable[[dream.Bucket], Listed]) -> Use:
    async def use(bucket: dream.Bucket, used: list[str]) -> None:
        async for item in open_listing(bucket):
            used.append(item.prefix if isinstance(item, dream.CommonPrefix) else item.key)  # noqa: PERF401 - up to the error

    return use


async def delete_many(bucket: dream.Bucket, _: list[str]) -> object:
    return await bucket.delete_many(bucket.list("p/"))


async def set_acl_many(bucket: dream.Bucket, _: list[str]) -> object:
    return await bucket.set_acl_many(bucket.list("p/"), "private")


async def copy_many(bucket: dream.Bucket, _: list[str]) -> object:
    return await bucket.copy_many([(info, f"to/{info.key}") async for info in bucket.list("p/")])


async def set_headers_many(bucket: dream.Bucket, _: list[str]) -> object:
    return await bucket.set_headers_many(bucket.list("p/"), expires="0")


async def abort_uploads(bucket: dream.Bucket, _: list[str]) -> object:
    return await bucket.abort_uploads(timedelta(0), prefix="p/")


async def download_tree(bucket: dream.Bucket, used: list[str]) -> object:
    with TemporaryDirectory() as place:
        Path(place, "mine").write_bytes(b"y")
        try:
            return await bucket.download_tree(place, "p", delete=True, compare="size")
        finally:
            used += os.listdir(place)  # noqa: PTH208 - names


async def upload_tree(bucket: dream.Bucket, _: list[str]) -> object:
    with TemporaryDirectory() as place:
        Path(place, "1").write_bytes(b"x")
        return await bucket.upload_tree(place, "p", delete=True, compare="size")


async def copy_tree_from(bucket: dream.Bucket, _: list[str]) -> object:
    return await bucket.copy_tree(bucket, "p", "to", delete=True, compare="size")


async def copy_tree_to(bucket: dream.Bucket, _: list[str]) -> object:
    return await bucket.copy_tree(bucket, "from", "p", delete=True, allow_empty=True)


async def move_tree(bucket: dream.Bucket, _: list[str]) -> object:
    return await bucket.move_tree(bucket, "p", "to")


async def restore_tree(bucket: dream.Bucket, _: list[str]) -> object:
    return await bucket.restore_tree("p", datetime(2000, 1, 1, tzinfo=UTC))


async def check_tree(bucket: dream.Bucket, _: list[str]) -> object:
    return await bucket.check_tree(bucket, "p", to_prefix="to", by="size")


async def check_tree_other(bucket: dream.Bucket, _: list[str]) -> object:
    return await bucket.check_tree(bucket, "from", to_prefix="p", by="size")


async def empty(bucket: dream.Bucket, _: list[str]) -> object:
    return await bucket.empty()


async def delete_bucket(bucket: dream.Bucket, _: list[str]) -> None:
    await bucket.delete(force=True)


USES: dict[str, tuple[Kind, Use]] = {
    "list": ("objects", listed(lambda bucket: bucket.list("p/"))),
    "list(limit)": ("objects", listed(lambda bucket: bucket.list("p/", limit=1500))),
    "list_dir": ("dir", listed(lambda bucket: bucket.list_dir("p/"))),
    "list_versions": ("versions", listed(lambda bucket: bucket.list_versions("p/"))),
    "uploads": ("uploads", listed(lambda bucket: bucket.uploads("p/"))),
    "delete_many": ("objects", delete_many),
    "set_acl_many": ("objects", set_acl_many),
    "copy_many": ("objects", copy_many),
    "set_headers_many": ("objects", set_headers_many),
    "abort_uploads": ("uploads", abort_uploads),
    "download_tree": ("objects", download_tree),
    "upload_tree": ("objects", upload_tree),
    "copy_tree, its source": ("objects", copy_tree_from),
    "copy_tree, its target": ("objects", copy_tree_to),
    "move_tree": ("objects", move_tree),
    "restore_tree": ("versions", restore_tree),
    "check_tree": ("objects", check_tree),
    "check_tree, the other side": ("objects", check_tree_other),
}
OF_ALL_KEYS: dict[str, tuple[Kind, Use]] = {
    "empty": ("versions", empty),
    "delete(force=True), its versions": ("versions", delete_bucket),
    "delete(force=True), its uploads": ("uploads", delete_bucket),
}
"""Verbs without a prefix: any key is one of theirs."""


async def refused(scripted: ScriptedServer, session: dream.Session, liar: Liar, use: Use) -> list[str]:
    """What was used of the pages, until the error."""
    scripted.will(liar)
    used: list[str] = []
    with pytest.raises(dream.ServiceError) as caught:
        await use(session.bucket("bucket"), used)
    assert (caught.value.code, caught.value.status) == ("UnreadableReply", 200)
    assert "s3://bucket" in str(caught.value)
    return [*used, *liar.acted]


@pytest.mark.parametrize("name", [*USES, *OF_ALL_KEYS])
async def test_nothing_of_a_page_that_is_wrong_is_used(scripted: ScriptedServer, name: str) -> None:
    kind, use = (USES | OF_ALL_KEYS)[name]
    async with session_to(scripted) as session:
        for wrong, pages in WRONG.items():
            is_of_prefix, is_of_page = "prefix" in wrong or "page later" in wrong, "unsorted" in wrong
            # Versions and delete markers may come apart: a page of them is sorted here. Uploads have any order.
            if (is_of_prefix and name in OF_ALL_KEYS) or (is_of_page and kind == "versions"):
                continue
            if kind == "uploads" and not is_of_prefix and "twice" not in wrong and "prefix" not in wrong:
                continue
            liar = Liar(kind, pages, prefix="" if name in OF_ALL_KEYS else "p/")
            used = await refused(scripted, session, liar, use)
            assert not [one for one in used if "bad" in one], wrong


@pytest.mark.parametrize("name", [*USES, *OF_ALL_KEYS])
async def test_pages_in_a_circle_end(scripted: ScriptedServer, name: str) -> None:
    kind, use = (USES | OF_ALL_KEYS)[name]
    async with session_to(scripted) as session:
        for circle in CIRCLES:
            liar = Liar(kind, circle, is_endless=True, prefix="" if name in OF_ALL_KEYS else "p/")
            used = await refused(scripted, session, liar, use)
            assert liar.listed == len(circle) + 1
            told = [one for one in used if one.startswith("p/")]
            assert sorted(set(told)) == told


@pytest.mark.parametrize("name", ["list_versions", "uploads"])
async def test_versions_of_one_key_in_a_circle_end(scripted: ScriptedServer, name: str) -> None:
    """However long the circle is: also where it holds more of them than are remembered."""
    kind, use = USES[name]
    async with session_to(scripted) as session:
        for before, length in ((0, 1), (0, 3), (12, 2)):
            ids = itertools.count()
            pages: list[list[Item]] = [[("p/1", f"v{next(ids)}") for _ in range(1000)] for _ in range(before + length)]
            liar = Liar(kind, pages, is_endless=True)
            liar.first = before
            await refused(scripted, session, liar, use)
            # By Brent's algorithm, the steps are at most three times the tail and the circle.
            assert liar.listed <= (3 * (before + length) if before else length + 1)


@pytest.mark.parametrize("name", ["list", "list_dir", "list_versions", "uploads"])
async def test_pages_that_hold_nothing_end_after_a_thousand(scripted: ScriptedServer, name: str) -> None:
    kind, use = USES[name]
    liar = Liar(kind, [[]], is_endless=True)
    async with session_to(scripted) as session:
        assert await refused(scripted, session, liar, use) == []
    assert liar.listed == MOST_EMPTY_PAGES + 1


@pytest.mark.parametrize("list_type", [1, 2])
async def test_start_after_that_is_ignored(scripted: ScriptedServer, list_type: Literal[1, 2]) -> None:
    pages: list[list[Item]] = [["p/1", "p/2", "p/3"], ["p/4"]]
    async with session_to(scripted, list_type) as session:
        bucket = session.bucket("bucket")
        for limit, expected in ((None, ["p/3", "p/4"]), (2, ["p/3", "p/4"]), (1, ["p/3"])):
            scripted.will(Liar("objects", pages))
            found = await bucket.list("p/", start_after="p/2", limit=limit).collect()
            assert [info.key for info in found] == expected
        for listing in (
            listed(lambda bucket: bucket.list("p/", start_after="p/3")),
            listed(lambda bucket: bucket.list("p/", start_after="p/35", limit=1)),
            listed(lambda bucket: bucket.list("p/", start_after="p/35", parallel=3)),
        ):
            assert await refused(scripted, session, Liar("objects", pages), listing) == []


async def test_a_marker_that_is_ignored_ends_a_list_of_the_older_kind(scripted: ScriptedServer) -> None:
    async with session_to(scripted, 1) as session:
        liar = Liar("objects", [GOOD], is_endless=True)
        assert await refused(scripted, session, liar, USES["list"][1]) == GOOD


async def test_a_level_of_a_tree_is_one_level(scripted: ScriptedServer) -> None:
    right: list[list[Item]] = [["p/", "p/a", "p/b/"], ["p/b/", "p/c"], ["p/d/"], ["p/d/"], ["p/e"]]
    wrong: list[list[list[Item]]] = [
        [["p/a", "p/b/c"]],  # the delimiter was ignored
        [["p/b/c/", "p/d"]],
        [["p/a", "p/b/"], ["p/c"], ["p/b/", "p/d"]],
        [["p/a", "p/b/", "p/b/"]],
        [["p/b"], ["p/b"]],
        [["p/a", "o/", "q"]],
        [["p/", "p/x/"], ["p/0/"]],
    ]
    use = USES["list_dir"][1]
    async with session_to(scripted) as session:
        used: list[str] = []
        scripted.will(Liar("dir", right))
        await use(session.bucket("bucket"), used)
        assert used == ["p/", "p/a", "p/b/", "p/c", "p/d/", "p/e"]  # a prefix that goes on is listed once
        for pages in wrong:
            await refused(scripted, session, Liar("dir", pages), use)


async def test_common_prefixes_that_nobody_asked_for(scripted: ScriptedServer) -> None:
    """A service that sends them leaves out the keys below them."""
    async with session_to(scripted) as session:
        for name in ("list", "delete_many", "download_tree"):
            liar = Liar("objects", [["p/a", "p/b/", "p/c"]])
            liar.document = lambda _, items, token: document("dir", items, token)
            assert await refused(scripted, session, liar, USES[name][1]) in ([], ["mine"])


async def test_uploads_may_be_sorted_as_ceph_sorts_them(scripted: ScriptedServer) -> None:
    """By the key, a dot and the id."""
    pages: list[list[Item]] = [
        [("p/_x-", "2~w"), ("p/_x", "2~j"), ("p/a+b", "2~c"), ("p/a-b", "2~8"), ("p/a-b", "2~l")],
        [("p/a.1", "2~7"), ("p/a", "2~S"), ("p/a", "2~b"), ("p/a.b", "2~p"), ("p/a/b", "2~y"), ("p/a1", "2~z")],
    ]
    used: list[str] = []
    async with session_to(scripted) as session:
        scripted.will(Liar("uploads", pages))
        await USES["uploads"][1](session.bucket("bucket"), used)
        assert used == [item[0] for page in pages for item in page]


async def test_uploads_on_one_page_may_have_any_order(scripted: ScriptedServer) -> None:
    """As they have on moto: each is one of those that were asked for, and none is left out."""
    used: list[str] = []
    async with session_to(scripted) as session:
        scripted.will(Liar("uploads", [["p/b", "p/c", "p/a"]]))
        await USES["uploads"][1](session.bucket("bucket"), used)
        assert used == ["p/b", "p/c", "p/a"]
        await refused(scripted, session, Liar("uploads", [["p/b", "q", "p/a"]]), USES["uploads"][1])
