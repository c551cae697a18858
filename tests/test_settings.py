"""A session's settings: where each is found, which place wins, and what is said when one is missing or wrong.

Opening a session sends nothing to the service, so the services of these tests need not exist.
"""

import asyncio
import gc
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aioboto3
import boto3
import pytest
import pytest_asyncio
import trustme
from aiobotocore.session import get_session
from fuzzing import fuzzed
from hypothesis import given
from hypothesis import strategies as st

import aiodreamobjects as dream
from aiodreamobjects._config import Credentials
from aiodreamobjects._s3 import signing

HOST = "https://minio.example"
US_EAST_5 = "https://s3.us-east-005.dream.io"
KEYS = {"access_key": "ARGUMENT", "secret_key": "argument-secret"}
DREAM_KEYS = {"DREAMOBJECTS_ACCESS_KEY_ID": "DREAM", "DREAMOBJECTS_SECRET_ACCESS_KEY": "dream-secret"}
AWS_KEYS = {"AWS_ACCESS_KEY_ID": "AWS", "AWS_SECRET_ACCESS_KEY": "aws-secret"}
FILE_KEYS = "[{}]\naws_access_key_id = {}\naws_secret_access_key = {}\n".format


@contextmanager
def machine(*, config: str | bytes = "", credentials: str = "", **environment: str) -> Iterator[Path]:
    """A computer with these variables, these two files in ~/.aws, and nothing else that could tell a setting."""
    with TemporaryDirectory() as home, pytest.MonkeyPatch.context() as patch:
        for name in [*os.environ]:
            if name.startswith(("AWS_", "DREAMOBJECTS_", "BOTO_")):
                patch.delenv(name)
        files = {"AWS_CONFIG_FILE": config, "AWS_SHARED_CREDENTIALS_FILE": credentials}
        for name, content in files.items():
            path = Path(home, name)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
            patch.setenv(name, str(path))
        for name, value in {"HOME": home, "AWS_EC2_METADATA_DISABLED": "true", **environment}.items():
            patch.setenv(name, value)
        yield Path(home)


@pytest.fixture(autouse=True)
def bare_machine() -> Iterator[Path]:
    """No test sees the settings of whoever runs it."""
    with machine() as home:
        yield home


def signs_as(session: dream.Session) -> tuple[str, str]:
    """The access key and the region that the session signs with."""
    [credential] = parse_qs(urlsplit(presigned(session)).query)["X-Amz-Credential"]
    access_key, _, region, _, _ = credential.split("/")
    return access_key, region


def assert_signs_with(session: dream.Session, expected: Credentials) -> None:
    """Secret and token are not shown anywhere, but they make the signature."""
    url = presigned(session)
    [stamp] = parse_qs(urlsplit(url).query)["X-Amz-Date"]
    now = datetime.strptime(stamp, "%Y%m%dT%H%M%S%z").timestamp()
    host, path = session.service.locate("photos-2026", "cat.jpg")
    request = signing.Request("GET", session.service.scheme, host, path, path, {}, {})
    assert url == signing.Signer(expected, session.service.region).presign(request, now, 3600)


def presigned(session: dream.Session) -> str:
    return session.bucket("photos-2026").object("cat.jpg").presign_get()


# The first place that has a setting wins

