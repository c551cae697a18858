"""Names that mean harm, or that a disk does not take: nothing is ever written outside, and all others arrive."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import tempfile
import threading
import unicodedata
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import pytest_asyncio
from fuzzing import fuzzed
from hypothesis import given
from hypothesis import strategies as st

import aiodreamobjects as dream
from aiodreamobjects._tree.names import Clashes, Patterns, is_safe
from aiodreamobjects._tree.walk import Entry, Walk
from aiodreamobjects.testing import MemoryService

LARGE = bytes(300 << 10)
"""More than what goes together with others."""

HOSTILE = [
    *("..", "../a", "../../a", "a/..", "a/../b", "a/../../b", "a/../../../../../../../../tmp/b", "..//a", "../", "a/../"),
    *("/", "/a", "//a", "/etc/passwd", "//server/share", "/../a", "a//b", "a//../b", "a///b", "a//", "b/"),
    *(".", "./a", "a/.", "a/./b", "a/b/.", "././.", "./..", "../.", "./../a", "a/./../../b"),
    *("\0", "a\0", "\0a", "a\0b", "a/\0/b", "..\0", "../\0", "a\0/../b", "x.txt\0.png"),
    *("é/../../b", "\U0001f600/..", "\n/../a", " /../a", "a/ /../../../b", "%2e%2e/../a", ".../../../a", "a/b/c/../../../../d"),
    *("../to", "../to/../a", "../to-old/a", "../../.ssh/authorized_keys", "a/../.bashrc", "c/../../outside/secret"),
    *("\u0301/..", "..\u200b/../a", "...//a", "a/b/../..", "\r/..", "\\..\\/../a", "C:/../a", "~/../a", "-/./a", "\x7f//"),
]  # fmt: skip
ODD = [
    *("...", "..a", "a..", "a...b", ".a", "a/.b", "..b/b..", "....", "a. ", " ", "  a", "q /a", ". ", " .", ".. ", " ..", "a/.. /b"),
    *("\n", "..\n", ".\n", "\n..", "k/..\n", "k/\n", "k/.\n", "l\n/x", "a\nb", "\r", "\t", "\x01", "\x1b[2J", "\x7f", "\u0085", "\u2028", "\u202egpj.exe"),
    *("..%2f", "%2e%2e%2fa", "..%2fa", "%2e%2e", "%00", "..\\a", "\\a", "..\\..\\a", "C:", "C:a", "C:\\a", "m:n", "file.txt:stream", "~", "~root", "$HOME"),
    *("\uff0e\uff0e", "\u2024\u2024", "\u2025", "\uff0e/\uff0e", "\u2215etc", "\uff0fetc", "a\u2044b", "\u200b", "\u200b..", "\ufeff", "\u0301"),
    *("CON", "nul.txt", "AUX", "com1", "lpt9.log", "-rf", "--help", "*", "?", "'", '"', "`id`", "$(id)", ";ls", "|", "&", "<", ">"),
    *("n" * 255, "é" * 127, f"{'d' * 255}/{'d' * 255}", "\U0001f600" * 63, "\ud7ff", "\ue000", "\uffff", "\U0010ffff"),
]  # fmt: skip
TOO_LONG = ["n" * 300, f"{'d' * 300}/a", "é" * 150, f"p/{'n' * 256}"]
UNSAFE_ON_WINDOWS = [
    *("..\\a", "a\\b", "\\a", "\\\\server\\share", "C:", "C:a", "C:\\a", "C:/a", "a:b", "a.txt:stream", "a/b:$DATA"),
    *("con", "CON", "nul.txt", "aux/a", "a/prn", "com1", "COM9.log", "lpt1", "com¹", "LPT³.x", "conin$", "CONOUT$", "nul ", "con .txt"),
    *("a.", "a ", "a./b", "a /b", "...", ".. ", "a. ", " ", "a..", 'a"', "a|b", "a?", "a*", "<a", "a>", "a\nb", "\x01", "\x1f"),
]  # fmt: skip
SAFE_ON_WINDOWS = [
    *("a", "a/b", ".a", "a.b", " a", "console", "com", "com10", "nul_", "auxiliary/a", "xcon", "con-a", "lpt", "a con", "..a"),
    *("é", "\u2025", "\uff0e\uff0e", "%2e%2e", "~", "a'b", "\x7f", "-", "\uff3cb", "comé"),
]  # fmt: skip


@pytest.fixture
def memory() -> MemoryService:
    rules = dream.MultipartRules(smallest_part=1)
    return MemoryService(service=replace(MemoryService().service, multipart=rules))


@pytest_asyncio.fixture
async def bucket(memory: MemoryService) -> AsyncIterator[dream.Bucket]:
    async with memory.session(limits=dream.Limits(requests=16)) as session:
        yield await session.create_bucket("names")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """What is to stay as it is, around ``to``, which is to be filled."""
    place = tmp_path / "x" / "y" / "place"
    for name in ("outside/secret", "to-old/a", "a", "b", "to/kept"):
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"precious")
    return place


def seen_around(place: Path) -> dict[str, tuple[object, ...]]:
    """All that is near, but for what is below ``to``."""
    found: dict[str, tuple[object, ...]] = {}
    for directory, directories, files in os.walk(place.parent.parent.parent):
        if Path(directory) == place:
            directories.remove("to")
        for name in files + directories:
            path = Path(directory, name)
            at = path.lstat()
            content = path.read_bytes() if path.is_file() else b""
            found[str(path)] = (
                stat.S_IFMT(at.st_mode),
                stat.S_IMODE(at.st_mode),
                at.st_size,
                content,
                at.st_mtime_ns if content else 0,
            )
    return found


def files_in(root: Path) -> dict[str, bytes]:
    """Without following links."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for directory, _, files in os.walk(root)
        for path in (Path(directory, name) for name in files)
        if not path.is_symlink()
    }


