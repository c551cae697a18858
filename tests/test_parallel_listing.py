"""A listing by several requests at once gives what the same listing by one gives, whatever the keys are."""

from __future__ import annotations

import asyncio
import random
import selectors
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any, Literal
from urllib.parse import parse_qsl, quote, urlsplit

import pytest
from conftest import Server, keys_of, new_name, put_all
from fuzzing import fuzzed
from hypothesis import given
from hypothesis import strategies as st
from invariants import tasks_of_the_client
from servers.scripted import Raw, Received, Reply, ScriptedServer, Silence, error

import aiodreamobjects as dream
from aiodreamobjects._listing.parallel import list_in_parallel
from aiodreamobjects._s3.values import Page
from aiodreamobjects.testing import MemoryService, dreamobjects

__all__ = ["dreamobjects"]

BUFFERED_PAGES = 8
"""For each request at once, as the docstring of ``list`` has it for pages of 1,000."""

CHANCE = random.Random(1)
HEX = [f"{CHANCE.getrandbits(128):032x}" for _ in range(3000)]
NUMBERS = [f"{number:09}" for number in range(3000)]
DATES = [f"2026/{n // 280 + 1:02}/{n // 10 % 28 + 1:02}/{n % 10:02}/{HEX[n]}" for n in range(3000)]
ONE_HOT = [*(f"{n:03}/readme" for n in range(500)), *(f"321/deep/er/{number}.jpg" for number in HEX[:2500])]
SMALL_DIRECTORIES = [f"{HEX[n // 3][:12]}/{n % 3}" for n in range(3000)]
KEY_SETS = {
    "hexadecimal": HEX,
    "numbers": NUMBERS,
    "dates": DATES,
    "one hot prefix": ONE_HOT,
    "small directories": SMALL_DIRECTORIES,
    "one long prefix": [f"{'long/' * 190}{number}" for number in NUMBERS],
    "unicode": [f"{chr(0x4E00 + n * 7919 % 20000)}{chr(0x1F600 + n % 50)}{n}" for n in range(3000)],
}


class Lister:
    """Answers for a bucket with these keys, in either kind of list, with so many on a page at most."""

    def __init__(self, keys: Sequence[str], page_keys: int = 1000, *, shuffles: bool = False) -> None:
        self.keys, self._page_keys = sorted(keys), page_keys
        self._chance = random.Random(len(keys)) if shuffles else None  # replies then overtake one another
        self.pages = self.probes = 0

    def __call__(self, request: Received) -> Reply:
        asked = dict(parse_qsl(urlsplit(request.target).query, keep_blank_values=True))
        after = asked.get("start-after") or asked.get("marker") or ""
        if token := asked.get("continuation-token"):
            after = bytes.fromhex(token).decode()
        most = int(asked["max-keys"])
        self.pages += most > 1
        self.probes += most == 1
        count = min(most, self._page_keys)
        found = [key for key in self.keys if key > after and key.startswith(asked.get("prefix", ""))]
        reply = page(found[:count], is_truncated=count < len(found))
        return reply if self._chance is None else replace(reply, delay=self._chance.choice([0, 0.001, 0.003]))


def page(keys: Sequence[str], *, is_truncated: bool) -> Reply:
    next_token = keys[-1].encode().hex() if keys else "00"
    token = f"<NextContinuationToken>{next_token}</NextContinuationToken>" if is_truncated else ""
    entries = "".join(f"<Contents><Key>{quote(key)}</Key><Size>1</Size></Contents>" for key in keys)
    told = f"<EncodingType>url</EncodingType><IsTruncated>{str(is_truncated).lower()}</IsTruncated>"
    return Reply(200, f"<ListBucketResult>{told}{token}{entries}</ListBucketResult>".encode())


@asynccontextmanager
async def bucket_of(
    answer: Callable[[Received], Reply | Raw | Silence], *, list_type: Literal[1, 2] = 2
) -> AsyncIterator[tuple[dream.Bucket, ScriptedServer]]:
    async with ScriptedServer() as scripted:
        scripted.will(answer)
        service = replace(dream.Service.for_endpoint(scripted.endpoint), list_type=list_type)
        async with scripted.session(endpoint=None, service=service) as session:
            yield session.bucket("bucket"), scripted


# The same as one after the other


def keys_from(alphabet: str) -> st.SearchStrategy[list[str]]:
    return st.lists(st.text(alphabet, min_size=1, max_size=8), max_size=60)


def with_prefix(keys: st.SearchStrategy[list[str]]) -> st.SearchStrategy[list[str]]:
    return st.builds(
        lambda prefix, names: [prefix + name for name in names], st.sampled_from(["a/b/", "漢/", "x" * 900]), keys
    )


