"""Signatures: the published vectors, and botocore's signers over whatever Hypothesis thinks up."""

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime
from types import SimpleNamespace
from typing import Any
from unittest import mock
from urllib.parse import parse_qsl, quote, urlsplit

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials
from hypothesis import given
from hypothesis import strategies as st

from aiodreamobjects._config import Credentials
from aiodreamobjects._s3 import signing
from aiodreamobjects._service import Service, quote_key

Condition = dict[str, str] | list[str | int]

# Strategies

PRINTABLE = st.characters(min_codepoint=0x20, max_codepoint=0x7E)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
ODD_KEYS = ("a//b", "/a", "a/", "./a", "a/../b", " ", "a+b", "%2F", "a?b#c&d=e", "~-_.", "ü/日本/😀", "\x00\r\n\x7f")
KEYS = TEXT | st.sampled_from(ODD_KEYS)
WORDS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=12)
TIDY_VALUES = st.lists(WORDS, min_size=1, max_size=3).map(" ".join)
"""Header values that every signer writes down as they are."""
REGIONS = st.from_regex(r"[A-Za-z0-9_-]{1,20}", fullmatch=True)
CREDENTIALS = st.builds(
    Credentials,
    access_key=st.from_regex(r"[A-Za-z0-9]{1,30}", fullmatch=True),
    secret_key=st.text(PRINTABLE, min_size=1, max_size=40),
    session_token=st.none() | st.from_regex(r"[A-Za-z0-9+/=]{1,60}", fullmatch=True),
)
TIMES = st.datetimes(
    datetime(1990, 1, 1),  # noqa: DTZ001 - Hypothesis adds the time zone
    datetime(2100, 1, 1),  # noqa: DTZ001 - the same
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=-9, minutes=-30)), timezone(timedelta(hours=14))]),
)
RESPONSE_QUERIES = st.dictionaries(
    st.sampled_from(
        ["versionId", "response-content-disposition", "response-content-type", "response-expires", "uploadId", "other"]
    ),
    TEXT,
)
SERVICES = st.sampled_from(
    [
        Service.for_endpoint("https://s3.us-east-005.dream.io"),
        Service.amazon_s3("eu-central-1"),
        Service.ceph_rgw("http://localhost:7480"),
        Service.ceph_rgw("https://[::1]:8443"),
    ]
)


def header_sets(values: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, str]]:
    names = ["Content-Type", "content-md5", "cache-control", "x-amz-acl", "X-Amz-Meta-Mixed", "x-amz-meta-a", "range"]
    return st.dictionaries(st.sampled_from(names), values)


def requests(
    headers: st.SearchStrategy[dict[str, str]], queries: st.SearchStrategy[dict[str, str]]
) -> st.SearchStrategy[signing.Request]:
    return st.builds(
        make_request, SERVICES, st.sampled_from(["GET", "PUT", "HEAD", "DELETE", "POST"]), KEYS, queries, headers
    )


def make_request(
    service: Service, method: str, key: str, query: Mapping[str, str], headers: Mapping[str, str]
) -> signing.Request:
    host, path = service.locate("my-bucket", key)
    resource = f"/my-bucket/{quote_key(key)}"
    return signing.Request(method, service.scheme, host, path, resource, query, headers)


# botocore, with our clock


@contextmanager
def botocore_clock(now: datetime) -> Iterator[None]:
    now = now.astimezone(UTC)
    with (
        mock.patch.object(botocore.auth, "get_current_datetime", return_value=now),
        mock.patch.object(botocore.auth, "formatdate", lambda usegmt: format_datetime(now, usegmt=usegmt)),
        mock.patch.object(botocore.auth, "time", SimpleNamespace(time=now.timestamp)),
    ):
        yield


def boto_credentials(credentials: Credentials) -> BotoCredentials:
    return BotoCredentials(credentials.access_key, credentials.secret_key, credentials.session_token)