CREDENTIALS = {
    "arguments": ("ARGUMENT", "argument-secret"),
    "DREAMOBJECTS_ACCESS_KEY_ID": ("DREAM", "dream-secret"),
    "DREAMOBJECTS_PROFILE": ("IN-PROFILE", "profile-secret"),
    "AWS_ACCESS_KEY_ID": ("AWS", "aws-secret"),
    "default profile": ("IN-DEFAULT", "default-secret"),
}
ENDPOINTS = ["argument", "DREAMOBJECTS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "services", "profile"]
REGIONS = ["argument", "DREAMOBJECTS_REGION", "AWS_DEFAULT_REGION", "profile"]


def endpoint_of(place: str) -> str:
    return f"https://{place.replace('_', '-').lower()}.example"


def region_of(place: str) -> str:
    return f"{place.replace('_', '-').lower()}-1"


def first(places: list[str], has: set[str]) -> str | None:
    return next((place for place in places if place in has), None)


@fuzzed(0.15)
@given(
    st.sets(st.sampled_from([*CREDENTIALS]), min_size=1),
    st.sets(st.sampled_from(ENDPOINTS)),
    st.sets(st.sampled_from(REGIONS)),
)
async def test_each_setting_is_taken_from_the_first_place_that_has_it(
    keys: set[str], endpoints: set[str], regions: set[str]
) -> None:
    arguments: dict[str, str] = {}
    environment: dict[str, str] = {}
    if "arguments" in keys:
        arguments |= KEYS
    if "DREAMOBJECTS_ACCESS_KEY_ID" in keys:
        environment |= DREAM_KEYS
    if "DREAMOBJECTS_PROFILE" in keys:
        environment["DREAMOBJECTS_PROFILE"] = "work"
    if "AWS_ACCESS_KEY_ID" in keys:
        environment |= AWS_KEYS
    if "argument" in endpoints:
        arguments["endpoint"] = endpoint_of("argument")
    if "argument" in regions:
        arguments["region"] = region_of("argument")
    environment |= {name: endpoint_of(name) for name in endpoints if name.isupper()}
    environment |= {name: region_of(name) for name in regions if name.isupper()}
    profile = [
        f"region = {region_of('profile')}" if "profile" in regions else "",
        f"endpoint_url = {endpoint_of('profile')}" if "profile" in endpoints else "",
        "services = here" if "services" in endpoints else "",
    ]
    services = f"[services here]\ns3 =\n  endpoint_url = {endpoint_of('services')}\n"
    config = "\n".join(["[default]", *profile, "[profile work]", *profile, services])
    credentials = FILE_KEYS("work", *CREDENTIALS["DREAMOBJECTS_PROFILE"])
    if "default profile" in keys:
        credentials += FILE_KEYS("default", *CREDENTIALS["default profile"])

    with machine(config=config, credentials=credentials, **environment):
        async with dream.Session(**arguments) as session:  # type: ignore[arg-type]  # all of them are text
            endpoint = first(ENDPOINTS, endpoints)
            assert session.service.endpoint == (endpoint_of(endpoint) if endpoint else US_EAST_5)
            # US-East 5 has a region of its own, which only what is meant for this library can change.
            region = first(REGIONS if endpoint else REGIONS[:2], regions)
            assert session.service.region == (
                region_of(region) if region else "us-east-1" if endpoint else "us-east-005"
            )
            assert_signs_with(session, Credentials(*CREDENTIALS[str(first([*CREDENTIALS], keys))]))


async def test_without_any_setting_but_keys_the_service_is_us_east_5() -> None:
    async with dream.Session(access_key="AK", secret_key="SK") as session:
        assert session.service == dream.US_EAST_5
        assert presigned(session).startswith(f"{US_EAST_5}/photos-2026/cat.jpg?")


async def test_an_argument_profile_beats_every_variable_that_names_keys_or_a_profile() -> None:
    credentials = FILE_KEYS("work", "WORK", "s") + FILE_KEYS("home", "HOME", "s")
    variables = {**DREAM_KEYS, **AWS_KEYS, "DREAMOBJECTS_PROFILE": "home", "AWS_PROFILE": "home"}
    with machine(credentials=credentials, **variables):
        async with dream.Session("work", endpoint=HOST) as session:
            assert signs_as(session)[0] == "WORK"


async def test_the_librarys_own_profile_variable_beats_the_one_of_aws() -> None:
    credentials = FILE_KEYS("work", "WORK", "s") + FILE_KEYS("home", "HOME", "s")
    with machine(credentials=credentials, AWS_PROFILE="work", DREAMOBJECTS_PROFILE="home"):
        async with dream.Session(endpoint=HOST) as session:
            assert signs_as(session)[0] == "HOME"
    with machine(credentials=credentials, AWS_PROFILE="work"):
        async with dream.Session(endpoint=HOST) as session:
            assert signs_as(session)[0] == "WORK"


async def test_a_profile_gives_endpoint_and_region_beside_the_keys() -> None:
    config = "[profile rgw]\nregion = here-1\nendpoint_url = http://localhost:7480\n"
    with machine(config=config, credentials=FILE_KEYS("rgw", "RGW", "s")):
        async with dream.Session("rgw") as session:
            assert session.service.endpoint == "http://localhost:7480"
            assert signs_as(session) == ("RGW", "here-1")


async def test_an_empty_variable_is_no_setting() -> None:
    empty = dict.fromkeys([*DREAM_KEYS, "DREAMOBJECTS_ENDPOINT_URL", "DREAMOBJECTS_REGION", "DREAMOBJECTS_PROFILE"], "")
    with machine(**{**empty, **AWS_KEYS}):
        async with dream.Session() as session:
            assert session.service == dream.US_EAST_5
            assert signs_as(session)[0] == "AWS"


async def test_a_session_token_goes_with_its_keys_and_with_no_others() -> None:
    with machine(**AWS_KEYS, AWS_SESSION_TOKEN="aws-token"):
        async with dream.Session(endpoint=HOST) as session:
            assert_signs_with(session, Credentials("AWS", "aws-secret", "aws-token"))
        async with dream.Session(**KEYS, session_token="mine", endpoint=HOST) as session:  # type: ignore[arg-type]
            assert_signs_with(session, Credentials("ARGUMENT", "argument-secret", "mine"))
        async with dream.Session(**KEYS, endpoint=HOST) as session:  # type: ignore[arg-type]  # all of them are text
            assert_signs_with(session, Credentials("ARGUMENT", "argument-secret"))


async def test_settings_are_read_when_the_session_is_made() -> None:
    with machine(**DREAM_KEYS, DREAMOBJECTS_ENDPOINT_URL=HOST):
        session = dream.Session()
    assert session.service.endpoint == HOST
    async with session:
        assert signs_as(session)[0] == "DREAM"


async def test_configured_endpoints_are_ignored_where_aws_tools_are_told_to_ignore_them() -> None:
    with machine(**AWS_KEYS, AWS_ENDPOINT_URL_S3=HOST, AWS_IGNORE_CONFIGURED_ENDPOINT_URLS="true"):
        async with dream.Session() as session:
            assert session.service.endpoint == US_EAST_5


# The s3 section of a profile, and profiles that cannot be read


def with_section(**section: str) -> str:
    lines = [f"  {name} = {value}" for name, value in section.items()]
    return "\n".join(["[default]", f"endpoint_url = {HOST}", "s3 =", *lines, ""])


@pytest.mark.parametrize(
    ("section", "addressing", "signature"),
    [
        ({"addressing_style": "virtual"}, "virtual", "v4"),
        ({"addressing_style": "path"}, "path", "v4"),
        ({"addressing_style": "auto"}, "path", "v4"),
        ({"signature_version": "s3"}, "path", "v2"),
        ({"signature_version": "s3v4"}, "path", "v4"),
        ({"addressing_style": "virtual", "signature_version": "s3", "max_concurrent_requests": "20"}, "virtual", "v2"),
    ],
)
async def test_the_s3_section_of_a_profile_says_how_requests_are_addressed_and_signed(
    section: dict[str, str], addressing: str, signature: str
) -> None:
    with machine(config=with_section(**section), **AWS_KEYS):
        async with dream.Session() as session:
            assert (session.service.addressing, session.service.signature) == (addressing, signature)
            async with dream.Session(**KEYS, endpoint=HOST) as given:  # type: ignore[arg-type]  # all of them are text
                assert given.service == session.service
            theirs = boto3.session.Session().client("s3")
            expected = urlsplit(
                theirs.generate_presigned_url("get_object", {"Bucket": "photos-2026", "Key": "cat.jpg"})
            )
            theirs.close()
            client = await session.boto_client()
            for url in (
                presigned(session),
                await client.generate_presigned_url("get_object", {"Bucket": "photos-2026", "Key": "cat.jpg"}),
            ):
                assert urlsplit(url)[:3] == expected[:3]
                assert ("AWSAccessKeyId" in parse_qs(urlsplit(url).query)) == (signature == "v2")


async def test_a_given_service_beats_the_s3_section() -> None:
    service = dream.Service.for_endpoint(HOST)
    with machine(config=with_section(addressing_style="virtual", signature_version="s3"), **AWS_KEYS):
        async with dream.Session(service=service) as session:
            assert session.service == service


async def test_what_cannot_be_done_of_an_s3_section_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    section = with_section(addressing_style="dns", signature_version="s3").replace(HOST, US_EAST_5)
    with machine(config=section, **AWS_KEYS):
        async with dream.Session() as session:
            assert session.service == dream.US_EAST_5
    assert "addressing_style = dns of the profile is not used: it is none of path, virtual, auto" in caplog.text
    assert "signature_version = s3 of the profile is not used: DreamObjects: only SigV4 is accepted" in caplog.text


async def test_an_s3_section_that_is_none_is_ignored() -> None:
    with machine(config="[default]\ns3 = virtual\n", **AWS_KEYS):
        async with dream.Session(endpoint=HOST) as session:
            assert session.service == dream.Service.for_endpoint(HOST)


BROKEN: dict[str, dict[str, Any]] = {
    "a profile that is not there": {"AWS_PROFILE": "nowhere"},
    "our profile that is not there": {"DREAMOBJECTS_PROFILE": "nowhere"},
    "a file that is not one": {"config": "this is no profile\n"},
    "a profile that is there twice": {"config": "[default]\nregion = a\n[default]\nregion = b\n"},
    "keys in a file that is not one": {"credentials": "[default\n"},
    "a file that is not UTF-8": {"config": b"[default]\nregion = \xff\xfe\n"},
    "half of a key": {"credentials": "[default]\naws_access_key_id = AK\n"},
    "a file that is a directory": {"AWS_CONFIG_FILE": "/"},
    "services that are not there": {"config": "[default]\nservices = nowhere\n"},
}


@pytest.mark.parametrize("broken", [*BROKEN])
@pytest.mark.parametrize("given", ["arguments", "variables", "service", "anonymous"])
async def test_a_broken_profile_does_not_matter_to_a_session_with_keys_and_endpoint(broken: str, given: str) -> None:
    environment = {**BROKEN[broken], "AWS_DEFAULT_REGION": "here-1"}
    arguments: dict[str, Any] = {**KEYS, "endpoint": HOST}
    if given == "variables":
        arguments, environment = {}, environment | DREAM_KEYS | {"DREAMOBJECTS_ENDPOINT_URL": HOST}
    if given == "service":
        arguments = KEYS | {"service": dream.Service("mine", HOST, "here-1")}
    if given == "anonymous":
        arguments = {"anonymous": True, "endpoint": HOST}
    with machine(**environment):
        async with dream.Session(**arguments) as session:
            assert (session.service.endpoint, session.service.region) == (HOST, "here-1")
            assert (await session.boto_client()).meta.endpoint_url == HOST
            if given != "anonymous":
                assert signs_as(session)[0] in ("ARGUMENT", "DREAM")


@pytest.mark.parametrize("broken", [name for name in BROKEN if "profile that is not" in name or "UTF-8" in name])
async def test_a_broken_profile_is_an_error_where_keys_or_the_endpoint_could_be_in_it(broken: str) -> None:
    with machine(**BROKEN[broken]):
        for arguments in (KEYS, {"endpoint": HOST}, {"profile": "work", "endpoint": HOST}):
            given: dict[str, Any] = arguments
            with pytest.raises(dream.CredentialsError):
                await dream.Session(**given).open()


async def test_the_profile_that_is_not_used_is_named(caplog: pytest.LogCaptureFixture) -> None:
    with machine(AWS_PROFILE="nowhere"):
        async with dream.Session(**KEYS, endpoint=HOST):  # type: ignore[arg-type]  # all of them are text
            pass
    assert "nowhere" in caplog.text
    assert "opens without the profile" in caplog.text


# The service


async def test_a_given_service_beats_every_endpoint_but_the_argument() -> None:
    rgw = dream.Service.ceph_rgw("http://localhost:7480", region="rgw-1")
    with machine(**AWS_KEYS, DREAMOBJECTS_ENDPOINT_URL=HOST, AWS_ENDPOINT_URL_S3=HOST, AWS_DEFAULT_REGION="aws-1"):
        async with dream.Session(service=rgw) as session:
            assert session.service == rgw
        async with dream.Session(service=rgw, endpoint="https://rgw.example", region="mine-1") as session:
            assert session.service == dream.Service.ceph_rgw("https://rgw.example", region="mine-1")


def test_a_given_services_region_is_an_argument_and_beats_variables() -> None:
    with machine(DREAMOBJECTS_REGION="us-east-005"):
        assert dream.Session(service=dream.Service.amazon_s3("eu-central-1")).service.region == "eu-central-1"


@pytest.mark.parametrize(
    ("endpoint", "region"),
    [
        (US_EAST_5, "us-east-005"),
        ("https://s3.eu-west-1.amazonaws.com", "eu-west-1"),
        ("https://s3.us-west-004.backblazeb2.com", "us-west-004"),
        (HOST, "aws-1"),
    ],
)
async def test_a_host_that_tells_its_region_is_believed_more_than_the_aws_variable(endpoint: str, region: str) -> None:
    with machine(**AWS_KEYS, AWS_ENDPOINT_URL_S3=endpoint, AWS_DEFAULT_REGION="aws-1"):
        async with dream.Session() as session:
            assert signs_as(session) == ("AWS", region)


def test_what_is_known_of_the_service_is_known_before_opening() -> None:
    assert dream.Session(endpoint=HOST).service.endpoint == HOST
    assert dream.Session(service=dream.US_EAST_5).service == dream.US_EAST_5
    assert dream.Session(endpoint=f"{HOST}/", region="mine-1").service.region == "mine-1"
    with pytest.raises(dream.SessionClosedError, match="settled when it opens"):
        _ = dream.Session().service


@pytest.mark.parametrize("endpoint", ["minio.example", f"{HOST}/a/../b", "https://key:secret@minio.example", "ftp://x"])
async def test_what_is_no_endpoint_is_refused_wherever_it_comes_from(endpoint: str) -> None:
    with pytest.raises(ValueError, match="endpoint"):
        dream.Session(endpoint=endpoint)
    with machine(DREAMOBJECTS_ENDPOINT_URL=endpoint), pytest.raises(ValueError, match="endpoint"):
        dream.Session()
    with machine(**AWS_KEYS, AWS_ENDPOINT_URL_S3=endpoint), pytest.raises(ValueError, match="endpoint"):
        await dream.Session().open()


async def test_a_closed_cluster_is_refused_and_the_current_one_named() -> None:
    closed = "https://objects-us-west-1.dream.io"
    with pytest.raises(ValueError, match=f"closed on 2018-10-01; use {US_EAST_5}"):
        dream.Session(endpoint=closed)
    with machine(DREAMOBJECTS_ENDPOINT_URL=closed), pytest.raises(ValueError, match=f"use {US_EAST_5}"):
        dream.Session()
    with machine(**AWS_KEYS, AWS_ENDPOINT_URL=closed), pytest.raises(ValueError, match=f"use {US_EAST_5}"):
        await dream.Session().open()


@pytest.mark.parametrize("region", ["x@evil:443/#", "eu west", "eu-west-1\n"])
def test_a_region_that_is_none_is_refused(region: str) -> None:
    with pytest.raises(ValueError, match="region"):
        dream.Session(endpoint=HOST, region=region)
    with machine(DREAMOBJECTS_REGION=region), pytest.raises(ValueError, match="region"):
        dream.Session(endpoint=HOST)


# Credentials that are missing


@pytest.mark.parametrize(
    ("arguments", "environment", "credentials", "missing"),
    [
        ({"access_key": "AK"}, AWS_KEYS, "", "secret_key="),
        ({"secret_key": "hunter2"}, AWS_KEYS, "", "access_key="),
        ({"session_token": "hunter2"}, AWS_KEYS, "", "access_key="),
        ({"access_key": "AK", "session_token": "hunter2"}, DREAM_KEYS, "", "secret_key="),
        ({}, {"DREAMOBJECTS_ACCESS_KEY_ID": "AK", **AWS_KEYS}, "", "DREAMOBJECTS_SECRET_ACCESS_KEY is not"),
        ({}, {"DREAMOBJECTS_SECRET_ACCESS_KEY": "hunter2", **AWS_KEYS}, "", "DREAMOBJECTS_ACCESS_KEY_ID is not"),
        ({}, {"AWS_ACCESS_KEY_ID": "AK"}, "", "AWS_SECRET_ACCESS_KEY"),
        ({}, {"AWS_SECRET_ACCESS_KEY": "hunter2"}, "", "AWS_ACCESS_KEY_ID"),
        ({}, {}, "[default]\naws_access_key_id = AK\n", "aws_secret_access_key"),
        ({"profile": "work"}, {}, "[work]\naws_access_key_id = AK\n", "aws_secret_access_key"),
    ],
)
async def test_half_of_the_credentials_is_refused_and_the_other_half_named(
    arguments: Any, environment: dict[str, str], credentials: str, missing: str
) -> None:
    with machine(credentials=credentials, **environment):
        session = dream.Session(endpoint=HOST, **arguments)
        with pytest.raises(dream.CredentialsError) as refusal:
            await session.open()
    assert missing in str(refusal.value)
    assert "hunter2" not in str(refusal.value) + repr(session)


async def test_no_credentials_is_an_error_that_names_every_place_it_looked_at() -> None:
    with pytest.raises(dream.CredentialsError, match="no credentials found") as refusal:
        await dream.Session().open()
    for place in (
        "access_key=",
        "secret_key=",
        "DREAMOBJECTS_ACCESS_KEY_ID",
        "DREAMOBJECTS_SECRET_ACCESS_KEY",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "profile 'default'",
        "~/.aws/credentials",
        "~/.aws/config",
    ):
        assert place in str(refusal.value)


@pytest.mark.parametrize(
    ("profile", "environment"),
    [("work", {}), (None, {"DREAMOBJECTS_PROFILE": "work"}), (None, {"AWS_PROFILE": "work"})],
)
async def test_a_profile_without_credentials_is_named(profile: str | None, environment: dict[str, str]) -> None:
    with (
        machine(config="[profile work]\nregion = here-1\n", **environment),
        pytest.raises(dream.CredentialsError, match="profile 'work'"),
    ):
        await dream.Session(profile).open()


@pytest.mark.parametrize(
    ("profile", "environment"),
    [("nowhere", AWS_KEYS), (None, {"DREAMOBJECTS_PROFILE": "nowhere"}), (None, {"AWS_PROFILE": "nowhere"})],
)
async def test_a_profile_that_is_not_there_is_named(profile: str | None, environment: dict[str, str]) -> None:
    with (
        machine(credentials=FILE_KEYS("default", "AK", "SK"), **environment),
        pytest.raises(dream.CredentialsError, match=r"nowhere.*~/\.aws/config"),
    ):
        await dream.Session(profile).open()


async def test_a_session_can_be_opened_once_its_credentials_are_there() -> None:
    session = dream.Session(endpoint=HOST)
    with pytest.raises(dream.CredentialsError):
        await session.open()
    assert "not open" in repr(session)
    with machine(**AWS_KEYS):
        async with session:
            assert signs_as(session)[0] == "AWS"


async def test_a_program_can_hand_out_the_credentials(bare_machine: Path) -> None:
    answer = {"Version": 1, "AccessKeyId": "PROGRAM", "SecretAccessKey": "program-secret", "SessionToken": "t"}
    program = bare_machine / "program.py"
    program.write_text(f"print({json.dumps(json.dumps(answer))})", encoding="utf-8")
    with machine(config=f"[default]\ncredential_process = {sys.executable} {program}\n"):
        async with dream.Session(endpoint=HOST) as session:
            assert_signs_with(session, Credentials("PROGRAM", "program-secret", "t"))


# A session of aioboto3's


def from_aioboto3() -> aioboto3.Session:
    return aioboto3.Session(aws_access_key_id="GIVEN", aws_secret_access_key="given-secret", region_name="given-1")


def from_aiobotocore() -> object:
    session = get_session()
    session.set_credentials("GIVEN", "given-secret")
    session.set_config_variable("region", "given-1")
    return session


@pytest.mark.parametrize("make", [from_aioboto3, from_aiobotocore])
async def test_a_boto_session_brings_its_credentials_and_settings(make: Callable[[], Any]) -> None:
    with machine(**DREAM_KEYS, **AWS_KEYS, DREAMOBJECTS_PROFILE="nowhere", AWS_ENDPOINT_URL_S3=HOST):
        async with dream.Session(boto_session=make()) as session:
            assert session.service.endpoint == HOST
            assert session.service.region == "given-1"
            assert_signs_with(session, Credentials("GIVEN", "given-secret"))


@pytest.mark.parametrize("make", [from_aioboto3, from_aiobotocore])
async def test_arguments_beat_a_boto_session(make: Callable[[], Any]) -> None:
    async with dream.Session(**KEYS, endpoint=HOST, region="mine-1", boto_session=make()) as session:  # type: ignore[arg-type]  # all of them are text
        assert signs_as(session) == ("ARGUMENT", "mine-1")


async def test_a_boto_session_has_its_own_profile() -> None:
    with machine(credentials=FILE_KEYS("work", "WORK", "s")):
        async with dream.Session(boto_session=aioboto3.Session(profile_name="work"), endpoint=HOST) as session:
            assert signs_as(session)[0] == "WORK"
    with pytest.raises(ValueError, match="not both"):
        dream.Session("work", boto_session=from_aioboto3())


async def test_a_boto_session_without_credentials_is_refused() -> None:
    with pytest.raises(dream.CredentialsError, match="no credentials found"):
        await dream.Session(boto_session=aioboto3.Session(), endpoint=HOST).open()


async def test_the_boto_client_has_the_sessions_settings() -> None:
    async with dream.Session(access_key="AK", secret_key="SK", endpoint=HOST, region="mine-1") as session:
        client = await session.boto_client()
        assert (client.meta.endpoint_url, client.meta.region_name) == (HOST, "mine-1")


# Certificates


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(path))
    return path