async def put(bucket: dream.Bucket, *keys: str, content: bytes = b"new") -> None:
    for key in keys:
        await bucket.object(key).put(content)


# Keys


async def test_a_hostile_key_is_a_failure_and_all_others_arrive(bucket: dream.Bucket, place: Path) -> None:
    assert len({*HOSTILE}) == len(HOSTILE) >= 60
    before = seen_around(place)
    await put(bucket, *(f"p/{key}" for key in (*HOSTILE, *ODD, *TOO_LONG)))
    for compare in (None, "size", "mtime", "etag"):
        with pytest.raises(dream.BulkError) as caught:
            await bucket.download_tree(place / "to", "p", compare=compare, delete=True)
        report = caught.value.report
        unsafe = {one.key for one in report.failures if isinstance(one.error, dream.UnsafeKeyError)}
        assert unsafe == {*HOSTILE}
        assert {one.key for one in report.failures} - unsafe == {*TOO_LONG}
        assert files_in(place / "to") == dict.fromkeys(ODD, b"new") | {"kept": b"precious"}
        assert seen_around(place) == before


@pytest.mark.parametrize("key", ["", "a"])
async def test_keys_below_no_prefix_and_by_the_prefix_itself_are_no_less_hostile(
    bucket: dream.Bucket, place: Path, key: str
) -> None:
    before = seen_around(place)
    keys = [one for one in HOSTILE if not one.startswith("a/")]
    await put(bucket, *(f"{key}{one}" for one in keys))
    await bucket.download_tree(place / "to", on_error="collect")
    await bucket.download_tree(place / "to", "..", on_error="collect")
    await bucket.download_tree(place / "to", "a", on_error="collect")
    await bucket.download_tree(place / "to", "/", on_error="collect")
    assert seen_around(place) == before


async def test_large_objects_stay_inside_as_well(bucket: dream.Bucket, place: Path) -> None:
    before = seen_around(place)
    await put(bucket, "p/../a", "p//b", "p/c/../../d", "p/d/", "p/fine", content=LARGE)
    report = await bucket.download_tree(place / "to", "p", on_error="collect")
    assert (report.copied, report.failed) == (1, 4)
    assert files_in(place / "to") == {"fine": LARGE, "kept": b"precious"}
    assert seen_around(place) == before


def test_what_is_safe_on_other_systems() -> None:
    assert [key for key in HOSTILE if is_safe(key, on_windows=False)] == []
    assert [key for key in (*ODD, *TOO_LONG) if not is_safe(key, on_windows=False)] == []