def boto_request(request: signing.Request, *, query_in_url: bool = False, body: bytes = b"") -> AWSRequest:
    url = f"{request.scheme}://{request.host}{request.path}"
    if query_in_url and request.query:
        url += "?" + "&".join(f"{name}={quote(value, safe='')}" for name, value in request.query.items())
    return AWSRequest(
        request.method,
        url,
        headers=dict(request.headers),
        data=body,
        params={} if query_in_url else dict(request.query),
        auth_path=request.resource,
    )


def take_apart(url: str) -> tuple[str, dict[str, str]]:
    """The URL up to its query, and the query's parameters."""
    parts = urlsplit(url)
    pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True)
    assert len(dict(pairs)) == len(pairs), "no parameter comes twice"
    return f"{parts.scheme}://{parts.netloc}{parts.path}", dict(pairs)


# Version 4


@given(
    requests(
        header_sets(st.text(PRINTABLE, max_size=20)), RESPONSE_QUERIES | st.dictionaries(TEXT, TEXT | st.just(""))
    ),
    CREDENTIALS,
    REGIONS,
    TIMES,
    st.integers(1, signing.V4_LONGEST_PRESIGN),
)
def test_a_v4_url_is_the_one_that_botocore_makes(
    request: signing.Request, credentials: Credentials, region: str, now: datetime, expires_in: int
) -> None:
    ours = signing.Signer(credentials, region).presign(request, now.timestamp(), expires_in)
    theirs = boto_request(request)
    with botocore_clock(now):
        botocore.auth.S3SigV4QueryAuth(boto_credentials(credentials), "s3", region, expires_in).add_auth(theirs)
    assert take_apart(ours) == take_apart(theirs.url)


def signed(signer: signing.Signer, request: signing.Request, now: float, *payload_hash: str) -> dict[str, str]:
    """Return the headers of the signed request."""
    lines = signer.sign(request, signing.canonical_query(request.query), now, *payload_hash)
    return dict(line.split(": ", 1) for line in lines.split("\r\n")[:-1])


@given(
    requests(header_sets(st.text(PRINTABLE, max_size=20)), st.dictionaries(TEXT, TEXT | st.just(""))),
    CREDENTIALS,
    REGIONS,
    TIMES,
    st.binary(max_size=20),
)
def test_v4_headers_are_those_that_botocore_sends(
    request: signing.Request, credentials: Credentials, region: str, now: datetime, body: bytes
) -> None:
    ours = signed(signing.Signer(credentials, region), request, now.timestamp(), hashlib.sha256(body).hexdigest())
    theirs = boto_request(request, body=body)
    with botocore_clock(now):
        botocore.auth.S3SigV4Auth(boto_credentials(credentials), "s3", region).add_auth(theirs)
    sent = {name.lower(): value for name, value in theirs.headers.items()} | {"host": request.host}
    assert ours == sent


@given(SERVICES, st.sampled_from(["GET", "HEAD", "DELETE"]), KEYS, RESPONSE_QUERIES, CREDENTIALS, REGIONS, TIMES)
def test_a_request_without_headers_is_signed_the_same_by_the_short_way(
    service: Service,
    method: str,
    key: str,
    query: dict[str, str],
    credentials: Credentials,
    region: str,
    now: datetime,
) -> None:
    signer = signing.Signer(Credentials(credentials.access_key, credentials.secret_key), region)
    request = make_request(service, method, key, query, {})
    for moment in (now.timestamp(), now.timestamp() + 0.5, now.timestamp() + 90_000):
        asked = signing.canonical_query(query)
        lines = signer.sign(request, asked, moment, "hash")
        assert signer.sign_bare(method, request.host, request.path, asked, moment, "hash") == lines


def test_a_v4_signature_says_so_when_it_leaves_the_payload_out() -> None:
    # Over https, botocore leaves the payload out only where there is a digest.
    request = example("PUT", "/test.txt", headers={"Content-MD5": "1B2M2Y8AsgTpgAmY7PhCfg=="})
    headers = signed(EXAMPLE_SIGNER, request, EXAMPLE_DAY.timestamp())
    theirs = boto_request(request)
    theirs.context["payload_signing_enabled"] = False
    with botocore_clock(EXAMPLE_DAY):
        botocore.auth.S3SigV4Auth(boto_credentials(EXAMPLE), "s3", "us-east-1").add_auth(theirs)
    assert headers["x-amz-content-sha256"] == "UNSIGNED-PAYLOAD"
    assert headers["authorization"] == theirs.headers["Authorization"]


