"""Listings, their cache, directories, deletions, versions."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from conftest import Server, new_name

from aiodreamobjects.fsspec import DreamObjectsFileSystem

NAMES = ("a", "a/x", "b/c/d", "b/e", "f")


@pytest.fixture
def tree(fs: DreamObjectsFileSystem, root: str) -> str:
    fs.pipe({f"{root}/{name}": name.encode() for name in NAMES})
    return root


def other_client_puts(boto: Any, path: str, content: bytes = b"") -> None:
    bucket, _, key = path.partition("/")
    boto.put_object(Bucket=bucket, Key=key, Body=content)


def test_entries_say_what_s3_says(fs: DreamObjectsFileSystem, tree: str) -> None:
    listed = {entry["name"]: entry for entry in fs.ls(tree, detail=True) if entry["type"] == "file"}[f"{tree}/f"]
    found, looked = fs.find(tree, detail=True)[f"{tree}/f"], fs.info(f"{tree}/f", refresh=True)
    for entry in (listed, found, looked):
        assert (entry["name"], entry["size"], entry["type"]) == (f"{tree}/f", 1, "file")
        assert isinstance(entry["mtime"], float)
        assert isinstance(entry["LastModified"], datetime)
        assert entry["LastModified"].tzinfo is not None
        assert abs((datetime.now(UTC) - entry["LastModified"]).total_seconds()) < 3600
        assert entry["ETag"] == '"8fa14cdd754f91cc6554c9e71929cce7"'
        assert entry["StorageClass"] == "STANDARD"
    assert looked["ContentType"]
    assert fs.info(f"{tree}/b")["type"] == "directory"
    assert fs.info(f"{tree}/b")["size"] == 0
    assert abs((fs.modified(f"{tree}/f") - looked["LastModified"]).total_seconds()) < 1  # Ceph lists milliseconds
    with pytest.raises(IsADirectoryError):
        fs.modified(f"{tree}/b")
    assert fs.checksum(f"{tree}/f") == 0x8FA14CDD754F91CC6554C9E71929CCE7


def test_find_ls_glob_du_and_walk_agree(fs: DreamObjectsFileSystem, tree: str) -> None:
    files = [f"{tree}/{name}" for name in NAMES]
    assert fs.find(tree) == files
    assert fs.find(tree, withdirs=True) == sorted([tree, f"{tree}/b", f"{tree}/b/c", *files])
    assert fs.find(tree, maxdepth=1) == [f"{tree}/a", f"{tree}/f"]
    assert fs.find(tree, maxdepth=2) == [f"{tree}/a", f"{tree}/a/x", f"{tree}/b/e", f"{tree}/f"]
    assert fs.find(f"{tree}/f") == [f"{tree}/f"]
    assert fs.find(f"{tree}/missing") == []
    assert fs.glob(f"{tree}/*") == [f"{tree}/a", f"{tree}/b", f"{tree}/f"]
    assert fs.glob(f"{tree}/**/[de]") == [f"{tree}/b/c/d", f"{tree}/b/e"]
    assert fs.glob(f"{tree}/missing/*") == []
    assert fs.du(tree) == sum(map(len, NAMES))
    assert fs.du(f"{tree}/f", total=False) == {f"{tree}/f": 1}
    assert fs.ls(f"{tree}/f") == [f"{tree}/f"]
    assert [sorted(dirs) for _, dirs, _ in fs.walk(f"{tree}/b")] == [["c"], []]
    with pytest.raises(FileNotFoundError):
        fs.ls(f"{tree}/missing")
    calls: list[Callable[[], object]] = [lambda: fs.find(""), lambda: fs.glob("*")]
    for call in calls:
        with pytest.raises(ValueError, match="bucket"):
            call()


def test_a_listing_after_a_find_is_the_same_as_one_without(fs: DreamObjectsFileSystem, boto: Any, tree: str) -> None:
    for name in ("b/", "empty/", "b/deep/er/"):
        other_client_puts(boto, f"{tree}/{name}")
    directories = (tree, f"{tree}/b", f"{tree}/b/c", f"{tree}/b/deep", f"{tree}/empty")
    direct = {path: fs.ls(path, detail=True, refresh=True) for path in directories}
    fs.invalidate_cache()
    fs.find(tree)
    assert {path: fs.dircache[path] for path in directories} == direct
    for partial in ({"maxdepth": 1}, {"prefix": "a"}, {"prefix": "b", "maxdepth": 2, "withdirs": True}):
        fs.invalidate_cache()
        fs.find(tree, **partial)
        assert {path: fs.ls(path, detail=True) for path in directories} == direct


def test_directory_markers_are_directories_and_never_files(fs: DreamObjectsFileSystem, boto: Any, root: str) -> None:
    other_client_puts(boto, f"{root}/d/")
    assert fs.find(root) == []
    assert fs.find(root, withdirs=True) == [root, f"{root}/d"]
    assert fs.ls(root, detail=True)[0]["type"] == "directory"
    assert fs.ls(f"{root}/d") == []
    assert fs.isdir(f"{root}/d")
    assert not fs.isfile(f"{root}/d")
    assert fs.info(f"{root}/d")["type"] == "directory"
    fs.rmdir(f"{root}/d")
    assert not fs.exists(f"{root}/d")
    other_client_puts(boto, f"{root}/d/")
    other_client_puts(boto, f"{root}/d/e")
    fs.rm(f"{root}/d", recursive=True)
    assert not fs.exists(root)


def test_what_is_changed_is_seen_in_a_listing_that_was_kept(fs: DreamObjectsFileSystem, root: str) -> None:
    def look() -> list[str]:
        found: list[str] = [name.removeprefix(f"{root}/") for name in fs.ls(root)]
        return found

    fs.pipe_file(f"{root}/a", b"1")
    assert look() == ["a"]
    fs.touch(f"{root}/b")
    assert look() == ["a", "b"]
    fs.cp_file(f"{root}/a", f"{root}/c/d")
    assert look() == ["a", "b", "c"]
    fs.mv(f"{root}/b", f"{root}/e")
    assert look() == ["a", "c", "e"]
    with fs.open(f"{root}/f", "wb") as file:
        file.write(b"2")
    assert look() == ["a", "c", "e", "f"]
    fs.rm(f"{root}/c", recursive=True)
    assert look() == ["a", "e", "f"]
    fs.rm([f"{root}/a", f"{root}/e"])
    assert look() == ["f"]
    fs.rm_file(f"{root}/f")
    assert not fs.exists(root)


def test_a_missing_file_cannot_be_deleted(fs: DreamObjectsFileSystem, tree: str) -> None:
    calls: list[Callable[[], object]] = [
        lambda: fs.rm(f"{tree}/missing"),
        lambda: fs.rm(f"{tree}/missing", recursive=True),
        lambda: fs.rm([f"{tree}/f", f"{tree}/missing"]),
        lambda: fs.rm_file(f"{tree}/missing"),
        lambda: fs.rm(f"{tree}/missing*"),
        lambda: fs.mv(f"{tree}/missing", f"{tree}/other"),
        lambda: fs.cp_file(f"{tree}/missing", f"{tree}/other"),
        lambda: fs.rmdir(f"{tree}/missing"),
    ]
    for call in calls:
        with pytest.raises(FileNotFoundError):
            call()
    with pytest.raises(IsADirectoryError, match="recursive=True"):
        fs.rm(f"{tree}/b")
    with pytest.raises(FileExistsError):
        fs.rmdir(f"{tree}/b")
    assert fs.find(tree) == [f"{tree}/{name}" for name in NAMES]
    assert sorted(fs.rm(f"{tree}/b", recursive=True)) == [f"{tree}/b/c/d", f"{tree}/b/e"]
    assert fs.rm(f"{tree}/[af]") == [f"{tree}/a", f"{tree}/f"]


def test_a_deletion_of_one_file_takes_its_name_as_it_is(fs: DreamObjectsFileSystem, tree: str) -> None:
    fs.pipe({f"{tree}/file1": b"", f"{tree}/file[1]": b""})
    fs.rm_file(f"{tree}/file[1]")
    assert fs.exists(f"{tree}/file1", refresh=True)
    assert not fs.exists(f"{tree}/file[1]")
    with pytest.raises(FileNotFoundError):
        fs.rm_file(f"{tree}/*")
    for directory in (f"{tree}/b", tree.partition("/")[0]):
        with pytest.raises(IsADirectoryError):
            fs.rm_file(directory)
    fs.invalidate_cache()
    assert set(fs.find(tree)) == {f"{tree}/{name}" for name in (*NAMES, "file1")}


def test_a_deletion_from_a_bucket_goes_as_deep_as_it_is_told(fs: DreamObjectsFileSystem, bucket_name: str) -> None:
    fs.mkdir(bucket_name)
    fs.pipe({f"{bucket_name}/{name}": b"" for name in ("a", "b/c", "b/d/e")})
    fs.rm(bucket_name, recursive=True, maxdepth=2)
    fs.invalidate_cache()
    assert fs.find(bucket_name) == [f"{bucket_name}/b/d/e"]


def test_a_directory_does_not_move_into_itself(fs: DreamObjectsFileSystem, tree: str) -> None:
    for target in (f"dream://{tree}/b/", f"{tree}/b/c/new"):
        with pytest.raises(OSError, match="into itself"):
            fs.mv(f"{tree}/b", target, recursive=True)
    fs.mv(f"{tree}/b", f"dream://{tree}/b", recursive=True)
    fs.mv(f"dream://{tree}/b/e", f"{tree}/b/e")
    fs.invalidate_cache()
    assert fs.find(tree) == [f"{tree}/{name}" for name in NAMES]
    fs.mv(f"{tree}/b", f"{tree}/bb", recursive=True)
    assert fs.find(f"{tree}/bb") == [f"{tree}/bb/c/d", f"{tree}/bb/e"]


def test_what_a_caller_changes_in_a_listing_is_not_kept(fs: DreamObjectsFileSystem, tree: str) -> None:
    asks: list[Callable[[], dict[str, Any]]] = [
        lambda: fs.find(f"{tree}/b", detail=True)[f"{tree}/b/e"],
        lambda: fs.ls(f"{tree}/b", detail=True)[1],
    ]
    for ask in asks:
        assert ask()["name"] == f"{tree}/b/e"
        ask()["name"] = "changed"
        assert fs.ls(f"{tree}/b", detail=False) == [f"{tree}/b/c", f"{tree}/b/e"]


def test_a_key_that_no_object_can_have_is_nothing(fs: DreamObjectsFileSystem, tree: str) -> None:
    for name in ("x" * 1025, "lone \ud800 surrogate"):
        assert not fs.exists(f"{tree}/{name}")
        assert not fs.isfile(f"{tree}/{name}")
        assert not fs.isdir(f"{tree}/{name}")


def test_buckets_are_directories(fs: DreamObjectsFileSystem, bucket_name: str) -> None:
    assert not fs.exists(bucket_name)
    with pytest.raises(FileNotFoundError):
        fs.mkdir(f"{bucket_name}/a", create_parents=False)
    fs.mkdir(f"{bucket_name}/a")
    assert fs.isdir(bucket_name)
    assert fs.ls(bucket_name) == []
    assert bucket_name in fs.ls("")
    with pytest.raises(FileExistsError):
        fs.mkdir(bucket_name)
    fs.makedirs(bucket_name, exist_ok=True)
    fs.pipe_file(f"{bucket_name}/b/c", b"1")
    with pytest.raises(OSError, match=bucket_name):
        fs.rmdir(bucket_name)
    with pytest.raises(OSError, match=bucket_name):
        fs.rm(bucket_name)
    assert fs.rm(bucket_name, recursive=True) == [f"{bucket_name}/b/c"]
    assert not fs.exists(bucket_name)
    assert bucket_name not in fs.ls("")
    fs.mkdir(bucket_name)
    fs.rmdir(bucket_name)


def test_a_bucket_with_an_old_name_and_one_in_a_region(moto: Server) -> None:
    options: dict[str, Any] = {"endpoint": moto.service.endpoint, "key": moto.access_key, "secret": moto.secret_key}
    fs, name = DreamObjectsFileSystem(**options), new_name().replace("-", "_")
    fs.mkdir(name)
    fs.pipe_file(f"{name}/a", b"1")
    assert fs.cat_file(f"{name}/a") == b"1"
    fs.rm(name, recursive=True)
    elsewhere = DreamObjectsFileSystem(**options, region="eu-central-1")
    elsewhere.mkdir(name := new_name())
    elsewhere.rmdir(name)
    with pytest.raises(ValueError, match="impossible"):
        fs.mkdir("No Such Bucket!")


def test_touch_truncates_or_refuses(fs: DreamObjectsFileSystem, root: str) -> None:
    fs.touch(f"{root}/a")
    fs.pipe_file(f"{root}/a", b"data")
    with pytest.raises(ValueError, match="truncate=True"):
        fs.touch(f"{root}/a", truncate=False)
    assert fs.size(f"{root}/a") == 4
    fs.touch(f"{root}/a")
    assert fs.size(f"{root}/a") == 0


def test_a_filesystem_that_is_aware_of_versions_reads_each(place: Server, boto: Any, bucket_name: str) -> None:
    fs = DreamObjectsFileSystem(
        endpoint=place.service.endpoint, key=place.access_key, secret=str(place.secret_key), version_aware=True
    )
    fs.mkdir(bucket_name)
    boto.put_bucket_versioning(Bucket=bucket_name, VersioningConfiguration={"Status": "Enabled"})
    path = f"{bucket_name}/d/file"
    written = []
    for content in (b"first", b"second!"):
        with fs.open(path, "wb") as file:
            file.write(content)
        written.append(file.version_id)
    first, second = written
    assert first != second
    assert [info["VersionId"] for info in fs.object_version_info(path)] == [second, first]
    assert fs.ls(f"{bucket_name}/d", detail=True)[0]["VersionId"] == second
    assert fs.find(bucket_name, detail=True)[path]["VersionId"] == second
    assert set(fs.ls(f"{bucket_name}/d", versions=True)) == {f"{path}?versionId={version}" for version in written}
    assert fs.info(path, version_id=first)["size"] == 5
    assert fs.cat_file(path, version_id=first) == fs.cat(f"{path}?versionId={first}") == b"first"
    with fs.open(path, version_id=first) as file:
        assert (file.version_id, file.read()) == (first, b"first")
    with fs.open(f"{path}?versionId={second}") as file:
        assert (file.version_id, file.read()) == (second, b"second!")
    assert first in fs.url(f"{path}?versionId={first}")
    old = f"{path}?versionId={first}"
    writes: list[Callable[[], object]] = [
        lambda: fs.open(old, "wb"),
        lambda: fs.open(path, "ab", version_id=first),
        lambda: fs.pipe_file(old, b""),
        lambda: fs.touch(old),
        lambda: fs.cp_file(path, old),
        lambda: fs.merge(old, [path]),
        lambda: fs.chmod(old, "private"),
    ]
    for write in writes:
        with pytest.raises(ValueError, match="leave out the version"):
            write()
    assert len(fs.object_version_info(path)) == 2
    fs.pipe_file(f"{path}/below", b"")
    fs.rm(f"{path}?versionId={second}", recursive=True)
    assert fs.cat(path) == b"first"
    fs.rm([path, f"{path}/below"])
    assert not fs.exists(path)
    assert fs.find(bucket_name) == []
    assert fs.cat(f"{path}?versionId={first}") == b"first"
    unaware = DreamObjectsFileSystem(
        endpoint=place.service.endpoint, key=place.access_key, secret=str(place.secret_key)
    )
    with pytest.raises(ValueError, match="version_aware"):
        unaware.open(path, version_id=first)


def test_a_name_that_ends_like_a_version_is_a_name(fs: DreamObjectsFileSystem, boto: Any, root: str) -> None:
    for name in ("a", "a?versionId=b"):
        other_client_puts(boto, f"{root}/{name}", name.encode())
    assert fs.find(root) == [f"{root}/a", f"{root}/a?versionId=b"]
    assert fs.cat_file(f"{root}/a?versionId=b") == b"a?versionId=b"
    assert fs.info(f"{root}/a?versionId=b", refresh=True)["size"] == 13
    assert fs.rm(f"{root}/a[?]*") == [f"{root}/a?versionId=b"]
    assert fs.find(root) == [f"{root}/a"]


@pytest.mark.parametrize("how", [{"recursive": True}, {"recursive": True, "maxdepth": 1}])
def test_names_from_a_listing_delete_no_versions(
    place: Server, boto: Any, bucket_name: str, how: dict[str, Any]
) -> None:
    fs = DreamObjectsFileSystem(
        endpoint=place.service.endpoint, key=place.access_key, secret=str(place.secret_key), version_aware=True
    )
    fs.mkdir(bucket_name)
    fs.make_bucket_versioned(bucket_name)
    version = fs.pipe_file(f"{bucket_name}/d/a", b"1")["VersionId"]
    other_client_puts(boto, f"{bucket_name}/d/a?versionId={version}")
    fs.rm(f"{bucket_name}/d", **how)
    assert fs.find(bucket_name) == []
    assert fs.cat_file(f"{bucket_name}/d/a?versionId={version}") == b"1"


def test_directories_whose_names_are_empty(fs: DreamObjectsFileSystem, boto: Any, root: str) -> None:
    for name in ("a//b", "a/c", "a///d"):
        other_client_puts(boto, f"{root}/{name}")
    assert fs.find(root) == [f"{root}/a///d", f"{root}/a//b", f"{root}/a/c"]
    fs.invalidate_cache()
    assert fs.find(root, maxdepth=2) == [f"{root}/a/c"]
    assert fs.find(root, maxdepth=3) == [f"{root}/a//b", f"{root}/a/c"]
    assert fs.find(root, maxdepth=4) == fs.find(root)
    fs.pipe_file(f"{root}/a//new", b"")
    assert fs.find(root, maxdepth=3) == [f"{root}/a//b", f"{root}/a//new", f"{root}/a/c"]
    fs.rm_file(f"{root}/a//b")
    assert fs.find(root, maxdepth=3) == [f"{root}/a//new", f"{root}/a/c"]


def test_a_name_that_no_bucket_has_is_nothing(fs: DreamObjectsFileSystem) -> None:
    assert not fs.exists(f"{new_name()}/trip data/")
    assert not fs.isdir("No Such Bucket!/trip data")
    assert not fs.exists("No Such Bucket!/trip data")
    assert not fs.isfile("")
    assert fs.isdir("")
    assert fs.info("")["type"] == "directory"
