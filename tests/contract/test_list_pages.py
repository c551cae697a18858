"""Pages with tokens, on every server: complete, in order, with no request too many. A token is good for its listing alone."""

from __future__ import annotations

import asyncio
import base64
import pickle
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

import pytest
import pytest_asyncio
from conftest import Server, new_name, put_all

import aiodreamobjects as dream
from aiodreamobjects.testing import MemoryService

ON = ("memory", "rgw")

T = TypeVar("T")

KEYS = [
    "a",
    "a b",
    "a+b",
    "a-b",
    "a/b",
    "a/b/c",
    "a/d",
    "a0",
    "b%20/x",
    "b&/<",
    "é/è",
    "🎉",
    "🎉/🎉",
    "\ufffd",
    "\ufffd/x",
    "bell\x07",
    "bell\x07/x",
    "c\ufffe",
    "c\uffff",
]


def name_of(item: dream.ObjectInfo | dream.CommonPrefix) -> str:
    return item.prefix if isinstance(item, dream.CommonPrefix) else item.key


async def all_pages(
    listing: dream.Listing[T], limit: int, secret: str | None = None
) -> AsyncIterator[dream.ListPage[T]]:
    """The pages as a client of a web service gets them: a fresh call for each."""
    token = None
    while True:
        page = await listing.page(limit, token, secret=secret)
        yield page
        if (token := page.token) is None:
            return


@contextmanager
def requests_of(session: dream.Session, expected: int) -> Iterator[None]:
    before = session.statistics().requests
    yield
    assert session.statistics().requests - before == expected


@pytest_asyncio.fixture(scope="module")
async def filled(server: Server, session: dream.Session) -> AsyncIterator[dream.Bucket]:
    bucket = await session.create_bucket(new_name())
    await put_all(bucket, KEYS)
    yield bucket
    await bucket.delete(force=True)


@pytest_asyncio.fixture
async def large() -> AsyncIterator[tuple[dream.Session, dream.Bucket]]:
    """1,050 objects on one level, of which 50 are directories of two. How many requests it takes is our own doing."""
    async with MemoryService().session() as session:
        bucket = await session.create_bucket("large")
        files = [f"{number:04}" for number in range(1000)]
        await put_all(bucket, [*files, *(f"dir{n}/{name}" for n in range(10, 60) for name in "ab")])
        yield session, bucket


@pytest.mark.parametrize("prefix", ["", "a", "a/", "b&/", "🎉"])
async def test_pages_give_what_the_listing_gives(filled: dream.Bucket, prefix: str) -> None:
    listings: list[dream.Listing[Any]] = [filled.list(prefix), filled.list_dir(prefix)]
    for listing in listings:
        everything = await listing.collect()
        for limit in (1, 2, 100):
            pages = [page async for page in all_pages(listing, limit)]
            assert [item for page in pages for item in page.items] == everything
            assert all(len(page.items) == limit for page in pages[:-1])
            assert all(re.fullmatch("[A-Za-z0-9_-]+", page.token or "-") for page in pages)


async def test_boto3_sees_the_same_pages(filled: dream.Bucket, boto: Any) -> None:
    ours = [[name_of(item) for item in page.items] async for page in all_pages(filled.list_dir("a"), 2)]
    theirs = await asyncio.to_thread(_directory_by_boto, boto, filled.name, "a")
    assert [name for page in ours for name in page] == theirs


def _directory_by_boto(boto: Any, bucket: str, prefix: str) -> list[str]:
    found = []
    for page in boto.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, Delimiter="/"):
        found += [entry["Key"] for entry in page.get("Contents", [])]
        found += [entry["Prefix"] for entry in page.get("CommonPrefixes", [])]
    return sorted(found)


