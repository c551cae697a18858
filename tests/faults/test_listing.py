"""A listing is whole or an error, and what a tree verb deletes rests on a whole one; the books of a deletion balance."""

from __future__ import annotations

import asyncio
import itertools
import random
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from servers.faulty import FaultyServer
from servers.rules import Action, Cut, Make, Meanwhile, Mishear, Refuse, Rule, Say, Shorten

import aiodreamobjects as dream
from aiodreamobjects._memory.calls import Reply
from aiodreamobjects._memory.listings import token_for
from aiodreamobjects._memory.store import Bucket, Content, Upload

HANG_SECONDS = 60.0
PAGE = 3
KEYS = [f"k{number:02}" for number in range(3 * PAGE)]
"""Three pages of them."""
ANOTHER_ROOT = b"<ListBucketResult></ListBucketResult>"
HTML = b"<html><body>Welcome to the hotel's network</body></html>"


def short_pages() -> list[Rule]:
    names = {"ListObject*": "max-keys", "ListMultipartUploads": "max-uploads"}
    return [Rule(op, Mishear(query={name: str(PAGE)}), times=None, may_be_idle=True) for op, name in names.items()]


def edited(pattern: bytes, new: bytes) -> Make:
    """The document with this in place of what the pattern finds, which it must find."""

    def edit(reply: Reply) -> Reply:
        body, count = re.subn(pattern, new, reply.body, flags=re.DOTALL)
        assert count, (pattern, reply.body)
        return replace(reply, body=body)

    return Make(edit)


MARKERS = rb"<(NextContinuationToken|NextKeyMarker|NextVersionIdMarker|NextUploadIdMarker)>[^<]*</\1>"
ITEM = rb"<(Contents|Version|Upload)>.*?</\1>"


def items_changed(change: Callable[[list[bytes]], list[bytes]]) -> Make:
    def edit(reply: Reply) -> Reply:
        found = [one[0] for one in re.finditer(ITEM, reply.body, re.DOTALL)]
        if len(found) < 2:
            return reply
        start, end = reply.body.index(found[0]), reply.body.index(found[-1]) + len(found[-1])
        return replace(reply, body=reply.body[:start] + b"".join(change(found)) + reply.body[end:])

    return Make(edit)


# What is listed: F31


@dataclass(frozen=True, slots=True)
class Fault:
    """What becomes of some pages. ``is_healed``: all is listed as if nothing had been; else it is an error."""

    name: str
    actions: Sequence[Action]
    is_healed: bool
    times: int | None = 1


FAULTS = [
    *(Fault(f"{name} once", [action], is_healed=True) for name, action in (
        ("500", Refuse(500, "InternalError")),
        ("503", Refuse(503, "SlowDown")),
        ("an error in a 200", Refuse(200, "InternalError")),
        ("reset", Cut(None)),
        ("reset in the document", Cut(200)),
        ("closed in the document", Cut(200, "close")),
        ("stall in the document", Cut(200, "silence")),
    )),
    *(Fault(f"{name} for ever", [action], is_healed=False, times=None) for name, action in (
        ("500", Refuse(500, "InternalError")),
        ("403", Refuse(403, "AccessDenied")),
        ("an error in a 200", Refuse(200, "InternalError")),
        ("reset in the document", Cut(200)),
        ("cut in the document, with a length that fits", Shorten(100)),
        ("nothing", Say(body=b"")),
        ("HTML", Say(body=HTML)),
        ("IsTruncated and no token", edited(MARKERS, b"")),
        ("an IsTruncated that says nothing", edited(rb"<IsTruncated>[a-z]*</IsTruncated>", b"<IsTruncated>?</IsTruncated>")),
    )),
    Fault("no IsTruncated", [edited(rb"<IsTruncated>[a-z]*</IsTruncated>", b"")], is_healed=True, times=None),
]  # fmt: skip
UNSORTED = Fault("unsorted", [items_changed(lambda found: found[::-1])], is_healed=False, times=None)
TWICE = Fault("a key twice", [items_changed(lambda found: [*found, found[-1]])], is_healed=False, times=None)