@pytest.fixture
def garbage(tmp_path: Path) -> Path:
    path = tmp_path / "garbage.pem"
    path.write_text("no certificate at all", encoding="utf-8")
    return path


def session_with_keys(**arguments: Any) -> dream.Session:
    return dream.Session(access_key="AK", secret_key="SK", endpoint=HOST, **arguments)


async def test_a_certificate_bundle_that_is_not_there_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "missing.pem"
    with pytest.raises(FileNotFoundError) as refusal:
        await session_with_keys(ca=missing).open()
    assert refusal.value.filename == str(missing)
    with machine(AWS_CA_BUNDLE=str(missing)), pytest.raises(FileNotFoundError) as refusal:
        await session_with_keys().open()
    assert refusal.value.filename == str(missing)


async def test_a_certificate_bundle_without_certificates_is_named(garbage: Path) -> None:
    with pytest.raises(ValueError, match=r"garbage\.pem.*holds no PEM certificate"):
        await session_with_keys(ca=str(garbage)).open()
    with machine(AWS_CA_BUNDLE=str(garbage)), pytest.raises(ValueError, match="holds no PEM certificate"):
        await session_with_keys().open()
    with (
        machine(config=f"[default]\nca_bundle = {garbage}\n"),
        pytest.raises(ValueError, match="holds no PEM certificate"),
    ):
        await session_with_keys().open()


