"""What is read: ranges, many files, files that change, errors."""

from __future__ import annotations

import asyncio
import itertools
import pickle
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from conftest import Server
from fsspec.callbacks import Callback
from servers.served import ServedService

import aiodreamobjects as dream
from aiodreamobjects.fsspec import DreamObjectsFileSystem
from aiodreamobjects.testing import Fault, MemoryService

DATA = b"0123456789"
KIB, MIB = 1 << 10, 1 << 20


def options_of(running: ServedService) -> dict[str, Any]:
    found = running.served
    return {"endpoint": found.endpoint, "key": found.access_key, "secret": found.secret_key}


@pytest.fixture(scope="module")
def running() -> Iterator[ServedService]:
    with ServedService(MemoryService()) as running:
        yield running


@pytest.fixture
def service(running: ServedService) -> Iterator[MemoryService]:
    """A service whose requests can be counted, and that can be told to fail."""
    yield running.service
    running.service.stop_faults()


@pytest.fixture
def mem(running: ServedService, service: MemoryService) -> Iterator[DreamObjectsFileSystem]:
    fs = DreamObjectsFileSystem(**options_of(running), limits={"part_size": 5 * MIB})
    fs.makedirs("reads", exist_ok=True)
    yield fs
    DreamObjectsFileSystem.clear_instance_cache()


def gets(service: MemoryService) -> int:
    return [request.verb for request in service.requests].count("get_object")


def test_a_range_is_the_slice_of_the_content(fs: DreamObjectsFileSystem, root: str) -> None:
    for data in (DATA, b""):
        path = f"{root}/{len(data)}"
        fs.pipe_file(path, data)
        for start, end in itertools.product([None, 0, 3, 9, 10, 15, -1, -3, -10, -15], repeat=2):
            assert fs.cat_file(path, start, end) == data[start:end], (start, end)


def test_an_empty_range_takes_no_request(mem: DreamObjectsFileSystem, service: MemoryService) -> None:
    mem.pipe_file("reads/a", DATA)
    service.forget_requests()
    assert mem.cat_file("reads/a", 3, 3) == b""
    assert mem.cat_file("reads/missing", 3, 2) == b""
    assert mem.cat_ranges(["reads/a"] * 2, [0, 4], [0, 4]) == [b"", b""]
    assert service.requests == ()


def test_near_ranges_are_read_together_and_far_ones_apart(mem: DreamObjectsFileSystem, service: MemoryService) -> None:
    data = bytes(range(256)) * (2 * KIB)
    mem.pipe_file("reads/big", data)
    starts, ends = [300 * KIB, 0, 100, 64 * KIB, 10, -5], [310 * KIB, 50, 200, 70 * KIB, 20, None]
    service.forget_requests()
    found = mem.cat_ranges(["reads/big"] * 6, starts, ends)
    assert found == [data[start:end] for start, end in zip(starts, ends, strict=True)]
    assert gets(service) == 3
    service.forget_requests()
    assert mem.cat_ranges(["reads/big"] * 2, [0, 100], [50, 150], max_gap=49) == [data[:50], data[100:150]]
    assert gets(service) == 2


def test_many_ranges_come_from_anything_that_can_be_iterated(mem: DreamObjectsFileSystem) -> None:
    mem.pipe_file("reads/a", DATA)
    assert mem.cat_ranges(["reads/a"] * 2, {0: None, 5: None}.keys(), iter([2, 7])) == [DATA[:2], DATA[5:7]]