DATED = st.lists(st.datetimes(datetime(2024, 11, 1), datetime(2026, 2, 1)), max_size=60).map(  # noqa: DTZ001 - names only
    lambda times: [f"{time:%Y/%m/%d/%H%M%S}" for time in times]
)
ALL_BUT_SOME = st.sets(st.integers(0, 99), max_size=50).map(
    lambda gone: [f"{n:02}" for n in range(100) if n not in gone]
)
SIMPLE = st.one_of(
    keys_from("01"), keys_from("0123456789abcdef"), keys_from("ab/-"), keys_from("éÿ漢字ﬀ🎉\U0010ffff"), DATED
)
ODD = st.one_of(
    keys_from("\x01\x07\t\n %+&<>~\x7f\x85"),
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8), max_size=60),
)
KEYS = st.lists(st.one_of(SIMPLE, with_prefix(SIMPLE), ODD), min_size=1, max_size=3).map(
    lambda parts: sorted({key for part in parts for key in part if key != "\x00"})
)


@fuzzed(0.2)
@given(KEYS, st.integers(1, 12), st.integers(2, 9), st.sampled_from([1, 2]), st.data())
async def test_several_requests_list_what_one_lists(
    keys: list[str], page_keys: int, parallel: int, list_type: Literal[1, 2], data: st.DataObject
) -> None:
    prefix = data.draw(st.sampled_from(["", "", *(key[:1] for key in keys[:3]), *(key[:4] for key in keys[-3:])]))
    start_after = data.draw(st.sampled_from([None, None, "0", "b", "漢", *keys[::7]]))
    async with bucket_of(Lister(keys, page_keys, shuffles=True), list_type=list_type) as (bucket, scripted):
        one = await keys_of(bucket.list(prefix, start_after=start_after))
        assert one == [key for key in keys if key.startswith(prefix) and (start_after is None or key > start_after)]
        before = scripted.connections
        assert await keys_of(bucket.list(prefix, start_after=start_after, parallel=parallel)) == one
        assert scripted.connections - before < parallel  # beside the one that is there


class LoopOfItsOwnTime(asyncio.SelectorEventLoop):
    """Where nothing is left to do but to wait, the wait is over."""

    def __init__(self) -> None:
        self._now = 0.0
        super().__init__(selector := SelectorThatJumps())
        selector.jump = self._jump

    def time(self) -> float:
        return self._now

    def _jump(self, seconds: float) -> None:
        self._now += seconds


class SelectorThatJumps(selectors.SelectSelector):
    jump: Callable[[float], None]

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout > 0:
            self.jump(timeout)
        return super().select(0)


@fuzzed(0.5)
@given(
    st.integers(0, 10**6),
    st.sampled_from(["01", "abc/", "0123456789", "a/\x07", "é漢🎉"]),
    st.integers(2, 12),
    st.sampled_from([1, 2, 3, 10, 50]),
    st.integers(2, 16),
)
def test_replies_may_come_in_any_order(seed: int, letters: str, longest: int, page_keys: int, width: int) -> None:
    chance = random.Random(seed)
    keys = sorted({"".join(chance.choices(letters, k=chance.randint(1, longest))) for _ in range(400)})
    time_to_list(keys, page_keys, width, chance.random)


def time_to_list(keys: Sequence[str], page_keys: int, width: int, seconds: Callable[[], float]) -> float:
    """They are all listed, in order; the seconds are those of a loop of its own time."""
    under_way = 0

    async def fetch(after: str | None, count: int) -> Page[dream.ObjectInfo]:
        nonlocal under_way
        under_way += 1
        assert under_way <= width
        start = 0 if after is None else bisect_right(keys, after)
        stop = start + min(count, page_keys)
        await asyncio.sleep(seconds())
        under_way -= 1
        found = [dream.ObjectInfo("bucket", key) for key in keys[start:stop]]
        return Page(found, ("more",) if stop < len(keys) else None)

    async def taken() -> float:
        loop = asyncio.get_running_loop()
        start = loop.time()
        found = [info.key async for page in list_in_parallel(fetch, width, "", None, None) for info in page]
        assert found == keys
        return loop.time() - start

    with asyncio.Runner(loop_factory=LoopOfItsOwnTime) as runner:
        return runner.run(taken())