def test_what_is_safe_on_windows() -> None:
    assert [key for key in (*HOSTILE, *UNSAFE_ON_WINDOWS) if is_safe(key, on_windows=True)] == []
    assert [key for key in SAFE_ON_WINDOWS if not is_safe(key, on_windows=True)] == []


@given(st.text("a./\\: \0\n", max_size=8))
@fuzzed(3)
def test_a_safe_name_is_one_that_the_paths_of_either_system_keep_inside(name: str) -> None:
    parts = name.split("/")
    assert is_safe(name, on_windows=False) == ("\0" not in name and not {"", ".", ".."} & {*parts})
    if is_safe(name, on_windows=True):
        assert is_safe(name, on_windows=False)
        assert not {*"\\:\n"} & {*name}
        assert all(part == part.rstrip(". ") for part in parts)


# What is in the way


@pytest.mark.parametrize("content", [b"new", LARGE], ids=["small", "large"])
async def test_links_in_the_target_lead_nowhere(bucket: dream.Bucket, place: Path, content: bytes) -> None:
    to = place / "to"
    (to / "inside").mkdir()
    for name, target in (
        ("directory", place / "outside"),
        ("up", ".."),
        ("in", "inside"),
        ("dangling", place / "missing"),
        ("file", place / "outside" / "secret"),
        ("nothing", place / "nothing"),
        ("folder", place / "outside"),
        ("inside/deep", place / "outside"),
    ):
        (to / name).symlink_to(target)
    before = seen_around(place)
    below = ["directory/secret", "directory/new", "up/a", "in/x", "dangling/x", "inside/deep/secret", "file/x"]
    await put(bucket, *(f"p/{name}" for name in (*below, "nothing", "fine", "inside/fine")), content=content)
    for compare in ("size", "mtime", "etag", None):
        report = await bucket.download_tree(to, "p", compare=compare, delete=True, on_error="collect")
        assert {failure.key for failure in report.failures} == {*below}
        assert all(isinstance(failure.error, dream.UnsafeKeyError) for failure in report.failures)
        assert seen_around(place) == before
    assert files_in(to) == {"kept": b"precious", **dict.fromkeys(("nothing", "fine", "inside/fine"), content)}


@pytest.mark.parametrize("content", [b"new", LARGE], ids=["small", "large"])
async def test_a_link_in_the_place_of_a_file_is_replaced_and_not_followed(
    bucket: dream.Bucket, place: Path, content: bytes
) -> None:
    to = place / "to"
    (place / "outside" / "secret").chmod(0o640)
    for name, target in (("file", "secret"), ("directory", ""), ("dangling", "missing")):
        (to / name).symlink_to(place / "outside" / target)
    before = seen_around(place)
    await put(bucket, "p/file", "p/directory", "p/dangling", content=content)
    report = await bucket.download_tree(to, "p", on_error="collect")
    assert report.failures == ()
    assert files_in(to) == {"kept": b"precious", **dict.fromkeys(("file", "directory", "dangling"), content)}
    assert {stat.S_IMODE((to / name).stat().st_mode) for name in ("file", "directory", "dangling")} == {
        0o666 & ~umask()
    }
    assert seen_around(place) == before


async def test_deleting_follows_no_link(bucket: dream.Bucket, place: Path) -> None:
    (place / "to" / "directory").symlink_to(place / "outside")
    (place / "to" / "file").symlink_to(place / "outside" / "secret")
    before = seen_around(place)
    await put(bucket, "p/a")
    report = await bucket.download_tree(place / "to", "p", delete=True)
    assert (report.copied, report.deleted) == (1, 1)
    assert seen_around(place) == before


async def test_a_target_that_is_a_link_is_the_directory_it_leads_to(bucket: dream.Bucket, place: Path) -> None:
    (place / "link").symlink_to("to")
    await put(bucket, "p/a", "p/d/b")
    assert (await bucket.download_tree(place / "link", "p", delete=True)).deleted == 1
    assert files_in(place / "to") == {"a": b"new", "d/b": b"new"}