Listing = Callable[[dream.Bucket], Awaitable[list[str]]]


async def listed(bucket: dream.Bucket) -> list[str]:
    return [info.key for info in await bucket.list().collect()]


async def listed_in_parallel(bucket: dream.Bucket) -> list[str]:
    return [info.key for info in await bucket.list(parallel=4).collect()]


async def listed_versions(bucket: dream.Bucket) -> list[str]:
    return [info.key for info in await bucket.list_versions().collect()]


async def listed_uploads(bucket: dream.Bucket) -> list[str]:
    return [info.key for info in await bucket.uploads().collect()]


# A page of versions is sorted here, since delete markers may come apart from them; uploads come in any order.
LISTINGS: Mapping[str, tuple[str, Listing, tuple[Fault, ...]]] = {
    "list": ("ListObjectsV2", listed, (UNSORTED, TWICE)),
    "list(parallel)": ("ListObjectsV2", listed_in_parallel, (UNSORTED, TWICE)),
    "list_versions": ("ListObjectVersions", listed_versions, ()),
    "uploads": ("ListMultipartUploads", listed_uploads, (TWICE,)),
}


def begin_uploads(bucket: Bucket) -> None:
    for key in KEYS:
        upload = Upload(key, next(bucket.numbers), {})
        bucket.uploads[upload.upload_id] = upload


async def outcome_of(listing: Listing, bucket: dream.Bucket) -> list[str] | Exception:
    try:
        return await listing(bucket)
    except Exception as error:  # noqa: BLE001 - what came of it is judged
        return error


@pytest.mark.parametrize("name", list(LISTINGS))
async def test_a_listing_is_whole_or_an_error(faulty: FaultyServer, name: str) -> None:
    op, listing, in_order = LISTINGS[name]
    is_parallel = listing is listed_in_parallel
    for key in KEYS:
        faulty.put("bucket", key, b"x")
    faulty.change("bucket", Meanwhile(begin_uploads))
    wrong = []
    async with asyncio.timeout(HANG_SECONDS), faulty.session() as session:
        for fault in (*FAULTS, *in_order):
            pages = (1,) if is_parallel else (2,) if "stall" in fault.name else (1, 2, 3)
            for page in pages:
                if page == 3 and "token" in fault.name:
                    continue  # the last one has none
                rule = Rule(op, *fault.actions, nth=page, times=fault.times)
                faulty.will(*([] if is_parallel else short_pages()), rule)
                if is_parallel and fault in in_order:
                    faulty.will(*short_pages(), rule)
                if is_parallel and "token" in fault.name:
                    continue  # it goes by keys
                outcome = await outcome_of(listing, session.bucket("bucket"))
                faulty.check()
                if outcome != KEYS if fault.is_healed else not isinstance(outcome, dream.DreamObjectsError):
                    wrong.append(f"{fault.name}, page {page}: {outcome!r}")
    faulty.change("bucket", Meanwhile(lambda bucket: bucket.uploads.clear()))
    assert not wrong, "\n".join(wrong)


async def test_a_listing_that_leads_in_a_circle_ends(faulty: FaultyServer) -> None:
    for key in KEYS:
        faulty.put("bucket", key, b"x")
    same = token_for(KEYS[PAGE - 1]).encode()
    to_the_same = edited(rb"(<NextContinuationToken>)[^<]*", rb"\g<1>" + same)
    async with asyncio.timeout(HANG_SECONDS), faulty.session() as session:
        faulty.will(*short_pages(), Rule("ListObjectsV2", to_the_same, times=None))
        with pytest.raises(dream.ServiceError, match="does not advance"):
            await listed(session.bucket("bucket"))
        assert len(faulty.asked("ListObjectsV2")) <= 4