def test_a_v4_url_lives_for_seven_days_at_most() -> None:
    request = example("GET", "/test.txt")
    assert "X-Amz-Expires=604800&" in EXAMPLE_SIGNER.presign(request, EXAMPLE_DAY.timestamp(), 604_800)
    with pytest.raises(ValueError, match="604801 is over 7 days"):
        EXAMPLE_SIGNER.presign(request, EXAMPLE_DAY.timestamp(), 604_801)


# Amazon S3 API reference, "Signature Calculations for the Authorization Header: Transferring Payload in a Single
# Chunk" and "Authenticating Requests: Using Query Parameters": the examples.
EXAMPLE = Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
EXAMPLE_DAY = datetime(2013, 5, 24, tzinfo=UTC)
EXAMPLE_SIGNER = signing.Signer(EXAMPLE, "us-east-1")


def example(
    method: str, path: str, query: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
) -> signing.Request:
    host = "examplebucket.s3.amazonaws.com"
    return signing.Request(method, "https", host, path, f"/examplebucket{path}", query or {}, headers or {})


@pytest.mark.parametrize(
    ("request_", "body", "signature"),
    [
        pytest.param(
            example("GET", "/test.txt", headers={"Range": "bytes=0-9"}),
            b"",
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
            id="GET object",
        ),
        pytest.param(
            example(
                "PUT",
                "/test%24file.text",
                headers={"Date": "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class": "REDUCED_REDUNDANCY"},
            ),
            b"Welcome to Amazon S3.",
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
            id="PUT object",
        ),
        pytest.param(
            example("GET", "/", {"lifecycle": ""}),
            b"",
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
            id="GET bucket lifecycle",
        ),
        pytest.param(
            example("GET", "/", {"max-keys": "2", "prefix": "J"}),
            b"",
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
            id="GET bucket",
        ),
    ],
)
def test_the_headers_of_the_s3_api_reference_come_out(request_: signing.Request, body: bytes, signature: str) -> None:
    headers = signed(EXAMPLE_SIGNER, request_, EXAMPLE_DAY.timestamp(), hashlib.sha256(body).hexdigest())
    assert headers["authorization"].endswith(f", Signature={signature}")


def test_the_url_of_the_s3_api_reference_comes_out() -> None:
    url = EXAMPLE_SIGNER.presign(example("GET", "/test.txt"), EXAMPLE_DAY.timestamp(), 86_400)
    assert url == (
        "https://examplebucket.s3.amazonaws.com/test.txt"
        "?X-Amz-Algorithm=AWS4-HMAC-SHA256"
        "&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request"
        "&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
        "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
    )


# Version 2


@given(requests(header_sets(TIDY_VALUES), RESPONSE_QUERIES), CREDENTIALS, TIMES, st.integers(1, 10**9))
def test_a_v2_url_has_the_signature_that_botocore_gives_it(
    request: signing.Request, credentials: Credentials, now: datetime, expires_in: int
) -> None:
    ours = signing.presign_v2(request, credentials, now.timestamp(), expires_in)
    theirs = botocore_presigned_v2(request, credentials, now, expires_in)
    # botocore writes the headers into the URL as well, where no service looks for them.
    where, query = take_apart(theirs)
    sent_as_headers = {name.lower() for name in request.headers}
    assert take_apart(ours) == (where, {name: value for name, value in query.items() if name not in sent_as_headers})


@given(requests(header_sets(TIDY_VALUES), RESPONSE_QUERIES), CREDENTIALS, TIMES)
def test_v2_headers_are_those_that_botocore_sends(
    request: signing.Request, credentials: Credentials, now: datetime
) -> None:
    ours = signing.sign_v2(request, credentials, now.timestamp())
    theirs = boto_request(request, query_in_url=True)
    with botocore_clock(now):
        botocore.auth.HmacV1Auth(boto_credentials(credentials)).add_auth(theirs)
    assert ours == {name.lower(): value for name, value in theirs.headers.items()}