async def test_the_argument_beats_the_variable_for_certificates(bundle: Path, garbage: Path) -> None:
    with machine(AWS_CA_BUNDLE=str(garbage)):
        async with session_with_keys(ca=bundle) as session:
            assert presigned(session)
    with machine(AWS_CA_BUNDLE=str(bundle)):
        async with session_with_keys() as session:
            assert presigned(session)
        with pytest.raises(ValueError, match="holds no PEM certificate"):
            await session_with_keys(ca=garbage).open()


async def test_a_session_that_could_not_open_is_not_open(garbage: Path) -> None:
    session = session_with_keys(ca=garbage)
    with pytest.raises(ValueError, match="holds no PEM certificate"):
        await session.open()
    assert "not open" in repr(session)
    with pytest.raises(dream.SessionClosedError):
        session.statistics()
    await session.aclose()


# Before, after and twice

Verb = Callable[[dream.Session], Awaitable[object]]


async def at_once(value: object) -> object:
    return value


async def enter(body: Any) -> None:
    async with body:
        pass


def bucket(session: dream.Session) -> dream.Bucket:
    return session.bucket("photos-2026")


def cat(session: dream.Session) -> dream.Object:
    return bucket(session).object("cat.jpg")


VERBS: dict[str, Verb] = {
    "session.buckets": lambda session: session.buckets().collect(),
    "session.create_bucket": lambda session: session.create_bucket("photos-2026"),
    "session.statistics": lambda session: at_once(session.statistics()),
    "session.boto_client": lambda session: session.boto_client(),
    "bucket.create": lambda session: bucket(session).create(),
    "bucket.exists": lambda session: bucket(session).exists(),
    "bucket.info": lambda session: bucket(session).info(),
    "bucket.delete": lambda session: bucket(session).delete(),
    "bucket.delete by force": lambda session: bucket(session).delete(force=True),
    "bucket.empty": lambda session: bucket(session).empty(),
    "bucket.acl": lambda session: bucket(session).acl(),
    "bucket.set_acl": lambda session: bucket(session).set_acl("private"),
    "bucket.list": lambda session: bucket(session).list().collect(),
    "bucket.list_dir": lambda session: bucket(session).list_dir().collect(),
    "bucket.list_versions": lambda session: bucket(session).list_versions().collect(),
    "bucket.uploads": lambda session: bucket(session).uploads().collect(),
    "bucket.delete_many": lambda session: bucket(session).delete_many(["cat.jpg"]),
    "bucket.delete_many of none": lambda session: bucket(session).delete_many([]),
    "bucket.cors": lambda session: bucket(session).cors(),
    "bucket.set_policy": lambda session: bucket(session).set_policy({}),
    "bucket.delete_tags": lambda session: bucket(session).delete_tags(),
    "object.put": lambda session: cat(session).put(b""),
    "object.read": lambda session: cat(session).read(),
    "object.read_text": lambda session: cat(session).read_text(),
    "object.get": lambda session: enter(cat(session).get()),
    "object.download": lambda session: cat(session).download("/nowhere/cat.jpg"),
    "object.head": lambda session: cat(session).head(),
    "object.exists": lambda session: cat(session).exists(),
    "object.delete": lambda session: cat(session).delete(),
    "object.acl": lambda session: cat(session).acl(),
    "object.set_acl": lambda session: cat(session).set_acl("private"),
    "object.tags": lambda session: cat(session).tags(),
    "object.set_tags": lambda session: cat(session).set_tags({}),
    "object.presign_get": lambda session: at_once(cat(session).presign_get()),
    "object.presign_put": lambda session: at_once(cat(session).presign_put()),
    "object.presign_post": lambda session: at_once(cat(session).presign_post()),
}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def closed() -> AsyncIterator[dream.Session]:
    with machine():
        session = session_with_keys()
        async with session:
            pass
        yield session


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS.keys())
async def test_every_verb_is_refused_before_opening(verb: Verb) -> None:
    for session in (dream.Session(), session_with_keys()):
        with pytest.raises(dream.SessionClosedError, match="not open"):
            await verb(session)


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS.keys())
async def test_every_verb_is_refused_after_closing(closed: dream.Session, verb: Verb) -> None:
    with pytest.raises(dream.SessionClosedError, match="not open"):
        await verb(closed)