@pytest.mark.parametrize("prefix", ["", "2026/keys-7/"])
@pytest.mark.parametrize("name", KEY_SETS)
async def test_the_requests_are_few_whatever_the_names_are_like(name: str, prefix: str) -> None:
    lister = Lister([prefix + key for key in KEY_SETS[name]], 50)
    async with bucket_of(lister) as (bucket, scripted):
        assert await keys_of(bucket.list(prefix, parallel=4)) == lister.keys
        assert 1 < scripted.connections <= 4
        assert lister.pages < 60 * 1.6
        assert lister.probes < 60


@pytest.mark.parametrize("name", ["hexadecimal", "dates"])
def test_fifteen_pages_take_as_long_as_a_few(name: str) -> None:
    keys = sorted(KEY_SETS[name])
    assert time_to_list(keys, len(keys) // 15, 16, lambda: 1.0) <= 7


@pytest.mark.parametrize("limit", [0, 1, 1000, 1001, 2345, 2999, 3000, 3001])
async def test_limit_ends_a_listing_by_several_requests(limit: int) -> None:
    async with bucket_of(Lister(NUMBERS, 100)) as (bucket, scripted):
        assert await keys_of(bucket.list(limit=limit, parallel=8)) == NUMBERS[:limit]
        assert scripted.connections <= -(-limit // 1000)  # more would be more than there is to do
        behind = bucket.list("0000", start_after="000000999", limit=limit, parallel=8)
        assert await keys_of(behind) == NUMBERS[1000:][:limit]


@pytest.mark.parametrize("count", [0, 1, 999, 1000, 1001, 2000, 2001])
async def test_a_page_may_end_where_the_keys_end(count: int) -> None:
    async with bucket_of(Lister(NUMBERS[:count])) as (bucket, _):
        pages = [page async for page in bucket.list(parallel=4).pages()]
        assert [info.key for page in pages for info in page] == NUMBERS[:count]
        assert all(pages)


@pytest.mark.parametrize("server", ["rgw", "memory"], indirect=True)
async def test_a_real_service_lists_the_same_by_several_requests(server: Server) -> None:
    keys = [
        *DATES[::4],
        *(f"dir %2B+/ü {number}" for number in NUMBERS[:400]),
        *(f"漢{number}\x07" for number in range(100)),
    ]
    async with server.session() as session:
        bucket = await session.create_bucket(new_name())
        await put_all(bucket, keys)
        one = await bucket.list().collect()
        assert [info.key for info in one] == sorted(keys)
        assert await bucket.list(parallel=16).collect() == one
        behind = bucket.list("dir %", start_after="dir %2B+/ü 000000199", parallel=4)
        assert await keys_of(behind) == [f"dir %2B+/ü {number}" for number in NUMBERS[200:400]]
        await bucket.delete(force=True)


async def test_a_session_has_no_more_requests_than_its_limit(dreamobjects: MemoryService) -> None:
    async with dreamobjects.session(limits=dream.Limits(requests=2)) as session:
        bucket = await session.create_bucket("bucket")
        await put_all(bucket, NUMBERS)
        assert await keys_of(bucket.list(parallel=64)) == NUMBERS


@pytest.mark.parametrize("parallel", [0, -1, True, 1.5, "4", None])
async def test_parallel_is_a_number_of_requests(dreamobjects: MemoryService, parallel: Any) -> None:
    async with dreamobjects.session() as session:
        with pytest.raises(ValueError, match="parallel"):
            session.bucket("bucket").list(parallel=parallel)


async def test_a_missing_bucket_is_not_found_by_several_requests(dreamobjects: MemoryService) -> None:
    async with dreamobjects.session() as session:
        with pytest.raises(dream.NotFoundError):
            await session.bucket("missing").list(parallel=8).collect()


async def test_attempts_that_fail_are_made_again(dreamobjects: MemoryService) -> None:
    async with dreamobjects.session() as session:
        bucket = await session.create_bucket("bucket")
        await put_all(bucket, NUMBERS)
        dreamobjects.fail("list_objects", "SlowDown", times=3)
        dreamobjects.break_connection("list_objects", times=3)
        assert await keys_of(bucket.list(parallel=4)) == NUMBERS


# What ends it early


async def test_leaving_the_loop_ends_the_requests_under_way() -> None:
    lister, asked = Lister(NUMBERS, 100), asyncio.Event()

    def answer(request: Received) -> Reply | Silence:
        if lister.pages == 2:
            asked.set()
            return Silence()
        return lister(request)

    async with bucket_of(answer) as (bucket, _):
        before = tasks_of_the_client()
        async with aclosing(bucket.list(parallel=8).pages()) as pages:
            assert [info.key for info in await anext(pages)] == NUMBERS[:100]
            await asked.wait()
            assert tasks_of_the_client() > before
        assert tasks_of_the_client() == before


async def test_a_task_that_lists_can_be_cancelled() -> None:
    lister, asked = Lister(NUMBERS, 100), asyncio.Event()

    def answer(request: Received) -> Reply | Silence:
        if lister.probes > 2:
            asked.set()
            return Silence()
        return lister(request)

    async with bucket_of(answer) as (bucket, _):
        before = tasks_of_the_client()
        task = asyncio.ensure_future(bucket.list(parallel=8).collect())
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert tasks_of_the_client() == before


@pytest.mark.parametrize("forbidden", ["000000000", "000000777", "000002950"])
async def test_an_error_of_any_request_is_raised_as_itself(forbidden: str) -> None:
    lister = Lister(NUMBERS, 50)

    def answer(request: Received) -> Reply:
        asked = dict(parse_qsl(urlsplit(request.target).query))
        return error(403, "AccessDenied") if asked.get("start-after", "") >= forbidden else lister(request)

    async with bucket_of(answer) as (bucket, _):
        before, seen = tasks_of_the_client(), list[str]()

        async def look() -> None:
            async for info in bucket.list(parallel=8):
                seen.append(info.key)

        with pytest.raises(dream.AccessDeniedError) as caught:
            await look()
        assert (caught.value.status, caught.value.code) == (403, "AccessDenied")
        assert tasks_of_the_client() == before
        assert seen == NUMBERS[: len(seen)]


def shuffled(request: Received) -> Reply:
    return page(["b", "a", "c"], is_truncated=True)


def the_same_again(request: Received) -> Reply:
    return page(NUMBERS[:100], is_truncated=True)


def the_same_key_twice(request: Received) -> Reply:
    return page(["a", "b", "b"], is_truncated=False)


def nothing_and_more(request: Received) -> Reply:
    return page([], is_truncated=True)


def another_prefix(request: Received) -> Reply:
    return page(["other/1", "other/2"], is_truncated=True)


def another_in_the_middle(request: Received) -> Reply:
    return page(["0/1", "precious", "0/2"], is_truncated=False)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (shuffled, "not in the order"),
        (the_same_key_twice, "lists 'b' twice"),
        (the_same_again, "was asked for keys after '0000"),
        (nothing_and_more, "lists none"),
        (another_prefix, "start with '0'"),
        (another_in_the_middle, "not in the order"),
    ],
)
async def test_a_page_that_cannot_be_relied_on_ends_the_listing(
    answer: Callable[[Received], Reply], message: str
) -> None:
    prefix = "0" if answer in (another_prefix, another_in_the_middle) else ""
    async with bucket_of(answer) as (bucket, _):
        before = tasks_of_the_client()
        with pytest.raises(dream.ServiceError, match=message):
            await bucket.list(prefix, parallel=4).collect()
        assert tasks_of_the_client() == before