@pytest.mark.parametrize("name", ["x-amz-meta-caption", "content-type"])
@pytest.mark.parametrize("value", ["two  spaces", " at the edges "])
def test_a_v2_signature_trims_a_header_value_and_leaves_its_inside_alone(name: str, value: str) -> None:
    """Only line folds become one space ("Constructing the CanonicalizedAmzHeaders Element"), and there are none."""
    request = make_request(Service.ceph_rgw("https://rgw.example"), "PUT", "hello.txt", {}, {name: value})
    ours = signing.presign_v2(request, EXAMPLE, EXAMPLE_DAY.timestamp(), 3600)
    theirs = botocore_presigned_v2(request, EXAMPLE, EXAMPLE_DAY, 3600)
    assert take_apart(ours)[1]["Signature"] == take_apart(theirs)[1]["Signature"]


@pytest.mark.parametrize("name", ["acl", "tagging", "uploads"])
def test_a_v2_subresource_without_a_value_is_signed_without_an_equals_sign(name: str) -> None:
    ours = make_request(Service.ceph_rgw("https://rgw.example"), "GET", "hello.txt", {name: ""}, {})
    theirs = AWSRequest("GET", f"https://rgw.example/my-bucket/hello.txt?{name}", auth_path="/my-bucket/hello.txt")
    with botocore_clock(EXAMPLE_DAY):
        botocore.auth.HmacV1Auth(boto_credentials(EXAMPLE)).add_auth(theirs)
    assert signing.sign_v2(ours, EXAMPLE, EXAMPLE_DAY.timestamp())["authorization"] == theirs.headers["Authorization"]


def botocore_presigned_v2(request: signing.Request, credentials: Credentials, now: datetime, expires_in: int) -> str:
    theirs = boto_request(request, query_in_url=True)
    with botocore_clock(now):
        botocore.auth.HmacV1QueryAuth(boto_credentials(credentials), expires_in).add_auth(theirs)
    return str(theirs.url)


@pytest.mark.parametrize(
    ("method", "key", "query", "headers", "signature"),
    [
        ("GET", "hello.txt", {}, {}, "PUK%2FISgII5Mo8FGd4jUvfrWXJFU%3D"),
        ("GET", "a dir/ü+~x.txt", {}, {}, "Rr2IwbHC%2FFQQpZclpYFZWZcjzLQ%3D"),
        ("GET", "weird&?#=%.txt", {}, {}, "9JTlQYtE84b1HQl37LR5BLOC%2B9w%3D"),
        ("GET", "hello.txt", {"versionId": "v1"}, {}, "CoObOrxKv5gy9qME27LFXQlLCE0%3D"),
        (
            "GET",
            "hello.txt",
            {"response-content-disposition": 'attachment; filename="x y.txt"'},
            {},
            "uwhR5bGaFryi8tC7DYK69qAdJh0%3D",
        ),
        (
            "PUT",
            "hello.txt",
            {},
            {"Content-Type": "text/plain", "x-amz-acl": "public-read"},
            "sv0vSYMaobJ3x%2FJ5zM7KbGoVzWc%3D",
        ),
    ],
)
@pytest.mark.parametrize("addressing", ["path", "virtual"])
def test_v2_urls_are_those_that_boto_2_made(
    addressing: Any,
    method: str,
    key: str,
    query: dict[str, str],
    headers: dict[str, str],
    signature: str,
) -> None:
    service = Service.ceph_rgw("http://objects.example", addressing=addressing)
    url = signing.presign_v2(
        make_request(service, method, key, query, headers),
        Credentials("AKEXAMPLE", "secretEXAMPLE"),
        1_700_000_000,
        3600,
    )
    assert f"Signature={signature}" in url.partition("?")[2].split("&")
    assert take_apart(url)[1] == query | {
        "AWSAccessKeyId": "AKEXAMPLE",
        "Expires": "1700003600",
        "Signature": take_apart(url)[1]["Signature"],
    }


# Browser forms