async def test_a_thousand_pages_without_a_key_are_gone_through(faulty: FaultyServer) -> None:
    count, tokens = 1000, itertools.count()
    for key in KEYS:
        faulty.put("bucket", key, b"x")

    def without_keys(reply: Reply) -> Reply:
        token = token_for("!" if (number := next(tokens)) == count - 1 else f"%{number}")
        told = f"<IsTruncated>true</IsTruncated><NextContinuationToken>{token}</NextContinuationToken>"
        return Reply(200, {}, f"<ListBucketResult>{told}</ListBucketResult>".encode())

    faulty.will(Rule("ListObjectsV2", Make(without_keys), times=count))
    async with asyncio.timeout(HANG_SECONDS), faulty.session() as session:
        assert await listed(session.bucket("bucket")) == KEYS
    assert len(faulty.asked("ListObjectsV2")) == count + 1


async def test_keys_that_come_and_go_meanwhile_are_listed_or_not_and_the_others_are(faulty: FaultyServer) -> None:
    for key in KEYS:
        faulty.put("bucket", key, b"x")

    def change(bucket: Bucket) -> None:
        bucket.drop(KEYS[PAGE - 1])  # the one from which the listing goes on
        bucket.drop(KEYS[PAGE])
        bucket.add("k00a", Content(b"x", "e", {}))
        bucket.add("k99", Content(b"x", "e", {}))

    faulty.will(*short_pages(), Rule("ListObjectsV2", Meanwhile(change), nth=2))
    async with asyncio.timeout(HANG_SECONDS), faulty.session() as session:
        found = await listed(session.bucket("bucket"))
    assert found == [*(key for key in KEYS if key != KEYS[PAGE]), "k99"]


# What a tree verb deletes: F31

CONTENT = b"the same on both sides"
EXTRA = ("a-first", "k04x", "z-last")
"""Names that only the target has: before, between and behind the others."""


async def download_tree(bucket: dream.Bucket, place: Path) -> object:
    return await bucket.download_tree(place, "from", delete=True, compare="size")


async def upload_tree(bucket: dream.Bucket, place: Path) -> object:
    return await bucket.upload_tree(place, "to", delete=True, compare="size")


async def copy_tree(bucket: dream.Bucket, place: Path) -> object:
    return await bucket.copy_tree(bucket, "from", "to", delete=True, compare="size")


Tree = Callable[[dream.Bucket, Path], Awaitable[object]]
TREES: Mapping[str, tuple[Tree, str]] = {
    "download_tree": (download_tree, "from/"),
    "copy_tree, its source": (copy_tree, "from/"),
    "upload_tree": (upload_tree, "to/"),
    "copy_tree, its target": (copy_tree, "to/"),
}
TO_THE_BEGINNING = edited(rb"(<NextContinuationToken>)[^<]*", rb"\g<1>" + token_for("").encode())
TREE_FAULTS = [
    *(fault for fault in FAULTS if not fault.is_healed),
    UNSORTED,
    TWICE,
    Fault("the first page for ever", [TO_THE_BEGINNING], is_healed=False, times=None),
    Fault(
        "keys of another prefix",
        [Mishear(query={"prefix": "other/", "continuation-token": None})],
        is_healed=False,
        times=None,
    ),
]


@pytest.mark.parametrize("name", list(TREES))
async def test_nothing_is_deleted_by_a_listing_that_failed_was_cut_or_out_of_order(
    faulty: FaultyServer, name: str, tmp_path: Path
) -> None:
    tree, prefix = TREES[name]
    place = tmp_path / "tree"
    place.mkdir()
    for key in KEYS:
        for there in ("from/", "to/"):
            faulty.put("bucket", f"{there}{key}", CONTENT)
        (place / key).write_bytes(CONTENT)
        faulty.put("bucket", f"other/{key}", CONTENT)
    for key in EXTRA:
        faulty.put("bucket", f"to/{key}", CONTENT)
        if tree is download_tree:
            (place / key).write_bytes(CONTENT)
    before = faulty.keys("bucket"), sorted(path.name for path in place.iterdir())
    wrong = []
    async with asyncio.timeout(HANG_SECONDS), faulty.session() as session:
        bucket = session.bucket("bucket")
        for fault in TREE_FAULTS:
            for page in (1, 2):
                if page == 1 and "first page" in fault.name:
                    continue
                faulty.will(
                    *short_pages(), Rule("ListObjectsV2", *fault.actions, key=prefix, nth=page, times=fault.times)
                )
                try:
                    outcome = await tree(bucket, place)
                except (dream.DreamObjectsError, ValueError) as error:
                    outcome = error
                faulty.check()
                after = faulty.keys("bucket"), sorted(path.name for path in place.iterdir())
                if not isinstance(outcome, dream.DreamObjectsError) or after != before:
                    wrong.append(f"{fault.name}, page {page}: {outcome!r}")
        faulty.will(*short_pages())
        await tree(bucket, place)
    gone = set(before[1 if tree is download_tree else 0]) - set(
        (path.name for path in place.iterdir()) if tree is download_tree else faulty.keys("bucket")
    )
    assert {one.rpartition("/")[2] for one in gone} == set(EXTRA)  # and that it would have been
    assert not wrong, "\n".join(wrong)