@contextmanager
def swapping(directory: Path, outside: Path) -> Iterator[None]:
    """By turns it is a directory and a link to another one."""
    stop = threading.Event()
    aside, link = directory.with_name("aside"), directory.with_name("link")

    def swap() -> None:
        while not stop.is_set():
            with suppress(OSError):
                link.symlink_to(outside)
            with suppress(OSError):
                directory.rename(aside)
            with suppress(OSError):
                link.rename(directory)
            with suppress(OSError):
                directory.unlink()
            with suppress(OSError):
                aside.rename(directory)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("content", [b"new", LARGE], ids=["small", "large"])
async def test_links_that_are_planted_meanwhile_lead_nowhere(bucket: dream.Bucket, place: Path, content: bytes) -> None:
    """The race of a directory and a link that rclone lost (CVE-2026-54572)."""
    names = [f"p/d/{name}" for name in ("secret", "a", "sub/b", "sub/secret")]
    await put(bucket, *names, content=content)
    (place / "outside" / "sub").mkdir()
    (place / "outside" / "sub" / "secret").write_bytes(b"precious")
    (place / "to" / "d").mkdir()
    before = seen_around(place)
    with swapping(place / "to" / "d", place / "outside"):
        for _ in range(50):
            await bucket.download_tree(place / "to", "p", delete=True, on_error="collect")
            assert seen_around(place) == before
    assert seen_around(place) == before


@pytest.mark.parametrize("content", [b"new", LARGE], ids=["small", "large"])
async def test_a_name_that_is_a_file_and_a_directory_is_the_file(
    bucket: dream.Bucket, place: Path, content: bytes
) -> None:
    await put(bucket, "p/a", "p/a-b", "p/a/b", "p/a/b/c", "p/a0", "p/d/e", "p/d/e/f", content=content)
    report = await bucket.download_tree(place / "to", "p", on_error="collect")
    assert sorted(failure.key for failure in report.failures) == ["a/b", "a/b/c", "d/e/f"]
    assert all(isinstance(failure.error, dream.UnsafeKeyError) for failure in report.failures)
    assert files_in(place / "to") == {"kept": b"precious", **dict.fromkeys(("a", "a-b", "a0", "d/e"), content)}


@pytest.mark.parametrize("content", [b"new", LARGE], ids=["small", "large"])
async def test_what_is_on_the_disk_already_keeps_its_place(bucket: dream.Bucket, place: Path, content: bytes) -> None:
    to = place / "to"
    (to / "directory").mkdir()
    (to / "directory" / "x").write_bytes(b"precious")
    os.mkfifo(to / "pipe")
    await put(bucket, "p/directory", "p/kept/x", "p/kept/y/z", "p/pipe", "p/pipe/x", "p/fine", content=content)
    for options in ({}, {"compare": "size"}, {"delete": True}):
        report = await bucket.download_tree(to, "p", on_error="collect", **options)
        assert sorted(failure.key for failure in report.failures) == [
            *("directory", "kept/x", "kept/y/z", "pipe", "pipe/x")
        ]
        assert all(isinstance(failure.error, dream.UnsafeKeyError) for failure in report.failures)
    assert (to / "kept").read_bytes() == (to / "directory" / "x").read_bytes() == b"precious"
    assert (to / "fine").read_bytes() == content
    assert stat.S_ISFIFO((to / "pipe").stat().st_mode)


def folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def stands_beside(name: str, others: list[str]) -> bool:
    """By comparing with each: no shorter path of one is, but for its case, a path of the other that is spelled otherwise."""
    paths = ["/".join(name.split("/")[:depth]) for depth in range(1, name.count("/") + 2)]
    for other in others:
        theirs = ["/".join(other.split("/")[:depth]) for depth in range(1, other.count("/") + 2)]
        if any(folded(one) == folded(two) and one != two for one in paths for two in theirs):
            return False
        if name != other and (other in paths or name in theirs):
            return False
    return True


@given(st.sets(st.lists(st.sampled_from(["a", "A", "b", "B", "a-", "é", "e\u0301", "ß", "SS"]), min_size=1, max_size=3)
               .map("/".join), max_size=12))  # fmt: skip