def test_names_can_be_made_before_opening_and_after_closing(closed: dream.Session) -> None:
    for session in (dream.Session(), session_with_keys(), closed):
        assert session.bucket("photos").name == "photos"
        assert session.object("s3://photos/cat.jpg") == session.bucket("photos").object("cat.jpg")
        with pytest.raises(ValueError, match="bucket name 'My_Photos' is impossible here"):
            session.bucket("My_Photos")
        with pytest.raises(ValueError, match="bucket name 'My_Photos' is impossible here"):
            session.object("s3://My_Photos/cat.jpg")


def test_a_name_is_judged_by_the_service_where_that_is_known() -> None:
    with pytest.raises(ValueError, match="6 to 63"):
        dream.Session(endpoint=US_EAST_5).bucket("cats")
    assert dream.Session(endpoint=HOST).bucket("cats").name == "cats"


def test_an_unsigned_url_needs_no_open_session(closed: dream.Session) -> None:
    for session in (session_with_keys(), closed):
        assert session.object("s3://photos/cat.jpg").url() == f"{HOST}/photos/cat.jpg"
    with pytest.raises(dream.SessionClosedError):
        dream.Session().object("s3://photos/cat.jpg").url()


async def test_names_made_before_opening_work_once_it_is_open() -> None:
    session = session_with_keys()
    early = session.object("s3://photos/cat.jpg")
    async with session:
        assert early.presign_get()