# What is deleted: F32

MANY = [f"d{number:04}" for number in range(1003)]
"""Of which a request takes a thousand."""
FEW = MANY[:40]
SOME = MANY[3], MANY[30], MANY[1001]


def told(key: str) -> bytes:
    return rb"<Deleted><Key>%b</Key></Deleted>" % key.encode()


def refused(code: str, *keys: str) -> Make:
    """As if these keys had been refused."""

    def edit(reply: Reply) -> Reply:
        pattern = rb"<Deleted>(<Key>(?:%b)</Key>(?:<VersionId>[^<]*</VersionId>)?)</Deleted>"
        error = rf"<Error>\1<Code>{code}</Code><Message>A fault.</Message></Error>"
        return replace(reply, body=re.sub(pattern % "|".join(keys).encode(), error.encode(), reply.body))

    return Make(edit)


def without(*keys: str) -> Make:
    return Make(lambda reply: replace(reply, body=re.sub(b"|".join(map(told, keys)), b"", reply.body)))


QUIET = edited(rb"<Deleted>.*</Deleted>", b"")
ALSO = edited(rb"</DeleteResult>", told("never-asked-for") + told("nor-this") + b"</DeleteResult>")
ALSO_REFUSED = edited(
    rb"</DeleteResult>", b"<Error><Key>never-asked-for</Key><Code>AccessDenied</Code></Error></DeleteResult>"
)
TOLD_TWICE = edited(rb"(<Deleted><Key>d000[0-9]</Key></Deleted>)", rb"\1\1")


@dataclass(frozen=True, slots=True)
class Deletion:
    """What becomes of DeleteObjects, and which keys fail in the end. ``is_senseless``: all of it is one error."""

    name: str
    actions: Sequence[Action]
    times: int | None = 2
    failed: Sequence[str] = ()
    is_senseless: bool = False


DELETION_FAULTS = [
    Deletion("AccessDenied", [refused("AccessDenied", *SOME)], None, SOME),
    Deletion("InternalError once", [refused("InternalError", *SOME)]),
    Deletion("InternalError for ever", [refused("InternalError", *SOME)], None, SOME),
    Deletion("SlowDown once", [refused("SlowDown", *SOME)]),
    Deletion("SlowDown for ever", [refused("SlowDown", *SOME)], None, SOME),
    Deletion("keys missing in the reply once", [without(*SOME)]),
    Deletion("keys missing in the reply for ever", [without(*SOME)], None),
    Deletion("keys twice in the reply", [TOLD_TWICE], 1),
    Deletion("quiet once", [QUIET]),
    Deletion("nothing once", [Say(body=b"")]),
    Deletion("nothing for ever", [Say(body=b"")], None),
    Deletion("keys that were not asked for", [ALSO], None),
    Deletion("keys that were not asked for are refused", [ALSO_REFUSED], None),
    Deletion("reset once", [Cut(None)]),
    Deletion("reset in the document", [Cut(500)]),
    Deletion("an error in a 200", [Refuse(200, "InternalError")]),
    Deletion("half a document, for ever", [Shorten(40)], None, is_senseless=True),
    Deletion("HTML for ever", [Say(body=HTML)], None, is_senseless=True),
    Deletion("another root for ever", [Say(body=ANOTHER_ROOT)], None, is_senseless=True),
]