@fuzzed(2)
def test_names_that_stand_beside_each_other_where_case_does_not_tell(names: set[str]) -> None:
    clashes, kept = Clashes(folds_case=True), list[str]()
    for name in sorted(names):
        if clashes.with_what(name) is None:
            assert stands_beside(name, kept)
            kept.append(name)
        else:
            assert not stands_beside(name, kept) or is_below_what_is_left_out(name, sorted(names), kept)


def is_below_what_is_left_out(name: str, names: list[str], kept: list[str]) -> bool:
    """Spelled as another that did not get its place, or below it: its directories were seen, though nothing is in them."""
    left_out = [other for other in names if other < name and other not in kept]
    return not stands_beside(name, left_out)


@given(st.sets(st.text("ab/-.0", min_size=1, max_size=6), max_size=12))
@fuzzed(2)
def test_names_that_stand_beside_each_other(names: set[str]) -> None:
    clashes, kept = Clashes(folds_case=False), list[str]()
    for name in sorted(names):
        above = [name[:at] for at, letter in enumerate(name) if letter == "/"]
        other = clashes.with_what(name)
        assert (other is not None) == any(one in kept for one in above)
        assert other is None or other in above
        if other is None:
            kept.append(name)


# The local side


def umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


async def uploaded(bucket: dream.Bucket, root: Path, **options: Any) -> tuple[dict[str, str], dict[str, Exception]]:
    """What is there then, and what failed."""
    await bucket.delete_many(bucket.list())
    report = await bucket.upload_tree(root, on_error="collect", **options)
    found = {info.key: (await bucket.object(info.key).read()).decode() async for info in bucket.list()}
    assert report.copied == len(found)
    return found, {failure.key: failure.error for failure in report.failures}


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    for name in ("root/a", "root/d/b", "elsewhere/c"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (root / "file").symlink_to("a")
    (root / "inside").symlink_to("d")
    (root / "outside").symlink_to("../elsewhere")
    return root


async def test_links_are_followed(bucket: dream.Bucket, linked: Path) -> None:
    found, failures = await uploaded(bucket, linked)
    assert failures == {}
    assert found == {
        "a": "root/a",
        "d/b": "root/d/b",
        "file": "root/a",
        "inside/b": "root/d/b",
        "outside/c": "elsewhere/c",
    }
    assert await uploaded(bucket, linked, symlinks="follow") == (found, {})


async def test_links_are_skipped(bucket: dream.Bucket, linked: Path) -> None:
    found, failures = await uploaded(bucket, linked, symlinks="skip")
    assert (found, failures) == ({"a": "root/a", "d/b": "root/d/b"}, {})


async def test_links_are_refused(bucket: dream.Bucket, linked: Path) -> None:
    found, failures = await uploaded(bucket, linked, symlinks="refuse")
    assert found == {"a": "root/a", "d/b": "root/d/b"}
    assert failures.keys() == {"file", "inside", "outside"}
    assert {str(error) for error in failures.values()} == {
        f"[Errno 40] it is a symbolic link: '{linked}/{name}'" for name in failures
    }


@pytest.mark.parametrize("symlinks", ["skip", "refuse"])
async def test_a_source_that_is_a_link_is_the_directory_it_leads_to(
    bucket: dream.Bucket, tmp_path: Path, symlinks: str
) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "a").write_text("1")
    (tmp_path / "link").symlink_to("root")
    assert await uploaded(bucket, tmp_path / "link", symlinks=symlinks) == ({"a": "1"}, {})