CONDITIONS = st.lists(
    st.sampled_from(["acl", "Content-Type", "x-amz-meta-tag", "success_action_redirect"]).flatmap(
        lambda name: st.fixed_dictionaries({name: TEXT})
    )
    | st.tuples(
        st.sampled_from(["eq", "starts-with"]), st.sampled_from(["$Content-Type", "$x-amz-meta-tag"]), TEXT
    ).map(list)
    | st.tuples(st.just("content-length-range"), st.integers(0, 9), st.integers(9, 10**12)).map(list),
    max_size=4,
)


@given(KEYS, CONDITIONS, CREDENTIALS, REGIONS, TIMES, st.integers(1, 604_800), st.sampled_from(["v4", "v2"]))
def test_a_browser_form_is_the_one_that_botocore_makes(
    key: str,
    conditions: Sequence[Condition],
    credentials: Credentials,
    region: str,
    now: datetime,
    expires_in: int,
    signature: Any,
) -> None:
    ours = signing.post_form(
        "my-bucket", key, conditions, credentials, region, now.timestamp(), expires_in, signature=signature
    )
    asked_fields = {name: value for asked in conditions if isinstance(asked, dict) for name, value in asked.items()}
    theirs = botocore_form(
        {"key": key} | asked_fields,
        {
            "expiration": f"{now.astimezone(UTC) + timedelta(seconds=expires_in):%Y-%m-%dT%H:%M:%SZ}",
            "conditions": [{"bucket": "my-bucket"}, {"key": key}, *conditions],
        },
        botocore_signer(credentials, region, signature),
        now,
    )
    assert policy_of(ours) == policy_of(theirs)
    signed = {"policy", "signature", "x-amz-signature"}
    assert ours.keys() == theirs.keys()
    assert [ours[name] for name in ours.keys() - signed] == [theirs[name] for name in ours.keys() - signed]


@given(KEYS, CONDITIONS, CREDENTIALS, REGIONS, TIMES)
def test_a_browser_form_has_the_signature_that_botocore_gives_its_policy(
    key: str, conditions: Sequence[Condition], credentials: Credentials, region: str, now: datetime
) -> None:
    v4 = signing.post_form("my-bucket", key, conditions, credentials, region, now.timestamp(), 60, signature="v4")
    stamped = SimpleNamespace(context={"timestamp": v4["x-amz-date"]})
    v4_signer = botocore_signer(credentials, region, "v4")
    assert v4["x-amz-signature"] == v4_signer.signature(v4["policy"], stamped)

    v2 = signing.post_form("my-bucket", key, conditions, credentials, region, now.timestamp(), 60, signature="v2")
    v2_signer = botocore_signer(credentials, region, "v2")
    assert v2["signature"] == v2_signer.sign_string(v2["policy"])


def test_a_browser_form_demands_what_it_was_told_to() -> None:
    conditions: list[Condition] = [
        {"acl": "public-read"},
        ["starts-with", "$Content-Type", "image/"],
        ["content-length-range", 0, 5],
    ]
    fields = signing.post_form(
        "photos", "cat.jpg", conditions, EXAMPLE, "r", EXAMPLE_DAY.timestamp(), 90, signature="v2"
    )
    assert policy_of(fields) == {
        "expiration": "2013-05-24T00:01:30Z",
        "conditions": [{"bucket": "photos"}, {"key": "cat.jpg"}, *conditions],
    }
    assert fields.keys() == {"key", "acl", "policy", "AWSAccessKeyId", "signature"}
    assert fields["acl"] == "public-read"


def policy_of(fields: Mapping[str, str]) -> Any:
    return json.loads(base64.b64decode(fields["policy"], validate=True))


def botocore_signer(credentials: Credentials, region: str, signature: str) -> Any:
    if signature == "v4":
        return botocore.auth.S3SigV4PostAuth(boto_credentials(credentials), "s3", region)
    return botocore.auth.HmacV1PostAuth(boto_credentials(credentials))


def botocore_form(fields: dict[str, str], policy: dict[str, Any], signer: Any, now: datetime) -> dict[str, str]:
    request = AWSRequest("POST", "https://s3.example/my-bucket")
    request.context["s3-presign-post-fields"] = fields
    request.context["s3-presign-post-policy"] = policy
    with botocore_clock(now):
        signer.add_auth(request)
    return fields