async def test_a_page_costs_the_requests_that_it_needs(large: tuple[dream.Session, dream.Bucket]) -> None:
    session, bucket = large
    listing = bucket.list()
    with requests_of(session, 1):
        first = await listing.page(10)
    assert first.token is not None
    with requests_of(session, 1):
        assert len((await listing.page(1000, first.token)).items) == 1000
    with requests_of(session, 2):
        most = await listing.page(1001)
    assert (len(most.items), most.token is None) == (1001, False)
    with requests_of(session, 2):
        whole = await listing.page(1100)
    assert (len(whole.items), whole.token) == (1100, None)
    with requests_of(session, 1):
        assert (await bucket.list("dir1").page(20)).token is None
    with requests_of(session, 1):
        assert await bucket.list("nothing").page() == dream.ListPage(())


async def test_a_directory_costs_the_requests_that_it_needs(large: tuple[dream.Session, dream.Bucket]) -> None:
    session, bucket = large
    with requests_of(session, 1):
        first = await bucket.list_dir().page(1000)
    assert len(first.items) == 1000
    with requests_of(session, 1):
        rest = await bucket.list_dir().page(1000, first.token)
    assert [name_of(item) for item in rest.items] == [f"dir{n}/" for n in range(10, 60)]
    assert rest.token is None
    with requests_of(session, 1):
        assert len(await bucket.list_dir(limit=10).collect()) == 10
    with requests_of(session, 0):
        assert await bucket.list_dir(limit=0).collect() == []
    with requests_of(session, 1):
        found = await bucket.list_dir(start_after="dir57/a", limit=1).collect()
    assert [name_of(item) for item in found] == ["dir58/"]
    with requests_of(session, 1):
        assert len(await bucket.list_dir(start_after="dir57/").collect()) == 2


@pytest.mark.parametrize("prefix", ["", "a", "a/"])
async def test_start_after_skips_the_names_of_a_directory(filled: dream.Bucket, prefix: str) -> None:
    names = [name_of(item) for item in await filled.list_dir(prefix).collect()]
    inside = ["a ", "a-b", "a/", "a/b", "a/b/c", "a/\U0010ffff\U0010ffff", "a0", "b%20", "b%20/", "é/z"]
    for start_after in ("", "A", "a", *inside, "\ufffd", "~"):
        behind = [name for name in names if name.encode() > start_after.encode()]
        listing = filled.list_dir(prefix, start_after=start_after)
        assert [name_of(item) for item in await listing.collect()] == behind, start_after
        paged = [name_of(item) async for page in all_pages(listing, 2) for item in page.items]
        assert paged == behind, start_after
        limited = filled.list_dir(prefix, start_after=start_after, limit=2)
        assert [name_of(item) for item in await limited.collect()] == behind[:2], start_after


async def test_a_directory_whose_last_key_is_the_highest_is_listed_once(server: Server, bucket: dream.Bucket) -> None:
    await put_all(bucket, ["d/a", "d/\U0010ffff\U0010ffff", "e", "f/x"])
    pages = [page async for page in all_pages(bucket.list_dir(), 1)]
    assert [name_of(item) for page in pages for item in page.items] == ["d/", "e", "f/"]


async def test_a_directory_with_the_longest_name_is_continued(server: Server, bucket: dream.Bucket) -> None:
    name = "d" * 1022
    await put_all(bucket, [f"{name}/x", "e"])
    pages = [page async for page in all_pages(bucket.list_dir(), 1)]
    assert [name_of(item) for page in pages for item in page.items] == [f"{name}/", "e"]


async def test_objects_may_be_deleted_between_two_pages(bucket: dream.Bucket) -> None:
    await put_all(bucket, ["a", "b", "c/x", "d", "e"])
    objects, directory = await bucket.list().page(2), await bucket.list_dir().page(3)
    await bucket.delete_many(["b", "c/x", "d"])
    assert [info.key for info in (await bucket.list().page(2, objects.token)).items] == ["e"]
    assert [name_of(item) for item in (await bucket.list_dir().page(2, directory.token)).items] == ["e"]
    await bucket.delete_many(["e"])
    assert await bucket.list().page(2, objects.token) == dream.ListPage(())


