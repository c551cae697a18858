"""What pandas, pyarrow, dask, zarr, duckdb and others write, they read back. ``nox -s data`` installs them all.

In another session, the test of a package that is missing is skipped.
"""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from conftest import Server, new_name
from fsspec.core import open as open_any
from fsspec.generic import rsync
from fsspec.registry import _registry

from aiodreamobjects.fsspec import DreamObjectsFileSystem, register

ROWS = 1000
pytestmark = [  # the packages warn of one another
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


@pytest.fixture(scope="session", params=["memory_served", "rgw"])
def place(request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue(request.param)
    return found


@pytest.fixture(autouse=True)
def known_to_fsspec() -> Iterator[None]:
    """The tests run in a checkout too, whose entry points nobody has installed."""
    before = dict(_registry)
    register()
    with contextlib.suppress(ImportError):
        from upath.registry import register_implementation  # noqa: PLC0415 - it may not be installed

        register_implementation("dreamobjects", "aiodreamobjects.fsspec._upath.DreamObjectsPath", clobber=True)
    yield
    _registry.clear()
    _registry.update(before)


@pytest.fixture
def options(fs: DreamObjectsFileSystem) -> dict[str, Any]:
    return dict(fs.storage_options)


@pytest.fixture
def url(root: str) -> str:
    return f"dreamobjects://{root}"


@pytest.fixture
def frame() -> Any:
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame(
        {"id": range(ROWS), "name": [f"n{n}" for n in range(ROWS)], "share": [n / 7 for n in range(ROWS)]}
    )


@pytest.mark.parametrize("name", ["table.csv", "table.csv.gz"])
def test_pandas_csv(frame: Any, url: str, options: dict[str, Any], name: str) -> None:
    pandas = pytest.importorskip("pandas")
    frame.to_csv(f"{url}/{name}", index=False, storage_options=options)
    pandas.testing.assert_frame_equal(pandas.read_csv(f"{url}/{name}", storage_options=options), frame)


def test_pandas_parquet(frame: Any, url: str, options: dict[str, Any]) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    frame.to_parquet(f"{url}/table.parquet", storage_options=options)
    read = pandas.read_parquet(f"{url}/table.parquet", columns=["share", "id"], storage_options=options)
    pandas.testing.assert_frame_equal(read, frame[["share", "id"]])


def test_the_error_of_pandas_for_a_missing_file(url: str, options: dict[str, Any]) -> None:
    pandas = pytest.importorskip("pandas")
    with pytest.raises(FileNotFoundError):
        pandas.read_csv(f"{url}/missing.csv", storage_options=options)


def test_a_dataset_of_pyarrow(frame: Any, fs: DreamObjectsFileSystem, root: str) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    dataset = pytest.importorskip("pyarrow.dataset")
    table = pyarrow.table({"id": frame["id"], "part": [n % 3 for n in range(ROWS)]})
    dataset.write_dataset(table, f"{root}/data", filesystem=fs, format="parquet", partitioning=["part"])
    read = dataset.dataset(f"{root}/data", filesystem=fs, format="parquet", partitioning=["part"])
    assert len(read.files) == 3
    assert sorted(read.to_table(filter=dataset.field("part") == 1)["id"].to_pylist()) == list(range(1, ROWS, 3))


def test_pyarrow_sees_the_time_and_the_kind(fs: DreamObjectsFileSystem, root: str) -> None:
    arrow_fs = pytest.importorskip("pyarrow.fs")
    arrow = arrow_fs.PyFileSystem(arrow_fs.FSSpecHandler(fs))
    fs.pipe_file(f"{root}/d/a", b"hello")
    found = {info.base_name: info for info in arrow.get_file_info(arrow_fs.FileSelector(root, recursive=True))}
    assert (found["d"].type, found["a"].type) == (arrow_fs.FileType.Directory, arrow_fs.FileType.File)
    assert found["a"].size == 5
    assert abs((datetime.now(UTC) - found["a"].mtime).total_seconds()) < 3600
    assert arrow.get_file_info(f"{root}/missing").type == arrow_fs.FileType.NotFound
    arrow.delete_dir(f"{root}/d")
    assert not fs.exists(f"{root}/d")


@pytest.mark.parametrize("scheduler", ["threads", "processes"])
def test_dask(frame: Any, url: str, options: dict[str, Any], scheduler: str) -> None:
    dask = pytest.importorskip("dask")
    frames = pytest.importorskip("dask.dataframe")
    pytest.importorskip("pyarrow")
    with dask.config.set(scheduler=scheduler, num_workers=2):
        frames.from_pandas(frame, npartitions=3).to_parquet(f"{url}/table", storage_options=options)
        read = frames.read_parquet(f"{url}/table", storage_options=options)
        assert read.npartitions == 3
        assert read["id"].sum().compute() == ROWS * (ROWS - 1) // 2


def test_zarr(url: str, options: dict[str, Any]) -> None:
    numpy, zarr = pytest.importorskip("numpy"), pytest.importorskip("zarr", minversion="3")
    numbers = numpy.arange(10_000).reshape(100, 100)
    group = zarr.open_group(f"{url}/group.zarr", mode="w", storage_options=options)
    group.create_array("a/b", data=numbers, chunks=(30, 30))
    read = zarr.open_group(f"{url}/group.zarr", mode="r", storage_options=options)
    assert (read["a/b"][25:65, :35] == numbers[25:65, :35]).all()
    assert sorted(name for name, _ in read["a"].members()) == ["b"]


def test_an_asynchronous_store_of_zarr(url: str, options: dict[str, Any]) -> None:
    numpy, zarr = pytest.importorskip("numpy"), pytest.importorskip("zarr", minversion="3")
    numbers = numpy.arange(100).reshape(10, 10)

    async def main() -> None:
        store = zarr.storage.FsspecStore.from_url(
            f"{url}/async.zarr", storage_options={**options, "asynchronous": True}, read_only=False
        )
        group = await zarr.api.asynchronous.open_group(store=store, mode="w")
        array = await group.create_array("a", shape=numbers.shape, chunks=(3, 3), dtype=numbers.dtype)
        await array.setitem(slice(None), numbers)
        assert (await array.getitem((slice(2, 7), 3)) == numbers[2:7, 3]).all()
        await store.delete_dir("a")
        assert [key async for key in store.list_prefix("a/")] == []
        await store.fs.aclose()

    asyncio.run(main())


def test_xarray(url: str, options: dict[str, Any]) -> None:
    numpy, xarray = pytest.importorskip("numpy"), pytest.importorskip("xarray")
    pytest.importorskip("zarr", minversion="3")
    data = xarray.Dataset({"t": (("x", "y"), numpy.arange(12.0).reshape(3, 4))}, coords={"x": [1, 2, 3]})
    data.to_zarr(f"{url}/data.zarr", mode="w", storage_options=options)
    with xarray.open_zarr(f"{url}/data.zarr", storage_options=options, chunks=None) as read:
        xarray.testing.assert_identical(read.load(), data)


def test_duckdb(fs: DreamObjectsFileSystem, url: str) -> None:
    duckdb = pytest.importorskip("duckdb")
    with duckdb.connect() as connection:
        connection.register_filesystem(fs)
        connection.execute(f"COPY (SELECT range AS n, range % 3 AS m FROM range({ROWS})) TO '{url}/1.parquet'")
        connection.execute(f"COPY (SELECT 1 AS n, 5 AS m) TO '{url}/2.csv' (HEADER)")
        total = "SELECT sum(n)::BIGINT FROM"
        assert connection.execute(f"{total} '{url}/*.parquet' WHERE m = 1").fetchone() == (sum(range(1, ROWS, 3)),)
        assert connection.execute(f"{total} read_csv('{url}/2.csv')").fetchone() == (1,)


def test_universal_pathlib(url: str, root: str, options: dict[str, Any]) -> None:
    upath = pytest.importorskip("upath")
    path = upath.UPath(url, **options)
    assert type(path).__name__ == "DreamObjectsPath"
    bucket, _, key = root.partition("/")
    assert (path.drive, path.parts, path.name) == (bucket, (f"{bucket}/", key), key)
    assert str(path.parent / "a" / ".." / "b.csv") == f"dreamobjects://{bucket}/a/../b.csv"
    assert path.relative_to(path.parent).as_posix() == key
    assert [found.path for found in path.parents] == [f"{bucket}/"]
    assert pickle.loads(pickle.dumps(path)) == path
    (path / "d" / "a.txt").write_text("hello")
    assert (path / "d" / "a.txt").read_text() == "hello"
    assert [found.name for found in path.iterdir()] == ["d"]
    assert [found.name for found in path.glob("**/*.txt")] == ["a.txt"]
    assert (path / "d" / "a.txt").stat().st_size == 5
    (path / "d" / "a.txt").rename(path / "b.txt")
    assert (path / "b.txt").exists()
    assert not (path / "d").exists()
    (path / "b.txt").copy(path / "c.txt")
    with (path / "c.txt").open("ab") as file:
        file.write(b"!")
    assert (path / "c.txt").read_bytes() == b"hello!"
    for name in ("b.txt", "c.txt"):
        (path / name).unlink()
    assert not path.exists()


@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)  # fsspec's mmap
@pytest.mark.parametrize("cache", ["simplecache", "filecache", "blockcache"])
def test_a_cache_of_fsspec(
    fs: DreamObjectsFileSystem, url: str, options: dict[str, Any], cache: str, tmp_path: Path
) -> None:
    fs.pipe_file(f"{url}/a", b"0123456789")
    arguments = {"dreamobjects": options, cache: {"cache_storage": str(tmp_path / cache)}}
    with open_any(f"{cache}::{url}/a", "rb", **arguments) as file:
        file.seek(3)
        assert file.read(4) == b"3456"
    fs.rm_file(f"{url}/a")
    with open_any(f"{cache}::{url}/a", "rb", **arguments) as file:
        assert file.read(4) == b"0123"
    if cache == "simplecache":
        with open_any(f"{cache}::{url}/new", "wb", **arguments) as file:
            file.write(b"new")
        assert fs.cat_file(f"{url}/new") == b"new"


def test_a_zip_file_is_written_and_read(fs: DreamObjectsFileSystem, url: str, options: dict[str, Any]) -> None:
    with fs.open(f"{url}/all.zip", "wb") as file, zipfile.ZipFile(file, "w") as archive:
        archive.writestr("d/a.txt", "hello")
    with open_any(f"zip://d/a.txt::{url}/all.zip", dreamobjects=options) as file:
        assert file.read() == b"hello"


def test_rsync(fs: DreamObjectsFileSystem, url: str, options: dict[str, Any], tmp_path: Path) -> None:
    local, back = tmp_path / "local", tmp_path / "back"
    (local / "d").mkdir(parents=True)
    (local / "a").write_bytes(b"1")
    (local / "d" / "b").write_bytes(b"22")
    arguments: dict[str, Any] = {
        "inst_kwargs": {"default_method": "options", "storage_options": {"dreamobjects": options}}
    }
    rsync(f"file://{local}", f"{url}/copy", **arguments)
    root = fs._strip_protocol(url)
    assert fs.find(f"{url}/copy") == [f"{root}/copy/a", f"{root}/copy/d/b"]
    (local / "a").unlink()
    rsync(f"file://{local}", f"{url}/copy", delete_missing=True, **arguments)
    assert fs.find(f"{url}/copy") == [f"{root}/copy/d/b"]
    rsync(f"{url}/copy", f"file://{back}", **arguments)
    assert (back / "d" / "b").read_bytes() == b"22"


def test_the_error_of_pandas_for_wrong_keys(frame: Any, url: str, options: dict[str, Any]) -> None:
    """It tries again with anon=True, and with the keys."""
    frame.to_csv(f"{url}/table.csv", storage_options=options)
    read: Callable[..., Any] = pytest.importorskip("pandas").read_csv
    with pytest.raises(PermissionError):
        read(f"{url}/table.csv", storage_options={**options, "secret_key": new_name()})