async def test_keys_that_come_and_go_meanwhile_do_not_confuse_it() -> None:
    class Changing(Lister):
        def __call__(self, request: Received) -> Reply:
            reply = super().__call__(request)
            chosen = random.Random(self.pages + self.probes)
            self.keys = sorted({*NUMBERS[::2], *chosen.sample(NUMBERS[1::2], 700)})
            return reply

    async with bucket_of(Changing(NUMBERS, 20)) as (bucket, _):
        found = await keys_of(bucket.list(parallel=8))
    assert found == sorted({*found})
    assert {*NUMBERS[::2]} <= {*found} <= {*NUMBERS}


# What waits for its turn


@pytest.mark.parametrize("name", ["numbers", "dates", "one hot prefix"])
async def test_pages_are_fetched_ahead_only_so_far(name: str) -> None:
    lister = Lister(KEY_SETS[name], 20)
    async with bucket_of(lister) as (bucket, scripted), aclosing(bucket.list(parallel=3).pages()) as pages:
        found = await anext(pages)
        while True:
            try:
                async with asyncio.timeout(0.3):
                    scripted.arrived.clear()
                    await scripted.arrived.wait()
            except TimeoutError:
                break
        assert lister.pages <= 1 + 3 * BUFFERED_PAGES
        async for some in pages:
            found += some
        assert [info.key for info in found] == lister.keys


async def test_other_tasks_are_served_meanwhile(dreamobjects: MemoryService) -> None:
    async with dreamobjects.session(limits=dream.Limits(requests=4)) as session:
        bucket = await session.create_bucket("bucket")
        await put_all(bucket, NUMBERS)
        async with aclosing(bucket.list(parallel=4).pages()) as pages:
            await anext(pages)
            assert (await bucket.object(NUMBERS[7]).head()).size == 0
            assert await keys_of(bucket.list(parallel=4)) == NUMBERS