async def test_pages_of_versions_give_what_the_listing_gives(session: dream.Session, bucket: dream.Bucket) -> None:
    await bucket.object("a").put("before versions")
    await bucket.set_versioning("Enabled")
    for key in ("a", "b", "b", "b", "ü%+/c", "ü%+/c"):
        await bucket.object(key).put("x")
    everything = await bucket.list_versions().collect()
    assert len({(info.key, info.version_id) for info in everything}) == 7
    for limit in (1, 2, 3, 100):
        pages = [page async for page in all_pages(bucket.list_versions(), limit)]
        assert [info for page in pages for info in page.items] == everything
    with requests_of(session, 1):
        first = await bucket.list_versions("b").page(2)
    with requests_of(session, 1):
        assert (await bucket.list_versions("b").page(2, first.token)).token is None


async def test_pages_of_uploads_give_what_the_listing_gives(server: Server, bucket: dream.Bucket) -> None:
    client = await bucket._runtime.s3.boto_client()
    for key in ("a", "a-b", "a", "ü%+/c"):
        await client.create_multipart_upload(Bucket=bucket.name, Key=key)
    everything = await bucket.uploads().collect()
    assert len(everything) == 4
    pages = [page async for page in all_pages(bucket.uploads(), 3)]
    assert [upload for page in pages for upload in page.items] == everything


# Tokens


@pytest_asyncio.fixture
async def token(filled: dream.Bucket) -> str:
    found = (await filled.list("a").page(2)).token
    assert found is not None
    return found


Wrong = Callable[[dream.Bucket, str], Awaitable[object]]
ELSEWHERE: dict[str, Wrong] = {
    "another prefix": lambda bucket, token: bucket.list("").page(2, token),
    "a longer prefix": lambda bucket, token: bucket.list("a/").page(2, token),
    "one level": lambda bucket, token: bucket.list_dir("a").page(2, token),
    "versions": lambda bucket, token: bucket.list_versions("a").page(2, token),
    "uploads": lambda bucket, token: bucket.uploads("a").page(2, token),
    "another bucket": lambda bucket, token: dream.Bucket(bucket._runtime, "other-bucket").list("a").page(2, token),
    "another secret": lambda bucket, token: bucket.list("a").page(2, token, secret="s"),
    "empty": lambda bucket, _: bucket.list("a").page(2, ""),
    "a key": lambda bucket, _: bucket.list("a").page(2, "a/b"),
    "not ascii": lambda bucket, token: bucket.list("a").page(2, token + "é"),
    "cut": lambda bucket, token: bucket.list("a").page(2, token[:-1]),
    "only the signature": lambda bucket, token: bucket.list("a").page(2, token[:22]),
    "longer": lambda bucket, token: bucket.list("a").page(2, token + "A"),
    "padded": lambda bucket, token: bucket.list("a").page(2, token + "="),
    "with a line break": lambda bucket, token: bucket.list("a").page(2, token + "\n"),
    "a number": lambda bucket, _: bucket.list("a").page(2, 7),  # type: ignore[arg-type]  # a wrong argument
}


@pytest.mark.parametrize("wrong", ELSEWHERE)
async def test_a_token_is_good_for_its_listing_alone(
    session: dream.Session, filled: dream.Bucket, token: str, wrong: str
) -> None:
    with requests_of(session, 0), pytest.raises(ValueError, match="token") as caught:
        await ELSEWHERE[wrong](filled, token)
    assert "None for the first page" in str(caught.value)


async def test_no_character_of_a_token_can_be_changed(filled: dream.Bucket, token: str) -> None:
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for place, letter in enumerate(token):
        for other in (letters[letters.index(letter) ^ 1], letters[letters.index(letter) ^ 32]):
            with pytest.raises(ValueError, match="does not belong to this listing"):
                await filled.list("a").page(2, token[:place] + other + token[place + 1 :])


async def test_a_token_does_not_show_the_secret_key(server: Server, token: str) -> None:
    content = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    assert content[16:] == b"\0\0a b"
    assert server.secret_key.encode() not in content


async def test_every_process_with_the_same_keys_takes_a_token(server: Server, filled: dream.Bucket, token: str) -> None:
    async with server.session() as other:
        page = await other.bucket(filled.name).list("a").page(2, token)
    assert [info.key for info in page.items] == ["a+b", "a-b"]