def test_a_range_longer_than_a_part_is_read_in_parts(mem: DreamObjectsFileSystem, service: MemoryService) -> None:
    data = bytes(range(251)) * (13 * MIB // 251)
    mem.pipe_file("reads/long", data)
    service.forget_requests()
    assert mem.cat_ranges(["reads/long"], [1], [len(data) + 5]) == [data[1:]]
    assert gets(service) == 3
    with mem.open("reads/long") as file:
        assert file.read() == data


def test_each_range_of_a_missing_file_has_its_error(fs: DreamObjectsFileSystem, root: str) -> None:
    fs.pipe_file(f"{root}/a", DATA)
    paths, starts, ends = [f"{root}/a", f"{root}/no", f"{root}/no"], [1, 0, 5], [3, 2, 6]
    found = fs.cat_ranges(paths, starts, ends)
    assert found[0] == b"12"
    assert [type(one).__mro__.count(FileNotFoundError) for one in found[1:]] == [1, 1]
    with pytest.raises(FileNotFoundError):
        fs.cat_ranges(paths, starts, ends, on_error="raise")
    assert fs.cat_ranges([f"{root}/a"] * 2, 1, 4) == [b"123"] * 2
    with pytest.raises(ValueError, match="1 paths need"):
        fs.cat_ranges([f"{root}/a"], [1, 2], [3])


def test_many_files_at_once(fs: DreamObjectsFileSystem, root: str) -> None:
    contents = {f"{root}/{n:03}": b"%d" % n for n in range(100)}
    fs.pipe(contents)
    missing = f"{root}/missing"
    assert fs.cat(list(contents)) == contents
    assert fs.cat(root, recursive=True) == contents
    assert fs.cat(f"{root}/00?") == dict(list(contents.items())[:10])
    assert fs.cat(f"{root}/007") == b"7"
    with pytest.raises(FileNotFoundError):
        fs.cat([*contents, missing])
    assert fs.cat([*contents, missing], on_error="omit") == contents
    assert isinstance(fs.cat([missing, f"{root}/000"], on_error="return")[missing], FileNotFoundError)


def test_files_below_a_directory_are_read_without_kept_listings(running: ServedService, service: MemoryService) -> None:
    fs = DreamObjectsFileSystem(**options_of(running), use_listings_cache=False)
    fs.makedirs("reads", exist_ok=True)
    files = {"reads/below/a": b"1", "reads/below/deep/b": b"2"}
    fs.pipe(files)
    assert fs.cat("reads/below", recursive=True) == files


def wait_until_held(fault: Fault) -> None:
    while not fault.fired:
        time.sleep(0)


@pytest.mark.parametrize("look", ["ls", "find"])
def test_a_listing_that_a_write_overtook_is_not_kept(
    mem: DreamObjectsFileSystem, running: ServedService, service: MemoryService, look: str
) -> None:
    mem.pipe({f"reads/{look}/{number:04}": b"" for number in range(1001)})
    first_page_may_come, second_page_may_come = asyncio.Event(), asyncio.Event()
    first_page = service.delay("list_objects", first_page_may_come)
    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(getattr(mem, look), f"reads/{look}")
        wait_until_held(first_page)
        second_page = service.delay("list_objects", second_page_may_come, times=None)
        running._loop.call_soon_threadsafe(first_page_may_come.set)
        wait_until_held(second_page)
        mem.pipe_file(f"reads/{look}/0000-new", b"")
        running._loop.call_soon_threadsafe(second_page_may_come.set)
        looking.result()
    assert f"reads/{look}/0000-new" in mem.ls(f"reads/{look}", detail=False)


def test_a_file_that_is_replaced_while_it_is_read_is_an_error(mem: DreamObjectsFileSystem) -> None:
    mem.pipe_file("reads/changing", DATA)
    mem.ls("reads")
    file = mem.open("reads/changing", block_size=1)
    assert file.read(2) == b"01"
    mem.pipe_file("reads/changing", DATA[::-1])
    with pytest.raises(OSError, match="412") as caught:
        file.read(5)
    assert isinstance(caught.value.__cause__, dream.PreconditionFailedError)


def test_opening_does_not_believe_an_old_listing(fs: DreamObjectsFileSystem, boto: Any, root: str) -> None:
    fs.pipe_file(f"{root}/a", DATA)
    assert fs.ls(root) == [f"{root}/a"]
    bucket, _, key = root.partition("/")
    boto.put_object(Bucket=bucket, Key=f"{key}/a", Body=b"replaced by another client")
    boto.put_object(Bucket=bucket, Key=f"{key}/b", Body=b"new")
    with fs.open(f"{root}/a") as file:
        assert file.read() == b"replaced by another client"
    assert fs.exists(f"{root}/b")
    assert fs.isfile(f"{root}/b")


def test_an_open_file_can_be_pickled(fs: DreamObjectsFileSystem, root: str) -> None:
    fs.pipe_file(f"{root}/a", DATA)
    with fs.open(f"{root}/a") as file:
        file.seek(4)
        again = pickle.loads(pickle.dumps(file))
    assert again.tell() == 4
    assert again.read() == DATA[4:]
    fs.pipe_file(f"{root}/a", DATA * 2)
    late = pickle.loads(pickle.dumps(again))
    late.seek(0)
    with pytest.raises(OSError, match="412"):
        late.read()


@pytest.mark.parametrize(
    ("code", "expected", "cause"),
    [
        ("AccessDenied", PermissionError, None),
        ("NoSuchKey", FileNotFoundError, None),
        ("InvalidArgument", OSError, dream.InvalidRequestError),
        ("NotImplemented", OSError, dream.UnsupportedByServiceError),
    ],
)
def test_errors_are_os_errors_with_their_cause(
    mem: DreamObjectsFileSystem,
    service: MemoryService,
    code: str,
    expected: type[OSError],
    cause: type[dream.DreamObjectsError] | None,
) -> None:
    service.fail("get_object", code, times=None)
    calls: list[Callable[[], object]] = [
        lambda: mem.cat_file("reads/a"),
        lambda: mem.cat(["reads/a"]),
        lambda: mem.get_file("reads/a", "/tmp/a"),
    ]
    for call in calls:
        with pytest.raises(expected) as caught:
            call()
        assert caught.value.errno
        assert cause is None or isinstance(caught.value.__cause__, cause)


def test_wrong_keys_and_no_keys_are_permission_errors(place: Server) -> None:
    wrong = DreamObjectsFileSystem(endpoint=place.service.endpoint, key="nobody", secret="nothing")
    with pytest.raises(PermissionError):
        wrong.ls("")
    for look in (wrong.exists, wrong.isfile, wrong.isdir):
        with pytest.raises(PermissionError):
            look("reads/a")
    with pytest.raises(PermissionError, match="no credentials found"):
        DreamObjectsFileSystem(endpoint=place.service.endpoint).ls("")


def test_get_and_put_tell_a_callback_and_make_directories(
    fs: DreamObjectsFileSystem, root: str, tmp_path: Path
) -> None:
    (tmp_path / "a.json").write_bytes(DATA)
    callback = Callback()
    fs.put_file(str(tmp_path / "a.json"), f"{root}/d/a.json", callback=callback)
    assert (callback.size, callback.value) == (10, 10)
    assert fs.info(f"{root}/d/a.json")["ContentType"] == "application/json"
    callback = Callback()
    fs.get_file(f"{root}/d/a.json", str(tmp_path / "b"), callback=callback, max_concurrency=3)
    assert (callback.size, callback.value) == (10, 10)
    assert (tmp_path / "b").read_bytes() == DATA
    fs.get(root, str(tmp_path / "tree"), recursive=True)
    assert (tmp_path / "tree" / "d" / "a.json").read_bytes() == DATA
    with pytest.raises(FileNotFoundError):
        fs.get_file(f"{root}/missing", str(tmp_path / "c"))
    assert not (tmp_path / "c").exists()


def test_a_directory_moves_as_a_tree_whatever_its_names_are(
    fs: DreamObjectsFileSystem, boto: Any, root: str, tmp_path: Path
) -> None:
    (tmp_path / "from" / "sub").mkdir(parents=True)
    for name in ("a", "sub/b"):
        (tmp_path / "from" / name).write_bytes(name.encode())
    fs.ls(root.partition("/")[0])
    fs.put(str(tmp_path / "from"), root, recursive=True)
    fs.put(str(tmp_path / "from"), root, recursive=True)  # now it is a directory
    assert fs.find(root) == [f"{root}/{name}" for name in ("a", "from/a", "from/sub/b", "sub/b")]
    bucket, _, key = root.partition("/")
    boto.put_object(Bucket=bucket, Key=f"{key}/sub//odd", Body=b"odd")
    fs.get(root, str(tmp_path / "to"), recursive=True)
    assert (tmp_path / "to" / "sub" / "odd").read_bytes() == b"odd"
    assert (tmp_path / "to" / "from" / "sub" / "b").read_bytes() == b"sub/b"
    fs.get(f"{root}/a", str(tmp_path / "alone"), recursive=True)
    assert (tmp_path / "alone").read_bytes() == b"a"
    with pytest.raises(FileNotFoundError):
        fs.get(f"{root}/missing", str(tmp_path / "nowhere"), recursive=True)
    assert not (tmp_path / "nowhere").exists()


def test_a_signed_url_gives_the_content(fs: DreamObjectsFileSystem, root: str) -> None:
    fs.pipe_file(f"{root}/ä b", DATA)
    with urllib.request.urlopen(fs.sign(f"{root}/ä b", expiration=60)) as reply:
        assert reply.read() == DATA


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # fsspec leaves its mmap's file open
@pytest.mark.parametrize(
    "cache_type", ["all", "background", "blockcache", "bytes", "first", "mmap", "none", "readahead"]
)
def test_each_cache_of_fsspec_gives_the_same_bytes(fs: DreamObjectsFileSystem, root: str, cache_type: str) -> None:
    data = bytes(range(256)) * (2 * KIB)
    fs.pipe_file(f"{root}/a", data)
    with fs.open(f"{root}/a", cache_type=cache_type, block_size=64 * KIB) as file:
        for offset, length in ((len(data) - 3, -1), (10, 3), (100_000, 200_000), (len(data) - 70_000, 70_000), (5, 0)):
            file.seek(offset)
            assert file.read(length) == (data[offset:] if length < 0 else data[offset : offset + length])
        file.seek(2 * len(data))
        assert file.read() == b""