async def test_links_that_lead_back_are_noticed(bucket: dream.Bucket, tmp_path: Path) -> None:
    root = tmp_path / "root"
    for name in ("a/x", "b/y", "c/d/z"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    (root / "a" / "up").symlink_to("..")
    (root / "a" / "self").symlink_to(".")
    (root / "b" / "to-c").symlink_to("../c/d")
    (root / "c" / "d" / "to-b").symlink_to("../../b")
    async with asyncio.timeout(20):
        found, failures = await uploaded(bucket, root)
    assert found == {"a/x": "a/x", "b/y": "b/y", "c/d/z": "c/d/z", "b/to-c/z": "c/d/z", "c/d/to-b/y": "b/y"}
    assert failures.keys() == {"a/up/", "a/self/", "b/to-c/to-b/", "c/d/to-b/to-c/"}
    assert all("it leads back to a directory above it" in str(error) for error in failures.values())


async def test_directories_that_link_to_each_other_are_not_entered_in_every_order(
    bucket: dream.Bucket, tmp_path: Path
) -> None:
    """Each of these has links to all others: there are 1,956 ways to their 6 files, and millions to 10."""
    for count in (6, 12):
        root = tmp_path / f"{count}"
        for number in range(count):
            (root / f"{number:02}").mkdir(parents=True)
            (root / f"{number:02}" / "file").write_text(f"{number}")
            for other in {*range(count)} - {number}:
                (root / f"{number:02}" / f"to-{other:02}").symlink_to(f"../{other:02}")
        async with asyncio.timeout(60):
            report = await bucket.upload_tree(root, dry_run=True, on_error="collect")
        assert count * count <= report.copied <= count * count + 8 * count
        errors = {str(failure.error).partition(":")[0] for failure in report.failures}
        assert errors == {
            "[Errno 40] it leads back to a directory above it",
            "[Errno 40] more than 8 ways lead to it through several links",
        }


async def test_links_in_a_directory_that_a_link_leads_to_are_followed(bucket: dream.Bucket, tmp_path: Path) -> None:
    """As tools for deployment make them: current to a release, and each release to what all share."""
    root = tmp_path / "root"
    (root / "common" / "uploads").mkdir(parents=True)
    (root / "common" / "uploads" / "x").write_text("1")
    for number in range(20):
        (root / "releases" / f"{number}").mkdir(parents=True)
        (root / "releases" / f"{number}" / "uploads").symlink_to("../../common/uploads")
    (root / "current").symlink_to("releases/19")
    found, failures = await uploaded(bucket, root)
    assert failures == {}
    assert found.keys() == {"current/uploads/x", "common/uploads/x", *(f"releases/{n}/uploads/x" for n in range(20))}


async def test_what_is_no_file_is_told_and_all_others_go(bucket: dream.Bucket, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "a").write_text("1")
    (root / "broken").symlink_to("missing")
    (root / "itself").symlink_to("itself")
    (root / "through").symlink_to("a/b")
    (root / "too long").symlink_to("n" * 300)
    os.mkfifo(root / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(root / "socket"))
        for symlinks in ("follow", "skip", "refuse"):
            async with asyncio.timeout(20):
                found, failures = await uploaded(bucket, root, symlinks=symlinks)
            assert found == {"a": "1"}
            links = {"broken", "itself", "through", "too long"} if symlinks != "skip" else set()
            assert failures.keys() == {"pipe", "socket", *links}
            assert all(isinstance(error, OSError) for error in failures.values())


async def test_names_that_are_not_utf8_are_told(bucket: dream.Bucket, tmp_path: Path) -> None:
    root = os.fsencode(tmp_path / "root")
    os.makedirs(root + b"/d\xff")  # noqa: PTH103 - a name in bytes
    for name in (b"/a", b"/\xff", b"/d\xff/b", b"/\xc3\xa9", b"/\xed\xa0\x80"):
        Path(os.fsdecode(root + name)).write_text("1")
    found, failures = await uploaded(bucket, tmp_path / "root")
    assert found.keys() == {"a", "é"}
    assert {os.fsencode(name) for name in failures} == {b"\xff", b"d\xff/b", b"\xed\xa0\x80"}
    assert all("its name is not UTF-8" in str(error) for error in failures.values())
    report = await bucket.download_tree(tmp_path / "root", compare="size", delete=True)
    assert (report.skipped, report.deleted, report.failed) == (2, 0, 0)
    assert Path(os.fsdecode(root + b"/\xff")).exists()


async def test_names_that_make_no_key_are_told(bucket: dream.Bucket, tmp_path: Path) -> None:
    long = "/".join(["d" * 200] * 5)
    for name in (f"{long}/{'x' * 19}", f"{long}/{'x' * 20}", "a"):
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / name).write_text("1")
    found, failures = await uploaded(bucket, tmp_path / "root")
    assert found.keys() == {"a", f"{long}/{'x' * 19}"}
    assert failures.keys() == {f"{long}/{'x' * 20}"}
    assert isinstance(failures.popitem()[1], ValueError)


