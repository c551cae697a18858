"""Headers, metadata, tags and ACLs through every kind of copy. Who looks is boto3, or a client that sees bytes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from botocore.config import Config
from conftest import Server, new_name
from servers.byte_client import ByteClient
from servers.served import ServedService, boto_session

import aiodreamobjects as dream
from aiodreamobjects.testing import MemoryService

PART = 5 << 20
LARGE = os.urandom(PART + 1)
SMALL = b"1;2"
EXPIRES = "Thu, 01 Dec 2033 16:00:00 GMT"


@dataclass(frozen=True, slots=True)
class Place:
    """A service on a socket, for our sessions and for others to look at."""

    name: str
    service: dream.Service
    access_key: str
    secret_key: str

    def session(self, *, copies_in_parts: bool = False) -> dream.Session:
        service, limits = self.service, dream.Limits(part_size=PART)
        if copies_in_parts:
            service = replace(service, multipart=dream.MultipartRules(largest_copy=PART))
        return dream.Session(service=service, access_key=self.access_key, secret_key=self.secret_key, limits=limits)

    def boto(self) -> Any:
        return boto_session().client(
            "s3",
            endpoint_url=self.service.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}, request_checksum_calculation="when_required"),
        )

    def bytes(self) -> ByteClient:
        return ByteClient(self.service.endpoint, self.access_key, self.secret_key)


@pytest.fixture(scope="module")
def served() -> Iterator[ServedService]:
    with ServedService(MemoryService()) as running:
        yield running


@pytest.fixture(scope="module", params=["memory", "rgw"])
def place(request: pytest.FixtureRequest) -> Place:
    if request.param == "memory":
        found = request.getfixturevalue("served").served
        service = dream.Service.for_endpoint(found.endpoint)
        return Place("memory", service, found.access_key, found.secret_key)
    server: Server = request.getfixturevalue(request.param)
    return Place(server.name, server.service, server.access_key, server.secret_key)


@pytest.fixture(scope="module")
def boto(place: Place) -> Iterator[Any]:
    client = place.boto()
    yield client
    client.close()


@pytest_asyncio.fixture(scope="module")
async def session(place: Place) -> AsyncIterator[dream.Session]:
    async with place.session() as opened:
        yield opened


@pytest_asyncio.fixture
async def bucket(session: dream.Session) -> AsyncIterator[dream.Bucket]:
    made = await session.create_bucket(new_name())
    yield made
    await made.delete(force=True)


@asynccontextmanager
async def elsewhere() -> AsyncIterator[dream.Bucket]:
    """A bucket of another service."""
    async with MemoryService().session(limits=dream.Limits(part_size=PART)) as other:
        yield await other.create_bucket("elsewhere")


STORED = {
    "ContentType": "text/csv",
    "CacheControl": "max-age=60",
    "ContentDisposition": 'attachment; filename="a.csv"',
    "ContentEncoding": "identity",
    "ContentLanguage": "de, en",
    "ExpiresString": EXPIRES,
    "WebsiteRedirectLocation": "/another",
    "Metadata": {"source": "scale 7", "empty": ""},
}
TAGS = {"kind": "a + b"}


def put_by_boto(boto: Any, bucket: str, key: str, body: bytes = SMALL) -> None:
    headers = {name: value for name, value in STORED.items() if name != "ExpiresString"}
    boto.put_object(Bucket=bucket, Key=key, Body=body, Expires=EXPIRES, **headers)
    boto.put_object_tagging(Bucket=bucket, Key=key, Tagging={"TagSet": [{"Key": "kind", "Value": TAGS["kind"]}]})


def seen_by_boto(boto: Any, bucket: str, key: str) -> dict[str, object]:
    reply = boto.head_object(Bucket=bucket, Key=key)
    seen = {name: reply.get(name) for name in STORED}
    seen["Metadata"] = {name: value for name, value in reply["Metadata"].items() if name != "part-size"}
    return seen


def tags_by_boto(boto: Any, bucket: str, key: str) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in boto.get_object_tagging(Bucket=bucket, Key=key)["TagSet"]}


def is_public_by_boto(boto: Any, bucket: str, key: str) -> bool:
    grants = boto.get_object_acl(Bucket=bucket, Key=key)["Grants"]
    return any(grant["Grantee"].get("URI") == dream.ALL_USERS and grant["Permission"] == "READ" for grant in grants)


SOURCE, COPY = "in/a", "out/a"
Way = Callable[[dream.Bucket], Awaitable[object]]
"""From ``SOURCE`` to ``COPY``, in one bucket."""


def copying(**options: Any) -> Way:
    return lambda bucket: bucket.object(SOURCE).copy_to(bucket.object(COPY), **options)


async def by_another_service(bucket: dream.Bucket) -> None:
    async with elsewhere() as other:
        await bucket.object(SOURCE).copy_to(other.object("there"))
        await other.object("there").copy_to(bucket.object(COPY))


async def by_trees_of_another_service(bucket: dream.Bucket) -> None:
    async with elsewhere() as other:
        await bucket.copy_tree(other, "in/")
        await other.copy_tree(bucket, "in/", "out/")


async def onto_itself_and_away(bucket: dream.Bucket) -> None:
    await bucket.object(SOURCE).set_headers(content_type="text/other")
    await bucket.object(SOURCE).set_headers(content_type="text/csv")
    await bucket.object(SOURCE).copy_to(bucket.object(COPY))


CHANGED = "text/plain"
WAYS: Mapping[str, Way] = {
    "plain": copying(),
    "with a change": copying(content_type=CHANGED),
    "with an ACL": copying(acl="public-read"),
    "with its ACL": copying(copy_acl=True),
    "moved": lambda bucket: bucket.object(SOURCE).move_to(bucket.object(COPY)),
    "moved with a change": lambda bucket: bucket.object(SOURCE).move_to(
        bucket.object(COPY), content_type=CHANGED, acl="public-read"
    ),
    "by a tree": lambda bucket: bucket.copy_tree(bucket, "in/", "out/"),
    "by a tree with an ACL": lambda bucket: bucket.copy_tree(bucket, "in/", "out/", acl="public-read"),
    "by another service": by_another_service,
    "by trees of another service": by_trees_of_another_service,
    "onto itself and away": onto_itself_and_away,
}
ALWAYS_PUBLIC = ("with an ACL", "moved with a change", "by a tree with an ACL", "with its ACL")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("body", [SMALL, LARGE], ids=["at once", "in parts"])
async def test_every_header_and_tag_comes_with_every_copy(place: Place, boto: Any, way: str, body: bytes) -> None:
    async with place.session(copies_in_parts=len(body) > PART) as session:
        bucket = await session.create_bucket(new_name())
        await asyncio.to_thread(put_by_boto, boto, bucket.name, SOURCE, body)
        await bucket.object(SOURCE).set_acl("public-read")
        await WAYS[way](bucket)
        changed = {"ContentType": CHANGED} if "with a change" in way else {}
        assert await asyncio.to_thread(seen_by_boto, boto, bucket.name, COPY) == {**STORED, **changed}
        assert await asyncio.to_thread(tags_by_boto, boto, bucket.name, COPY) == TAGS
        assert await asyncio.to_thread(is_public_by_boto, boto, bucket.name, COPY) == (way in ALWAYS_PUBLIC)
        assert await bucket.object(COPY).read() == body
        await bucket.delete(force=True)


# Given by the caller

GIVEN: dict[str, Any] = {
    "content_type": "text/csv",
    "cache_control": "max-age=60",
    "content_disposition": 'attachment; filename="a.csv"',
    "content_encoding": "identity",
    "content_language": "de, en",
    "expires": EXPIRES,
    "website_redirect": "/another",
    "metadata": {"Source": "scale 7", "empty": ""},
}
NAMES = dict(zip(GIVEN, STORED, strict=True))


async def by_writer(obj: dream.Object, **options: Any) -> None:
    async with obj.writer(**options) as file:
        await file.write(SMALL)


@pytest.mark.parametrize("verb", ["put", "put in parts", "writer"])
async def test_every_header_can_be_given(boto: Any, bucket: dream.Bucket, verb: str) -> None:
    obj = bucket.object(COPY)
    if verb == "writer":
        await by_writer(obj, **GIVEN)
    else:
        info = await obj.put(LARGE if verb == "put in parts" else SMALL, **GIVEN)
        told = {name: getattr(info, name) for name in GIVEN if name != "metadata"}
        assert told == {name: value for name, value in GIVEN.items() if name != "metadata"}
    assert await asyncio.to_thread(seen_by_boto, boto, bucket.name, COPY) == STORED
    found = await obj.head()
    assert all(getattr(found, name) == value for name, value in GIVEN.items() if name != "metadata")
    async with obj.get() as body:
        assert body.info.expires == EXPIRES
        assert body.info.content_language == "de, en"
        assert body.info.website_redirect == "/another"


async def test_expires_can_be_a_time(boto: Any, bucket: dream.Bucket) -> None:
    info = await bucket.object(COPY).put(SMALL, expires=datetime(2033, 12, 1, 16, tzinfo=UTC))
    assert info.expires == EXPIRES
    assert (await asyncio.to_thread(seen_by_boto, boto, bucket.name, COPY))["ExpiresString"] == EXPIRES
    with pytest.raises(ValueError, match="is naive: give it a time zone"):
        await bucket.object(COPY).put(SMALL, expires=datetime(2033, 12, 1, 16))  # noqa: DTZ001 - that is the point


# What is not given stays, None removes

OTHER: dict[str, Any] = {
    **{name: f"{value}, x" for name, value in GIVEN.items() if name != "metadata"},
    "expires": "0",
    "metadata": {"new": "1"},
}


def onto_itself(bucket: dream.Bucket, **headers: Any) -> Awaitable[object]:
    return bucket.object(SOURCE).set_headers(**headers)


def to_another(bucket: dream.Bucket, **headers: Any) -> Awaitable[object]:
    return bucket.object(SOURCE).copy_to(bucket.object(SOURCE), **headers)


@pytest.mark.parametrize("verb", [onto_itself, to_another])
@pytest.mark.parametrize("name", GIVEN)
async def test_a_header_is_changed_or_removed_and_all_else_stays(
    boto: Any, bucket: dream.Bucket, verb: Any, name: str
) -> None:
    def put() -> None:
        put_by_boto(boto, bucket.name, SOURCE)
        boto.put_object_acl(Bucket=bucket.name, Key=SOURCE, ACL="public-read")

    nothing = {"metadata": {}, "content_type": "binary/octet-stream"}.get(name)
    gone: tuple[Any, ...] = (None, {}) if name == "metadata" else (None, "")
    for value, expected in ((OTHER[name], OTHER[name]), *((value, nothing) for value in gone)):
        await asyncio.to_thread(put)
        await verb(bucket, **{name: value})
        seen = await asyncio.to_thread(seen_by_boto, boto, bucket.name, SOURCE)
        assert seen == {**STORED, NAMES[name]: expected}
        assert await asyncio.to_thread(tags_by_boto, boto, bucket.name, SOURCE) == TAGS
        assert await asyncio.to_thread(is_public_by_boto, boto, bucket.name, SOURCE)
        assert await bucket.object(SOURCE).read() == SMALL


async def test_grants_without_a_name_stay(bucket: dream.Bucket) -> None:
    obj = bucket.object(SOURCE)
    await obj.put(SMALL)
    given = await obj.acl()
    grants = (*given.grants, dream.Grant("READ_ACP", uri=dream.AUTHENTICATED_USERS))
    await obj.set_acl(dream.Acl(given.owner, grants))
    assert set((await obj.acl()).grants) == set(grants)
    await obj.set_headers(cache_control="no-cache")
    assert set((await obj.acl()).grants) == set(grants)
    await obj.copy_to(obj, cache_control="no-store", copy_acl=False)
    assert (await obj.acl()).canned == "private"
    await obj.copy_to(obj, cache_control="no-store", acl="public-read")
    await obj.copy_to(obj, acl="authenticated-read")
    assert (await obj.acl()).canned == "authenticated-read"
    assert (await obj.head()).cache_control == "no-store"


@pytest.mark.parametrize("body", [SMALL, LARGE], ids=["at once", "in parts"])
async def test_a_lock_stays(place: Place, boto: Any, body: bytes) -> None:
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    name = new_name()

    def store() -> None:
        boto.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
        boto.put_object(Bucket=name, Key=SOURCE, Body=body)
        lock = {"Mode": "GOVERNANCE", "RetainUntilDate": until}
        boto.put_object_retention(Bucket=name, Key=SOURCE, Retention=lock)
        boto.put_object_legal_hold(Bucket=name, Key=SOURCE, LegalHold={"Status": "ON"})

    def lock_of() -> tuple[object, ...]:
        head = boto.head_object(Bucket=name, Key=SOURCE)
        return tuple(head.get(f"ObjectLock{part}") for part in ("Mode", "RetainUntilDate", "LegalHoldStatus"))

    def clear() -> None:
        for version in boto.list_object_versions(Bucket=name)["Versions"]:
            which = {"Bucket": name, "Key": SOURCE, "VersionId": version["VersionId"]}
            boto.put_object_legal_hold(**which, LegalHold={"Status": "OFF"})
            boto.delete_object(**which, BypassGovernanceRetention=True)
        boto.delete_bucket(Bucket=name)

    await asyncio.to_thread(store)
    async with place.session(copies_in_parts=len(body) > PART) as session:
        await session.bucket(name).object(SOURCE).set_headers(cache_control="no-cache")
        assert (await session.bucket(name).object(SOURCE).head()).cache_control == "no-cache"
    assert await asyncio.to_thread(lock_of) == ("GOVERNANCE", until, "ON")
    await asyncio.to_thread(clear)


async def test_nothing_to_change_is_refused(bucket: dream.Bucket) -> None:
    obj = bucket.object(SOURCE)
    with pytest.raises(ValueError, match="needs a header to change, such as cache_control="):
        await obj.set_headers()
    with pytest.raises(TypeError, match="acl"):
        await obj.set_headers(acl="private")  # type: ignore[call-arg]  # that is the point
    with pytest.raises(ValueError, match=r"copy_acl=True and acl='private' exclude each other"):
        await obj.copy_to(obj, acl="private", copy_acl=True)


# What another tool stored goes back as it came

ODD: Mapping[str, bytes] = {
    "content-disposition": 'attachment; filename="résumé à la carte….pdf"'.encode(),
    "content-language": b"de\t,  en",
    "cache-control": b"caf\xe9",
    "expires": b"-1",
    "x-amz-website-redirect-location": "/Ångström".encode(),
    "x-amz-meta-utf-8": "Grüße aus 京都… Å à".encode(),
    "x-amz-meta-latin-1": b"Gr\xfc\xdfe \xa0 \x85",
    "x-amz-meta-tab": b"a\tb",
    "x-amz-meta-blanks": b"a  b",
    "x-amz-meta-word": b"=?UTF-8?Q?caf=C3=A9?=",
    "x-amz-meta-percent": b"100%25",
}


@pytest.fixture
def bytes_of(place: Place) -> Callable[[str], Mapping[str, bytes]]:
    def look(path: str) -> Mapping[str, bytes]:
        answer = place.bytes().send("HEAD", path)
        assert answer.status == 200
        return {name: answer.headers[name] for name in ODD if name in answer.headers}

    return look


@pytest.mark.parametrize("way", [way for way in WAYS if way != "onto itself and away"])
@pytest.mark.parametrize("body", [SMALL, LARGE], ids=["at once", "in parts"])
async def test_what_no_caller_may_give_is_carried_over_byte_for_byte(
    place: Place, bytes_of: Callable[[str], Mapping[str, bytes]], way: str, body: bytes
) -> None:
    async with place.session(copies_in_parts=len(body) > PART) as session:
        bucket = await session.create_bucket(new_name())
        stored = await asyncio.to_thread(place.bytes().send, "PUT", f"/{bucket.name}/{SOURCE}", ODD, body)
        assert stored.status == 200
        before = await asyncio.to_thread(bytes_of, f"/{bucket.name}/{SOURCE}")
        assert len(before) == len(ODD)
        await WAYS[way](bucket)
        assert await asyncio.to_thread(bytes_of, f"/{bucket.name}/{COPY}") == before
        await bucket.object(COPY).set_headers(content_type="text/x")
        assert await asyncio.to_thread(bytes_of, f"/{bucket.name}/{COPY}") == before
        await bucket.delete(force=True)


async def test_headers_read_as_utf_8_where_they_are_and_else_as_latin_1(place: Place, bucket: dream.Bucket) -> None:
    await asyncio.to_thread(place.bytes().send, "PUT", f"/{bucket.name}/{SOURCE}", ODD, SMALL)
    info = await bucket.object(SOURCE).head()
    assert info.metadata is not None
    assert info.metadata["utf-8"] == "Grüße aus 京都… Å à"
    assert info.content_disposition == 'attachment; filename="résumé à la carte….pdf"'
    assert info.website_redirect == "/Ångström"
    assert info.cache_control == "café"
    if place.name == "memory":  # Ceph RGW makes a word of RFC 2047 of it
        assert info.metadata["latin-1"] == "Grüße \xa0 \x85"


async def test_headers_of_version_2_signatures_are_bytes_too(place: Place) -> None:
    old = replace(place, service=replace(place.service, signature="v2"))
    async with old.session() as session:
        bucket = await session.create_bucket(new_name())
        await asyncio.to_thread(place.bytes().send, "PUT", f"/{bucket.name}/{SOURCE}", ODD, SMALL)
        await bucket.object(SOURCE).copy_to(bucket.object(COPY), content_type="text/x")
        await bucket.object(SOURCE).set_headers(content_type=None)
        before, after = [(await bucket.object(key).head()).metadata for key in (SOURCE, COPY)]
        assert before == after
        await bucket.delete(force=True)
