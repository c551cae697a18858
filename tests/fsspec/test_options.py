"""Storage options, addresses, and what travels to other processes."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import pickle
import urllib.request
from collections.abc import Iterator
from typing import Any

import fsspec.core
import pytest
from conftest import Server, new_name
from fsspec.registry import _registry
from fsspec.spec import AbstractFileSystem

import aiodreamobjects as dream
from aiodreamobjects._config import Secret
from aiodreamobjects.fsspec import DreamObjectsFileSystem, register


@pytest.fixture
def known_to_fsspec() -> Iterator[None]:
    """The tests run in a checkout too, whose entry points nobody has installed."""
    before = dict(_registry)
    register(s3=True)
    yield
    _registry.clear()
    _registry.update(before)


def test_the_names_of_s3fs_work(memory_served: Server) -> None:
    endpoint, key, secret = memory_served.service.endpoint, memory_served.access_key, str(memory_served.secret_key)
    for options in (
        {"endpoint": endpoint, "access_key": key, "secret_key": secret, "region": "us-east-1"},
        {"endpoint_url": endpoint, "key": key, "secret": secret, "token": None, "anon": False},
        {"client_kwargs": {"endpoint_url": endpoint, "region_name": "us-east-1"}, "key": key, "secret": secret},
        {
            "client_kwargs": {
                "endpoint_url": endpoint,
                "aws_access_key_id": key,
                "aws_secret_access_key": secret,
            }
        },
        {"service": dream.Service.for_endpoint(endpoint), "key": key, "secret": secret},
    ):
        assert isinstance(DreamObjectsFileSystem(**options).ls(""), list)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"endpiont": "https://x"}, "no storage option 'endpiont'; there are: .*endpoint"),
        ({"endpiont": "https://x"}, "there are: .*, retry, s3_additional_kwargs, .*timeouts"),
        ({"config_kwargs": {}}, "'config_kwargs', use limits=.*timeouts=.*retry=.*; there are: .*client_kwargs"),
        ({"max_concurrency": 3}, "'max_concurrency', use limits={'requests': 64}; "),
        ({"use_ssl": False}, "'use_ssl', use the scheme of the endpoint"),
        ({"client_kwargs": {"verify": False}}, "client_kwargs has no 'verify' here; there are: .*region_name"),
        ({"client_kwargs": "https://x"}, "client_kwargs must be a mapping"),
        (
            {"s3_additional_kwargs": {"RequestPayer": "requester"}},
            "s3_additional_kwargs has no 'RequestPayer' here; .*ACL",
        ),
        ({"s3_additional_kwargs": "ACL"}, "s3_additional_kwargs must be a mapping"),
        ({"limits": {"request": 3}}, "limits has no 'request'; there are: .*requests"),
        ({"limits": 3}, "limits must be a mapping"),
        ({"timeouts": {"reed": 3}}, "timeouts has no 'reed'; there are: .*connect"),
        ({"timeouts": 3}, "timeouts must be a mapping such as {'read': 60}, not 3"),
        ({"retry": {"attempt": 3}}, "retry has no 'attempt'; there are: attempts"),
        ({"retry": 3}, "retry must be a mapping"),
        ({"key": "a", "access_key": "b"}, "'access_key' is given twice"),
    ],
)
def test_a_wrong_option_is_named_with_those_that_there_are(options: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        DreamObjectsFileSystem(**options)


def test_wrong_values_are_refused_when_the_filesystem_is_made() -> None:
    with pytest.raises(ValueError, match="SSEKMSKeyId needs ServerSideEncryption='aws:kms'"):
        DreamObjectsFileSystem(s3_additional_kwargs={"SSEKMSKeyId": "key"})
    with pytest.raises(ValueError, match="requests must be"):
        DreamObjectsFileSystem(limits={"requests": 0})
    with pytest.raises(ValueError, match=r"Timeouts\.read"):
        DreamObjectsFileSystem(timeouts={"read": 0})
    with pytest.raises(ValueError, match=r"Retry\.attempts"):
        DreamObjectsFileSystem(retry={"attempts": 0})


@pytest.mark.parametrize("retry", [{"attempts": 2, "base": 0.001}, dream.Retry(attempts=2, base=0.001)])
def test_a_filesystem_tries_as_often_as_it_is_told(unused_tcp_port: int, retry: Any) -> None:
    fs = DreamObjectsFileSystem(endpoint=f"http://127.0.0.1:{unused_tcp_port}", key="a", secret="b", retry=retry)
    again = pickle.loads(pickle.dumps(fs))
    for one in (fs, again):
        with pytest.raises(ConnectionError) as caught:
            one.cat_file("bucket/a")
        assert caught.value.__notes__ == ["after 2 attempts"]


def test_a_wrong_endpoint_is_no_missing_file() -> None:
    fs = DreamObjectsFileSystem(endpoint="ftp://a", key="a", secret="b")
    for look in (fs.exists, fs.isdir, fs.cat_file):
        with pytest.raises(ValueError, match="ftp://a"):
            look("bucket/a")


def test_anonymous_access_goes_without_the_keys_that_were_given(fs: DreamObjectsFileSystem, root: str) -> None:
    """After a refusal, pandas adds ``anon=True`` to the options, and shows the second error."""
    fs.pipe_file(f"{root}/a", b"1")
    again = DreamObjectsFileSystem(**{**fs.storage_options, "secret_key": "wrong"}, anon=True)
    with pytest.raises(PermissionError):
        again.cat_file(f"{root}/a")


@pytest.mark.usefixtures("known_to_fsspec")
def test_addresses_find_the_filesystem(memory_served: Server) -> None:
    options = {
        "endpoint": memory_served.service.endpoint,
        "key": memory_served.access_key,
        "secret": str(memory_served.secret_key),
    }
    for protocol in ("dreamobjects", "dream", "s3"):
        fs, path = fsspec.core.url_to_fs(f"{protocol}://bucket/a//b/", **options)
        assert isinstance(fs, DreamObjectsFileSystem)
        assert path == "bucket/a//b"
    fs, path = fsspec.core.url_to_fs("dreamobjects://bucket/key?versionId=abc", **options)
    assert fs.version_aware
    assert fs.split_path(path) == ("bucket", "key", "abc")
    assert fs.unstrip_protocol("bucket/key") == "dreamobjects://bucket/key"
    assert fs._strip_protocol(["/bucket/key", "s3://bucket"]) == ["bucket/key", "bucket"]


def test_a_copy_by_pickle_or_json_is_equal_and_works(fs: DreamObjectsFileSystem, root: str) -> None:
    fs.pipe_file(f"{root}/a", b"1")
    for again in (
        pickle.loads(pickle.dumps(fs)),
        AbstractFileSystem.from_json(fs.to_json()),
        AbstractFileSystem.from_dict(json.loads(json.dumps(fs.to_dict()))),
    ):
        assert again == fs
        assert again.cat_file(f"{root}/a") == b"1"


def test_the_defaults_of_files_are_options(fs: DreamObjectsFileSystem, root: str) -> None:
    fs.pipe_file(f"{root}/a", b"0123456789")
    with fs.open(f"{root}/a") as file:
        assert (file.blocksize, file.cache.name) == (8 << 20, "readahead")
    other = DreamObjectsFileSystem(**fs.storage_options, default_block_size=20, default_cache_type="none")
    with other.open(f"{root}/a") as file:
        assert (file.blocksize, file.cache.name) == (20, "none")
    with other.open(f"{root}/a", cache_type="bytes", block_size=3) as file:
        assert (file.blocksize, file.cache.name) == (3, "bytes")
        assert file.read() == b"0123456789"
    quiet = DreamObjectsFileSystem(**fs.storage_options, use_listings_cache=False)
    quiet.find(root)
    assert len(quiet.dircache) == 0


def test_what_s3fs_has_beyond_fsspec(fs: DreamObjectsFileSystem, bucket_name: str) -> None:
    fs.mkdir(bucket_name)
    path = f"{bucket_name}/a"
    fs.pipe_file(path, b"1", metadata={"some-name": "2"})
    with fs.open(path) as file:
        for found in (fs.url(path, expires=100), file.url()):
            with urllib.request.urlopen(found) as reply:
                assert reply.read() == b"1"
        assert fs.metadata(path) == file.metadata() == {"some-name": "2"}
        assert fs.getxattr(path, "some_name") == file.getxattr("some-name") == "2"
        file.setxattr(some_name="3", other="4")
        fs.setxattr(path, copy_kwargs={"ContentType": "text/css"}, some_name=None)
    assert fs.metadata(path) == {"other": "4"}
    assert (fs.cat_file(path), fs.info(path)["ContentType"]) == (b"1", "text/css")
    with fs.open(path, "wb") as file, pytest.raises(NotImplementedError, match="metadata="):
        file.setxattr(a="1")
    fs.pipe_file(path, data=b"2")
    assert fs.cat_file(path) == b"2"
    with pytest.raises(ValueError, match="client_method"):
        fs.url(path, client_method="list_objects")
    fs.put_tags(path, {"a": "1", "b": "2"})
    fs.put_tags(path, {"b": "3"}, mode="m")
    assert fs.get_tags(path) == {"a": "1", "b": "3"}
    assert not fs.is_bucket_versioned(bucket_name)
    fs.make_bucket_versioned(bucket_name)
    assert fs.is_bucket_versioned(bucket_name)
    file = fs.open(path, "wb")
    file.write(bytes(9 << 20))
    fs.invalidate_cache()
    while not (uploads := fs.list_multipart_uploads(bucket_name)):
        pass
    assert [upload["Key"] for upload in uploads] == ["a"]
    file.discard()
    assert fs.list_multipart_uploads(bucket_name) == []
    fs.clear_multipart_uploads(bucket_name)


def test_secrets_that_hide_themselves_make_filesystems_of_their_own() -> None:
    """``Credentials`` and ``Served`` have such secrets. fsspec tells filesystems apart by the repr of their options."""
    first, second, again = (
        DreamObjectsFileSystem(endpoint="http://127.0.0.1:1", access_key="k", secret_key=Secret(text))
        for text in ("one", "two", "one")
    )
    assert first is again
    assert first is not second


def test_a_kms_key_has_the_names_of_boto(moto: Server) -> None:
    given = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "a-key"}
    fs = DreamObjectsFileSystem(
        endpoint=moto.service.endpoint, key=moto.access_key, secret=str(moto.secret_key), s3_additional_kwargs=given
    )
    bucket = new_name()
    fs.mkdir(bucket)
    fs.pipe_file(f"{bucket}/a", b"1")
    with contextlib.closing(moto.boto()) as boto:
        head = boto.head_object(Bucket=bucket, Key="a")
    assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", "a-key")
    fs.rm(bucket, recursive=True)


def test_a_checksum_has_the_name_of_boto(memory_served: Server) -> None:
    fs = DreamObjectsFileSystem(
        endpoint=memory_served.service.endpoint,
        key=memory_served.access_key,
        secret=str(memory_served.secret_key),
        s3_additional_kwargs={"ChecksumAlgorithm": "SHA256"},
    )
    bucket = new_name()
    fs.mkdir(bucket)
    fs.pipe_file(f"{bucket}/a", b"1")
    with contextlib.closing(memory_served.boto()) as boto:
        head = boto.head_object(Bucket=bucket, Key="a", ChecksumMode="ENABLED")
    assert head["ChecksumSHA256"] == base64.b64encode(hashlib.sha256(b"1").digest()).decode()
    fs.rm(bucket, recursive=True)