async def test_a_deep_tree_goes_up_and_down(bucket: dream.Bucket, tmp_path: Path) -> None:
    names = ["d/" * depth + f"{depth}" for depth in range(0, 301, 20)]
    for name in names:
        (tmp_path / "up" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "up" / name).write_text(name)
    assert (await bucket.upload_tree(tmp_path / "up", "p")).copied == len(names)
    assert (await bucket.download_tree(tmp_path / "down", "p")).copied == len(names)
    assert files_in(tmp_path / "down") == {name: name.encode() for name in names}
    assert (await bucket.download_tree(tmp_path / "down", "p", compare="mtime")).skipped == len(names)
    await bucket.object(f"p/{names[-1]}").delete()
    assert (await bucket.download_tree(tmp_path / "down", "p", compare="mtime", delete=True)).deleted == 1
    assert not (tmp_path / "down" / names[-1]).parent.exists()
    assert (tmp_path / "down" / names[-2]).exists()


async def test_deep_keys_do_not_take_the_descriptors_of_all(bucket: dream.Bucket, tmp_path: Path) -> None:
    keys = [f"{number}/{'d/' * 250}x" for number in range(6)]
    await put(bucket, *keys, "fine")
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (500, hard))
    try:
        report = await bucket.download_tree(tmp_path)
        assert report.copied == 7
        for key in keys[::2]:
            await bucket.object(key).delete()
        assert (await bucket.download_tree(tmp_path, compare="size", delete=True)).deleted == 3
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert files_in(tmp_path) == dict.fromkeys((*keys[1::2], "fine"), b"new")


@pytest.mark.parametrize("content", [b"new", LARGE], ids=["small", "large"])
async def test_files_have_the_mode_that_they_had_or_that_the_umask_gives(
    bucket: dream.Bucket, tmp_path: Path, content: bytes
) -> None:
    await put(bucket, "600", "644", "755", "4755", "new", "d/new", content=content)
    for name in ("600", "644", "755", "4755"):
        (tmp_path / name).write_bytes(b"old")
        (tmp_path / name).chmod(int(name, 8))
    mask = os.umask(0o027)
    try:
        await bucket.download_tree(tmp_path)
    finally:
        os.umask(mask)
    modes = {
        name: stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("600", "644", "755", "4755", "new", "d/new")
    }
    assert modes == {"600": 0o600, "644": 0o644, "755": 0o755, "4755": 0o755, "new": 0o640, "d/new": 0o640}
    assert stat.S_IMODE((tmp_path / "d").stat().st_mode) == 0o750


async def test_a_file_with_another_name_is_not_written_through(bucket: dream.Bucket, place: Path) -> None:
    os.link(place / "outside" / "secret", place / "to" / "linked")
    await put(bucket, "p/linked")
    await bucket.download_tree(place / "to", "p")
    assert (place / "to" / "linked").read_bytes() == b"new"
    assert (place / "outside" / "secret").read_bytes() == b"precious"


segments = st.text(
    st.sampled_from("aA-./0\u0301é\uffee\U0001f600 \n").filter(lambda letter: letter != "/"), min_size=1, max_size=3
)
paths = st.lists(segments.filter(lambda name: name not in (".", "..")), min_size=1, max_size=3).map("/".join)


@given(st.sets(paths, max_size=10))
@fuzzed(0.3)
async def test_a_walk_goes_in_the_order_of_keys(names: set[str]) -> None:
    names = {name for name in names if not any(other.startswith(f"{name}/") for other in names)}
    with tempfile.TemporaryDirectory() as root:
        for name in names:
            path = Path(root, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")
        for symlinks in ("follow", "skip"):
            found = await walked(root, symlinks)
            assert found == sorted(names, key=str.encode)


async def walked(root: str, symlinks: Literal["follow", "skip"]) -> list[str]:
    pages = [page async for page in Walk(root, Patterns((), ()), symlinks).pages()]
    return [step.name for page in pages for step in page if isinstance(step, Entry)]