async def test_a_secret_of_ones_own_signs_tokens(server: Server, filled: dream.Bucket) -> None:
    first = await filled.list("a").page(2, secret="mine")
    assert [info.key for info in (await filled.list("a").page(2, first.token, secret=b"mine")).items] == ["a+b", "a-b"]
    with pytest.raises(ValueError, match="does not belong"):
        await filled.list("a").page(2, first.token)


async def test_a_token_begins_behind_the_later_of_two_places(filled: dream.Bucket, token: str) -> None:
    later, earlier = filled.list("a", start_after="a/d"), filled.list("a", start_after="a")
    assert [info.key for info in (await later.page(5, token)).items] == ["a0"]
    assert [info.key for info in (await earlier.page(1, token)).items] == ["a+b"]


async def test_a_limit_that_is_none_is_refused(session: dream.Session, filled: dream.Bucket) -> None:
    wrong: list[Any] = [0, -1, True, 1.5, "10", None]
    with requests_of(session, 0):
        for limit in wrong:
            with pytest.raises(ValueError, match="limit"):
                await filled.list().page(limit)


async def test_what_has_no_pages_says_so(session: dream.Session, filled: dream.Bucket) -> None:
    with pytest.raises(ValueError, match="leave limit=5 out"):
        await filled.list(limit=5).page()
    with pytest.raises(ValueError, match="leave limit=5 out"):
        await filled.list_dir(limit=5).page()
    with pytest.raises(ValueError, match="in one reply"):
        await session.buckets().page()
    with pytest.raises(ValueError, match="secret is empty"):
        await filled.list().page(secret="")
    with pytest.raises(TypeError, match="secret must be"):
        await filled.list().page(secret=7)  # type: ignore[arg-type]  # a wrong argument
    for limit in (-1, True, "1"):
        with pytest.raises(ValueError, match="limit"):
            filled.list_dir(limit=limit)  # type: ignore[arg-type]  # wrong arguments
    with pytest.raises(TypeError, match="start_after"):
        filled.list_dir(start_after=b"a")  # type: ignore[arg-type]  # a wrong argument


async def test_a_page_can_be_printed_compared_and_pickled(filled: dream.Bucket) -> None:
    page = await filled.list("a").page(2)
    assert repr(page) == f"<ListPage of 2 items, token={page.token!r}>"
    assert pickle.loads(pickle.dumps(page)) == page
    assert repr(replace(page, token=None)) == "<ListPage of 2 items, token=None>"


async def test_versions_may_be_deleted_between_two_pages(server: Server, bucket: dream.Bucket) -> None:
    await bucket.set_versioning("Enabled")
    for key in ("a", "b", "b", "b", "b", "b", "c"):
        await bucket.object(key).put("x")
    everything = await bucket.list_versions().collect()
    first = await bucket.list_versions().page(3)
    last = first.items[-1]
    await bucket.delete_many(first.items[1:])
    found = (await bucket.list_versions().page(10, first.token)).items
    assert [info.version_id for info in found] == [info.version_id for info in everything[3:]]
    await bucket.object("b").put("a newer one")
    found = (await bucket.list_versions().page(10, first.token)).items
    assert [info.version_id for info in found][-4:] == [info.version_id for info in everything[3:]]
    assert all(
        info.last_modified == last.last_modified for info in found[:-4]
    )  # of one second, where a service has no shorter time
    await bucket.delete_many(everything[3:])
    assert (await bucket.list_versions("a").page(10)).items == (everything[0],)


@pytest.mark.parametrize("key", ["\x00", "a\x00", "\ue000", "漢", "k" * 1024, "z"])
async def test_versions_of_any_key_go_on_behind_a_page(server: Server, bucket: dream.Bucket, key: str) -> None:
    if not server.is_memory and key[-1] == "\x00":
        pytest.skip("services differ in what they allow here")
    await bucket.set_versioning("Enabled")
    for _ in range(3):
        await bucket.object(key).put("x")
    everything = await bucket.list_versions().collect()
    pages = [page async for page in all_pages(bucket.list_versions(), 1)]
    assert [info for page in pages for info in page.items] == everything