async def test_the_books_of_a_deletion_balance(faulty: FaultyServer) -> None:
    """What is told to be done is gone; what is not told of is a failure; nothing is counted twice."""
    wrong = []
    async with asyncio.timeout(HANG_SECONDS), faulty.session() as session:
        bucket = session.bucket("bucket")
        for fault in DELETION_FAULTS:
            for key in (*MANY, "never-asked-for"):
                faulty.put("bucket", key, b"x", etag="e")
            faulty.will(Rule("DeleteObjects", *fault.actions, times=fault.times, may_be_idle=True))
            failed = set(fault.failed)
            try:
                report = await bucket.delete_many(MANY, on_error="collect")
            except dream.ServiceError as error:
                if not fault.is_senseless:
                    wrong.append(f"{fault.name}: {error!r}")
                continue
            finally:
                faulty.check()
            if fault.is_senseless:
                wrong.append(f"{fault.name}: {report!r}")
            there = set(faulty.keys("bucket"))
            failures = [failure.key for failure in report.failures]
            if (report.done, report.failed) != (len(MANY) - len(failed), len(failed)):
                wrong.append(f"{fault.name}: {report.done} done, {report.failed} failed")
            if not set(failures) <= failed or len(failures) != min(len(failed), 1000):
                wrong.append(f"{fault.name}: {len(failures)} failures are told")
            if there & (set(MANY) - failed):
                wrong.append(f"{fault.name}: told to be done, and there are {len(there)}")
            if there - set(MANY) != {"never-asked-for"}:
                wrong.append(f"{fault.name}: what was not asked for is gone")
    assert not wrong, "\n".join(wrong)


async def test_keys_that_were_refused_and_are_there_are_no_success(faulty: FaultyServer) -> None:
    for key in FEW:
        faulty.put("bucket", key, b"x", etag="e")
    async with asyncio.timeout(HANG_SECONDS), faulty.session() as session:
        bucket = session.bucket("bucket")
        nothing_done = Say(200, body=b"<DeleteResult></DeleteResult>", is_done=False)
        faulty.will(Rule("DeleteObjects", nothing_done), Rule("DeleteObject", Refuse(403, "AccessDenied"), times=None))
        with pytest.raises(dream.BulkError) as caught:
            await bucket.delete_many(FEW)
        assert (caught.value.report.done, caught.value.report.failed) == (0, len(FEW))
        assert faulty.keys("bucket") == FEW
        alone = Rule("DeleteObject", Refuse(403, "AccessDenied"), times=None)  # as each is asked for, to name its lock
        faulty.will(Rule("DeleteObjects", refused("AccessDenied", *SOME), times=None), alone)
        with pytest.raises(dream.BulkError):
            await bucket.delete(force=True)
        assert "bucket" in faulty.buckets()
        for key in FEW:
            faulty.put("bucket", key, b"x", etag="e")
        faulty.will(Rule("DeleteObjects", refused("InternalError", *SOME), times=2), Rule("DeleteBucket", Cut(None)))
        await bucket.delete(force=True)
        assert faulty.buckets() == []


async def test_a_bucket_whose_listing_fails_is_not_deleted(faulty: FaultyServer) -> None:
    for key in KEYS:
        faulty.put("bucket", key, b"x", etag="e")
    async with asyncio.timeout(HANG_SECONDS), faulty.session() as session:
        for op in ("ListObjectVersions", "ListMultipartUploads"):
            for action in (Refuse(500, "InternalError"), Shorten(100), Say(body=HTML)):
                faulty.will(*short_pages(), Rule(op, action, times=None))
                with pytest.raises(dream.DreamObjectsError):
                    await session.bucket("bucket").delete(force=True)
                assert "DeleteBucket" not in faulty.ops
                assert faulty.keys("bucket") == KEYS


# Odd keys: F33

