"""Settings of buckets where a service ignores them, changes them or shows them late; and what boto3 sees of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import pytest_asyncio
from botocore.config import Config
from conftest import Server, new_name
from servers.scripted import Received, Reply, ScriptedServer, error
from servers.served import boto_session

import aiodreamobjects as dream

ENCRYPTION: list[dream.EncryptionRule] = [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
NEWER: dict[str, Any] = {
    "encryption": ENCRYPTION,
    "public_access_block": {"BlockPublicAcls": True},
    "notification": {"QueueConfigurations": [{"QueueArn": "arn:aws:sqs:::q", "Events": ["s3:ObjectCreated:*"]}]},
    "object_lock": dream.Retention("GOVERNANCE", days=1),
    "logging": {"TargetBucket": "logs", "TargetPrefix": ""},
    "ownership": "BucketOwnerEnforced",
}
OLDER: dict[str, Any] = {
    "cors": [{"AllowedMethods": ["GET"], "AllowedOrigins": ["*"]}],
    "lifecycle": [{"ID": "a", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}}],
    "tags": {"a": "b"},
    "policy": {"Version": "2012-10-17", "Statement": []},
    "website": {"IndexDocument": {"Suffix": "index.html"}},
    "versioning": "Enabled",
}
QUERIES = {
    "encryption": "encryption",
    "public_access_block": "publicAccessBlock",
    "notification": "notification",
    "object_lock": "object-lock",
    "logging": "logging",
    "ownership": "ownershipControls",
}
LISTING = b"<ListBucketResult><Name>bucket</Name><IsTruncated>false</IsTruncated></ListBucketResult>"


def ignorant(request: Received) -> Reply:
    """A service that does not look at the query: it lists, creates and deletes the bucket."""
    return Reply(200, LISTING) if request.method == "GET" else Reply(204 if request.method == "DELETE" else 200)


@pytest.mark.parametrize(
    ("setting", "is_known"),
    [*((setting, True) for setting in NEWER), *((setting, False) for setting in NEWER | OLDER)],
)
async def test_a_service_that_ignores_the_query_is_only_read(
    scripted: ScriptedServer, setting: str, *, is_known: bool
) -> None:
    scripted.will(ignorant)
    async with scripted.session(service=replace(scripted.service, is_known=is_known)) as session:
        bucket = session.bucket("bucket")
        value = (NEWER | OLDER)[setting]
        calls: list[Callable[[], Any]] = [
            partial(getattr(bucket, f"set_{setting}"), value),
            getattr(bucket, f"delete_{setting}"),
            getattr(bucket, setting),
        ]
        for call in calls:
            with pytest.raises(dream.UnsupportedByServiceError, match="does not support"):
                await call()
    assert {request.method for request in scripted.received} == {"GET"}
    assert len(scripted.received) == (1 if setting in NEWER else 3)  # that the service lacks a newer one is remembered


def kept_as(**documents: bytes) -> Callable[[Received], Reply]:
    """A service that answers with success to all, and whose buckets have these documents, by their queries."""

    def answer(request: Received) -> Reply:
        if request.method != "GET":
            return Reply(200)
        query = request.target.partition("?")[2].partition("=")[0].replace("-", "_")
        return Reply(200, documents[query])

    return answer


EMPTY = {
    "encryption": b"<ServerSideEncryptionConfiguration/>",
    "publicAccessBlock": b"<PublicAccessBlockConfiguration/>",
    "notification": b"<NotificationConfiguration/>",
    "object_lock": b"<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>",
    "logging": b"<BucketLoggingStatus/>",
    "ownershipControls": b"<OwnershipControls/>",
}


@pytest.mark.parametrize("setting", [*NEWER])
async def test_a_success_without_an_effect_is_an_error(scripted: ScriptedServer, setting: str) -> None:
    scripted.will(kept_as(**EMPTY))
    async with scripted.session() as session:
        bucket = session.bucket("bucket")
        with pytest.raises(dream.UnsupportedByServiceError, match=f"set_{setting} s3://bucket: .* with success, but"):
            await getattr(bucket, f"set_{setting}")(NEWER[setting])
        sent = len(scripted.received)
        for again in (f"set_{setting}", f"delete_{setting}"):
            with pytest.raises(dream.UnsupportedByServiceError, match="kept nothing"):
                await getattr(bucket, again)(*([NEWER[setting]] if again.startswith("set") else []))
    assert len(scripted.received) == sent


@pytest.mark.parametrize("setting", [*NEWER])
async def test_what_is_not_there_is_not_deleted(scripted: ScriptedServer, setting: str) -> None:
    scripted.will(kept_as(**EMPTY))
    async with scripted.session() as session:
        await getattr(session.bucket("bucket"), f"delete_{setting}")()
    assert [request.method for request in scripted.received] == ["GET"]


KEPT = {
    "encryption": b"""<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256</SSEAlgorithm>
        </ApplyServerSideEncryptionByDefault><BucketKeyEnabled>false</BucketKeyEnabled><BlockedEncryptionTypes/></Rule>
        </ServerSideEncryptionConfiguration>""",
    "publicAccessBlock": b"""<PublicAccessBlockConfiguration><RestrictPublicBuckets>false</RestrictPublicBuckets><IgnorePublicAcls>
        false</IgnorePublicAcls><BlockPublicAcls>true</BlockPublicAcls></PublicAccessBlockConfiguration>""".replace(
        b"\n        ", b""
    ),
    "notification": b"""<NotificationConfiguration><QueueConfiguration><Event>s3:ObjectRemoved:*</Event><Id>made-up</Id>
        <Event>s3:ObjectCreated:*</Event><Queue>arn:aws:sqs:::q</Queue><Filter><S3Key><FilterRule><Name>Suffix</Name>
        <Value>.jpg</Value></FilterRule><FilterRule><Name>Prefix</Name><Value>a/</Value></FilterRule></S3Key></Filter>
        </QueueConfiguration></NotificationConfiguration>""",
    "object_lock": b"""<ObjectLockConfiguration><Rule><DefaultRetention><Years>0</Years><Days>1</Days><Mode>GOVERNANCE</Mode>
        </DefaultRetention></Rule><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>""",
    "logging": b"""<BucketLoggingStatus><LoggingEnabled><TargetPrefix/><TargetObjectKeyFormat><SimplePrefix/>
        </TargetObjectKeyFormat><TargetBucket>logs</TargetBucket></LoggingEnabled></BucketLoggingStatus>""",
    "ownershipControls": b"<OwnershipControls><Rule><ObjectOwnership>BucketOwnerEnforced</ObjectOwnership></Rule></OwnershipControls>",
}


ODD = {
    "encryption": b"<ServerSideEncryptionConfiguration><Rule/><Rule><BucketKeyEnabled>x</BucketKeyEnabled></Rule></ServerSideEncryptionConfiguration>",
    "publicAccessBlock": b"<PublicAccessBlockConfiguration><BlockPublicAcls/><Other>true</Other></PublicAccessBlockConfiguration>",
    "notification": b"""<NotificationConfiguration><QueueConfiguration/><TopicConfiguration><Filter><S3Key><FilterRule/></S3Key>
        </Filter></TopicConfiguration><Odd>1</Odd></NotificationConfiguration>""",
    "object_lock": b"""<ObjectLockConfiguration><Rule><DefaultRetention><Days>-1</Days><Mode>FOREVER</Mode></DefaultRetention></Rule>
        </ObjectLockConfiguration>""",
    "logging": b"<BucketLoggingStatus><LoggingEnabled><TargetPrefix>a</TargetPrefix></LoggingEnabled></BucketLoggingStatus>",
    "ownershipControls": b"<OwnershipControls><Rule/></OwnershipControls>",
}


@pytest.mark.parametrize("setting", [*NEWER])
async def test_a_document_that_is_not_s3s_is_no_other_error_than_ours(scripted: ScriptedServer, setting: str) -> None:
    scripted.will(kept_as(**ODD))
    async with scripted.session() as session:
        with suppress(dream.DreamObjectsError):
            await getattr(session.bucket("bucket"), setting)()
        with pytest.raises(dream.DreamObjectsError):
            await getattr(session.bucket("bucket"), f"set_{setting}")(NEWER[setting])


@pytest.mark.parametrize("setting", [*NEWER])
async def test_a_service_may_reorder_and_add(scripted: ScriptedServer, setting: str) -> None:
    scripted.will(kept_as(**KEPT))
    value = NEWER[setting]
    if setting == "notification":
        rules = [{"Name": "prefix", "Value": "a/"}, {"Name": "suffix", "Value": ".jpg"}]
        value = {
            "QueueConfigurations": [
                {
                    "QueueArn": "arn:aws:sqs:::q",
                    "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"],
                    "Filter": {"Key": {"FilterRules": rules}},
                }
            ]
        }
    async with scripted.session() as session:
        await getattr(session.bucket("bucket"), f"set_{setting}")(value)
    assert [request.method for request in scripted.received] == ["GET", "PUT", "GET"]


async def test_another_value_than_was_set_is_an_error_and_not_a_lack(scripted: ScriptedServer) -> None:
    scripted.will(kept_as(**KEPT))
    async with scripted.session() as session:
        bucket = session.bucket("bucket")
        with pytest.raises(
            dream.UnsupportedByServiceError, match=r"the bucket has 'BucketOwnerEnforced' now.*or not this value"
        ):
            await bucket.set_ownership("ObjectWriter")
        await bucket.set_ownership("BucketOwnerEnforced")
        assert session.service.unsupported == {}


async def test_a_setting_may_show_late(scripted: ScriptedServer) -> None:
    """Amazon S3 user guide, "Amazon S3 data consistency model": bucket configurations are eventually consistent."""
    old, new = (Reply(200, documents["ownershipControls"]) for documents in (EMPTY, KEPT))
    scripted.will(old, Reply(200), old, new)
    async with scripted.session() as session:
        await session.bucket("bucket").set_ownership("BucketOwnerEnforced")
        assert session.service.unsupported == {}
    assert [request.method for request in scripted.received] == ["GET", "PUT", "GET", "GET"]


@pytest.mark.parametrize("setting", [*NEWER])
async def test_what_may_not_be_read_is_not_written(scripted: ScriptedServer, setting: str) -> None:
    scripted.will(error(403, "AccessDenied"))
    async with scripted.session() as session:
        for verb in (f"set_{setting}", f"delete_{setting}"):
            with pytest.raises(dream.AccessDeniedError):
                await getattr(session.bucket("bucket"), verb)(*([NEWER[setting]] if verb.startswith("set") else []))
    assert {request.method for request in scripted.received} == {"GET"}


@pytest.mark.parametrize(
    "feature", ["bucket_encryption", "public_access_block", "notification", "object_lock", "logging", "ownership"]
)
async def test_what_a_service_is_known_to_lack_is_refused_beforehand(scripted: ScriptedServer, feature: Any) -> None:
    scripted.will(Reply(200))
    service = replace(scripted.service, unsupported={feature: "do without"})
    async with scripted.session(service=service) as session:
        bucket = session.bucket("bucket")
        setting = {"bucket_encryption": "encryption"}.get(feature, feature)
        for call in (
            getattr(bucket, setting),
            partial(getattr(bucket, f"set_{setting}"), NEWER[setting]),
            getattr(bucket, f"delete_{setting}"),
        ):
            with pytest.raises(dream.UnsupportedByServiceError, match="do without"):
                await call()
    assert scripted.received == []


@pytest.mark.parametrize(
    "looked_at", [Reply(200, LISTING), error(404, "ObjectLockConfigurationNotFoundError")], ids=["listing", "none"]
)
async def test_a_creation_whose_lock_is_ignored_says_that_the_bucket_exists(
    scripted: ScriptedServer, looked_at: Reply
) -> None:
    scripted.will(Reply(404), Reply(200), looked_at)
    async with scripted.session() as session:
        with pytest.raises(dream.UnsupportedByServiceError) as caught:
            await session.create_bucket("bucket", object_lock=True)
    told = "\n".join([str(caught.value), *getattr(caught.value, "__notes__", ())])
    assert "'bucket'" in told
    assert "without Object Lock" in told
    assert [request.method for request in scripted.received] == ["HEAD", "PUT", "GET"]
    assert scripted.received[1].headers["x-amz-bucket-object-lock-enabled"] == "true"


async def test_an_acl_is_read_before_a_service_that_nobody_knows_may_take_it_for_a_creation(
    scripted: ScriptedServer,
) -> None:
    scripted.will(ignorant)
    async with scripted.session(service=replace(scripted.service, is_known=False)) as session:
        for _ in range(2):
            with pytest.raises(dream.UnsupportedByServiceError):
                await session.bucket("bucket").set_acl("public-read")
        assert {request.method for request in scripted.received} == {"GET"}
        scripted.will(error(403, "AccessDenied"), Reply(200), Reply(200))
        await session.bucket("bucket").set_acl("public-read")
        await session.bucket("bucket").set_acl("private")
    assert [request.method for request in scripted.received] == ["GET", "PUT", "PUT"]


# What boto3 sees


@pytest.fixture(params=["rgw", "gateway_v2", "moto"])
def other(request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue(request.param)
    return found


def client_of(server: Server, kind: str = "s3") -> Any:
    return boto_session().client(
        kind,
        endpoint_url=server.service.endpoint,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}, request_checksum_calculation="when_required"),
    )


@pytest.fixture
def boto(other: Server) -> Iterator[Any]:
    client = client_of(other)
    yield client
    client.close()


@pytest_asyncio.fixture
async def locked(other: Server) -> AsyncIterator[dream.Bucket]:
    async with other.session() as session:
        made = await session.create_bucket(new_name(), object_lock=True)
        yield made
        await made.delete()


async def test_boto3_sees_the_lock_and_the_block_that_were_set(locked: dream.Bucket, boto: Any) -> None:
    await locked.set_object_lock(dream.Retention("GOVERNANCE", days=3))
    seen = boto.get_object_lock_configuration(Bucket=locked.name)["ObjectLockConfiguration"]
    assert seen["ObjectLockEnabled"] == "Enabled"
    retention = seen["Rule"]["DefaultRetention"]
    assert (retention["Mode"], retention["Days"], retention.get("Years") or 0) == ("GOVERNANCE", 3, 0)
    boto.put_object_lock_configuration(
        Bucket=locked.name,
        ObjectLockConfiguration={
            "ObjectLockEnabled": "Enabled",
            "Rule": {"DefaultRetention": {"Mode": "COMPLIANCE", "Years": 1}},
        },
    )
    assert await locked.object_lock() == dream.Retention("COMPLIANCE", years=1)
    await locked.delete_object_lock()
    assert "Rule" not in boto.get_object_lock_configuration(Bucket=locked.name)["ObjectLockConfiguration"]

    await locked.set_public_access_block({"BlockPublicPolicy": True})
    block = boto.get_public_access_block(Bucket=locked.name)["PublicAccessBlockConfiguration"]
    assert block == {
        "BlockPublicAcls": False,
        "IgnorePublicAcls": False,
        "BlockPublicPolicy": True,
        "RestrictPublicBuckets": False,
    }


async def test_an_object_is_locked_by_the_default_of_its_bucket(locked: dream.Bucket, boto: Any) -> None:
    await locked.set_object_lock(dream.Retention("GOVERNANCE", days=1))
    stored = await locked.object("a").put(b"kept")
    head = boto.head_object(Bucket=locked.name, Key="a")
    assert head["ObjectLockMode"] == "GOVERNANCE"
    boto.delete_object(Bucket=locked.name, Key="a", VersionId=stored.version_id, BypassGovernanceRetention=True)


async def test_a_gateway_sends_events_to_a_topic(rgw: Server) -> None:
    topics = client_of(rgw, "sns")
    arn = topics.create_topic(Name=new_name(), Attributes={"push-endpoint": "http://127.0.0.1:9"})["TopicArn"]
    wanted: dream.Notification = {
        "TopicConfigurations": [{"Id": "all", "TopicArn": arn, "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]}]
    }
    async with rgw.session() as session:
        bucket = await session.create_bucket(new_name())
        await bucket.set_notification(wanted)
        client = client_of(rgw)
        seen = client.get_bucket_notification_configuration(Bucket=bucket.name)["TopicConfigurations"]
        assert [found["TopicArn"] for found in seen] == [arn]
        await bucket.delete_notification()
        assert await bucket.notification() == {}
        client.close()
        await bucket.delete()
    topics.delete_topic(TopicArn=arn)
    topics.close()