async def test_a_session_opens_once() -> None:
    session = session_with_keys()
    async with session:
        with pytest.raises(dream.SessionClosedError, match="opened before"):
            await session.open()
        assert presigned(session)
    with pytest.raises(dream.SessionClosedError, match="opened before"):
        await session.open()
    with pytest.raises(dream.SessionClosedError, match="opened before"):
        async with session:
            pass


async def test_a_session_opens_once_even_for_two_tasks_at_the_same_moment() -> None:
    session = session_with_keys()
    results = await asyncio.gather(session.open(), session.open(), return_exceptions=True)
    await session.aclose()
    gc.collect()  # what a second opening left behind is reported here
    assert sorted(type(result).__name__ for result in results) == ["Session", "SessionClosedError"]


async def test_closing_twice_is_closing_once() -> None:
    session = await session_with_keys().open()
    await session.aclose()
    await session.aclose()
    await asyncio.gather(session.aclose(), session.aclose())
    assert repr(session).endswith(", closed>")


async def test_closing_a_session_that_never_opened_does_nothing() -> None:
    session = session_with_keys()
    await session.aclose()
    assert repr(session).endswith(", not open>")


async def test_opening_sends_nothing() -> None:
    connections = 0

    def count(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        writer.close()

    async with await asyncio.start_server(count, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        endpoint = f"http://127.0.0.1:{port}"
        retry = dream.Retry(attempts=1)
        async with dream.Session(access_key="AK", secret_key="SK", endpoint=endpoint, retry=retry) as session:
            assert presigned(session).startswith(f"{endpoint}/")
            assert (connections, session.statistics().requests) == (0, 0)
            with pytest.raises(dream.ConnectionFailedError):
                await session.buckets().collect()
            assert connections, "the server of this test does count"


async def test_no_repr_shows_a_secret() -> None:
    secret, token = "hunter2/hunter2", "token3/token3"
    session = dream.Session(access_key="AK", secret_key=secret, session_token=token, endpoint=HOST)
    for state in ("not open", "open", "closed"):
        if state == "open":
            await session.open()
        if state == "closed":
            await session.aclose()
        assert repr(session) == f"<Session to {HOST}, {state}>"
        for shown in (repr(session), str(session), repr(bucket(session)), repr(cat(session)), repr(session.service)):
            assert secret not in shown
            assert token not in shown
    assert repr(dream.Session()) == "<Session to a service not settled yet, not open>"


async def test_two_sessions_live_side_by_side() -> None:
    async with (
        dream.Session(access_key="ONE", secret_key="1", endpoint=HOST, region="one-1") as one,
        dream.Session(access_key="TWO", secret_key="2", endpoint=US_EAST_5) as two,
    ):
        assert signs_as(one) == ("ONE", "one-1")
        assert signs_as(two) == ("TWO", "us-east-005")
        assert bucket(one) != bucket(two)