ODD_KEYS = [
    *("bell\x07", "\x01", "\x1funit", "del\x7f", "tab\there", "line\nfeed", "carriage\rreturn", "both\r\nof them"),
    *("\x85next line", "\u2028separator", "no character\ufffe", "\uffff", "\u202eright to left", "e\u0301 and é"),
    *(" leading", "trailing ", " ", "two  blanks", "a+b", "a%2Fb", "%", "%%41", "100%25", "%zz"),
    *("//two", "double//slash", "/", "/leading", "trailing/", ".", "..", "./a", "../a", "a/../b", "a/./b", "a/.."),
    *("ünïcödé", "漢字", "🎉", "<tag>&amp;\"quotes'", "?x=y#z", "*?[]{}~^`|", "back\\slash", "$HOME;`id`"),
    *("x" * 1024, "é" * 512, "uploads", "?uploads"),
]
IN_PARTS = random.Random(1).randbytes(150_000)


async def test_odd_keys_go_through_every_verb(faulty: FaultyServer) -> None:
    service = replace(faulty.service, unsupported={"tagging": "there are none"})
    limits = dream.Limits(part_size=64 << 10)
    wrong = []
    async with asyncio.timeout(HANG_SECONDS), faulty.session(service=service, limits=limits) as session:
        bucket = session.bucket("bucket")

        async def go_through(key: str) -> None:
            obj, number = bucket.object(key), ODD_KEYS.index(key)
            await obj.put(key)
            assert faulty.content("bucket", key) == key.encode()
            assert await obj.read_text() == key
            assert (await obj.head()).key == key
            assert key in [info.key for info in await bucket.list(key).collect()]
            await obj.copy_to(bucket.object(f"copy-{number}"))
            assert faulty.content("bucket", f"copy-{number}") == key.encode()
            assert (await obj.put(IN_PARTS)).verified == "parts"
            assert faulty.content("bucket", key) == IN_PARTS
            async with obj.writer() as file:
                await file.write(IN_PARTS)
            assert key not in faulty.uploads("bucket")

        async def attempt(key: str) -> None:
            try:
                await go_through(key)
            except Exception as error:  # noqa: BLE001 - all keys are tried
                wrong.append(f"{key[:20]!r}: {error!r}"[:300])

        await asyncio.gather(*map(attempt, ODD_KEYS))
        assert not wrong, "\n".join(wrong)
        everything = {*ODD_KEYS, *(f"copy-{number}" for number in range(len(ODD_KEYS)))}
        assert {info.key for info in await bucket.list().collect()} == everything
        assert {info.key for info in await bucket.list_versions().collect()} == everything
        report = await bucket.delete_many(ODD_KEYS)
        assert (report.done, report.failed) == (len(ODD_KEYS), 0)
        assert set(faulty.keys("bucket")) == everything - set(ODD_KEYS)


async def test_a_key_that_xml_cannot_carry_leaves_no_upload_when_the_upload_fails(faulty: FaultyServer) -> None:
    async with faulty.session(limits=dream.Limits(part_size=64 << 10)) as session:
        for key in ("bell\x07", "carriage\rreturn", "\uffff"):
            for rule in (
                Rule("UploadPart", Refuse(403, "AccessDenied"), part=2),
                Rule("CreateMultipartUpload", Cut(None)),
                Rule("CompleteMultipartUpload", Refuse(403, "AccessDenied")),
            ):
                faulty.will(rule)
                try:
                    await session.object(f"s3://bucket/{key}").put(IN_PARTS)
                except dream.AccessDeniedError:
                    assert faulty.content("bucket", key) is None
                assert faulty.uploads("bucket") == [], (key, rule)
                faulty.check()
                await session.object(f"s3://bucket/{key}").delete()


async def test_a_key_that_is_too_long_or_no_text_is_refused_before_anything_is_sent(faulty: FaultyServer) -> None:
    async with faulty.session() as session:
        for key in ("x" * 1025, "é" * 513, "", "\ud800"):
            with pytest.raises(ValueError, match="key"):
                session.bucket("bucket").object(key)
            with pytest.raises(ValueError, match="key"):
                await session.bucket("bucket").delete_many([key])
    assert faulty.ops == []
