"""Pages of listings where a service or the credentials do what a healthy server's do not. See also contract/test_list_pages.py."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from aiobotocore.session import AioSession
from botocore.credentials import ReadOnlyCredentials
from hypothesis import assume, given
from hypothesis import strategies as st
from servers.scripted import Received, Reply, ScriptedServer

import aiodreamobjects as dream
from aiodreamobjects._listing.tokens import Position, Scope, read, token_key, write
from aiodreamobjects.testing import MemoryService

RENEWALS_REMEMBERED = 8


def listed(names: Sequence[str], *, is_truncated: bool = False) -> Reply:
    told = f"<IsTruncated>{str(is_truncated).lower()}</IsTruncated><EncodingType>url</EncodingType>"
    if is_truncated:
        told += "<NextContinuationToken>more</NextContinuationToken>"
    for name in names:
        shown = quote(name)
        told += (
            f"<CommonPrefixes><Prefix>{shown}</Prefix></CommonPrefixes>"
            if name.endswith("/")
            else f"<Contents><Key>{shown}</Key><Size>1</Size></Contents>"
        )
    return Reply(200, f"<ListBucketResult>{told}</ListBucketResult>".encode())


def names_of(items: Sequence[dream.ObjectInfo | dream.CommonPrefix]) -> list[str]:
    return [item.prefix if isinstance(item, dream.CommonPrefix) else item.key for item in items]


def asked(request: Received) -> dict[str, str]:
    return {name: value for name, [value] in parse_qs(urlsplit(request.target).query).items()}


def directory_of(names: Sequence[str]) -> Callable[[Received], Reply]:
    """A service that ignores where a list is to start, and knows only its own tokens."""

    def answer(request: Received) -> Reply:
        query = asked(request)
        begin = int(query.get("continuation-token", "0").removeprefix("more"))
        end = begin + int(query["max-keys"])
        reply = listed(names[begin:end], is_truncated=end < len(names))
        return Reply(200, reply.body.replace(b">more<", f">more{end}<".encode()))

    return answer


async def test_a_directory_starts_where_it_was_asked_to_even_if_the_service_does_not(scripted: ScriptedServer) -> None:
    scripted.will(directory_of(["a", "b/", "c", "d/", "e"]))
    async with scripted.session() as session:
        bucket = session.bucket("bucket")
        assert names_of(await bucket.list_dir(start_after="b/x").collect()) == ["c", "d/", "e"]
        assert asked(scripted.received[0])["start-after"] == "b/\U0010ffff"
        with pytest.raises(dream.ServiceError, match="may not support start_after"):
            await bucket.list_dir(start_after="b/x", limit=1).collect()  # its page has "a" alone


async def test_a_directory_that_comes_again_is_left_out(scripted: ScriptedServer) -> None:
    """Amazon S3 lists a common prefix if any of its keys is behind the start."""
    scripted.will(listed(["b/"], is_truncated=True), listed(["c"]))
    async with scripted.session() as session:
        assert names_of((await session.bucket("bucket").list_dir(start_after="b/x").page(1)).items) == ["c"]
    assert len(scripted.received) == 2


@pytest.mark.parametrize("is_truncated", [False, True])
async def test_a_page_that_is_too_long_is_cut(scripted: ScriptedServer, is_truncated: bool) -> None:
    scripted.will(listed(["a", "b", "c"], is_truncated=is_truncated))
    async with scripted.session() as session:
        listing = session.bucket("bucket").list()
        first = await listing.page(2)
        assert names_of(first.items) == ["a", "b"]
        assert len(scripted.received) == 1
        scripted.will(listed(["c"]))
        last = await listing.page(2, first.token)
        assert asked(scripted.received[0])["start-after"] == "b"
        assert (names_of(last.items), last.token) == (["c"], None)


async def test_nothing_behind_a_page_that_said_more_is_an_empty_last_page(scripted: ScriptedServer) -> None:
    scripted.will(listed(["a"], is_truncated=True), listed([]))
    async with scripted.session() as session:
        listing = session.bucket("bucket").list()
        first = await listing.page(1)
        assert first.token is not None
        assert await listing.page(1, first.token) == dream.ListPage(())
        assert len(scripted.received) == 2
        scripted.will(listed(["a"], is_truncated=True), listed([]))
        assert await listing.page(2) == dream.ListPage(first.items)


async def test_a_token_holds_no_token_of_the_service(scripted: ScriptedServer) -> None:
    scripted.will(listed(["a", "b"], is_truncated=True), listed(["c"]))
    async with scripted.session() as session:
        first = await session.bucket("bucket").list().page(2)
        await session.bucket("bucket").list().page(2, first.token)
    assert "continuation-token" not in asked(scripted.received[1])


class Changing:
    """Credentials that are others whenever they are asked for."""

    def __init__(self) -> None:
        self.number = 0
        self.is_changing = True

    async def get_frozen_credentials(self) -> ReadOnlyCredentials:
        self.number += self.is_changing
        return ReadOnlyCredentials(f"key-{self.number}", f"secret-{self.number}", f"token-{self.number}")

    def session(self) -> AioSession:
        core = AioSession()
        core._credentials = self
        return core


async def test_tokens_outlive_the_renewal_of_credentials(scripted: ScriptedServer) -> None:
    scripted.will(listed(["a", "b"], is_truncated=True))
    changing = Changing()
    async with dream.Session(endpoint=scripted.endpoint, boto_session=changing.session()) as session:
        listing = session.bucket("bucket").list()
        first = await listing.page(2)
        for _ in range(RENEWALS_REMEMBERED - 2):
            await listing.page(2)
        scripted.will(listed(["c"]))
        assert names_of((await listing.page(2, first.token)).items) == ["c"]
        with pytest.raises(ValueError, match="invalid when the secret that signed it changes"):
            await listing.page(2, first.token)
        assert "secret-" not in repr(listing)


async def test_only_a_process_with_the_same_keys_takes_a_token(scripted: ScriptedServer) -> None:
    more, rest = listed(["a", "b"], is_truncated=True), listed(["c"])
    scripted.will(more, more, rest)
    async with scripted.session() as one, scripted.session(secret_key="another-one") as other:
        token = (await one.bucket("bucket").list().page(2)).token
        with pytest.raises(ValueError, match="does not belong to this listing"):
            await other.bucket("bucket").list().page(2, token)
        assert len(scripted.received) == 1
        own = (await one.bucket("bucket").list().page(2, secret="of-the-application")).token
        assert own != token
        await other.bucket("bucket").list().page(2, own, secret="of-the-application")


async def test_anonymous_sessions_take_each_others_tokens(scripted: ScriptedServer) -> None:
    scripted.will(listed(["a", "b"], is_truncated=True), listed(["c"]))
    async with (
        dream.Session(anonymous=True, endpoint=scripted.endpoint) as one,
        dream.Session(anonymous=True, endpoint=scripted.endpoint) as other,
    ):
        token = (await one.bucket("bucket").list().page(2)).token
        assert asked(scripted.received[0]).get("start-after") is None
        await other.bucket("bucket").list().page(2, token)
        assert asked(scripted.received[1])["start-after"] == "b"
        with pytest.raises(ValueError, match="does not belong to this listing"):
            await other.bucket("bucket").list("a").page(2, token)


async def test_a_page_of_a_closed_session_is_an_error() -> None:
    session = MemoryService().session()
    with pytest.raises(dream.SessionClosedError):
        await session.bucket("bucket").list().page(secret="s")
    with pytest.raises(dream.SessionClosedError):
        await session.bucket("bucket").list().page(token="t")


# The text itself

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
SCOPES = st.builds(Scope, st.sampled_from(["objects", "versions"]), st.sampled_from(["b", "b\n", "bb"]), NAMES)
IDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
POSITIONS = st.builds(Position, NAMES, IDS, IDS)


@given(SCOPES, POSITIONS)
def test_a_token_brings_back_its_position(scope: Scope, position: Position) -> None:
    key, other = token_key("secret"), token_key("another")
    token = write(key, scope, position)
    assert read([other, key], scope, token) == position
    assert re.fullmatch("[A-Za-z0-9_-]+", token)


@given(SCOPES, SCOPES, POSITIONS)
def test_a_token_of_another_listing_is_refused(one: Scope, other: Scope, position: Position) -> None:
    assume(one != other)
    key = token_key("secret")
    with pytest.raises(ValueError, match="does not belong to this listing"):
        read([key], other, write(key, one, position))


@given(st.one_of(st.text(min_size=1), st.text("AZaz09-_", min_size=1, max_size=60)))
def test_a_text_that_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="does not belong to this listing"):
        read([token_key("secret")], Scope("objects", "b", ""), text)
