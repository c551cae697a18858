"""Values: what is checked when one is made, what they say of themselves, and the errors and names people import."""

import ast
import copy
import dataclasses
import errno
import inspect
import json
import math
import pickle
import pkgutil
import re
import textwrap
import types
import typing
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta, timezone
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

import aiodreamobjects as dream
from aiodreamobjects import _public
from aiodreamobjects._config import Credentials
from aiodreamobjects._models import Address, ByteRange
from aiodreamobjects._s3.options import WriteOptions
from aiodreamobjects._s3.retry import backoff

NAN, INFINITY = math.nan, math.inf
HUGE = 10**400


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def session(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[dream.Session]:
    """An open session to a Ceph gateway that is not there: presigning asks nobody."""
    home = str(tmp_path_factory.mktemp("home"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", home)
        patch.setenv("AWS_CONFIG_FILE", f"{home}/config")
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", f"{home}/credentials")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        service = dream.Service.ceph_rgw("https://rgw.example")
        async with dream.Session(access_key="AK", secret_key="SK", service=service) as opened:
            yield opened


@pytest.fixture(scope="module")
def cat(session: dream.Session) -> dream.Object:
    return session.object("s3://photos/cat.jpg")


def parameters(url: str) -> dict[str, str]:
    return {name: value for name, [value] in parse_qs(urlsplit(url).query, strict_parsing=True).items()}


# Ranges


@pytest.mark.parametrize(
    ("given_", "header"),
    [
        ((0, 1), "bytes=0-0"),
        ((0, 10), "bytes=0-9"),
        ((5, 6), "bytes=5-5"),
        ((0, None), "bytes=0-"),
        ((5, None), "bytes=5-"),
        ((-1, None), "bytes=-1"),
        ((-500, None), "bytes=-500"),
        ((0, 5 * 2**40), "bytes=0-5497558138879"),
    ],
)
def test_a_range_is_written_as_rfc_9110_has_it(given_: tuple[int, int | None], header: str) -> None:
    assert str(ByteRange.of(given_)) == header


@given(st.binary(min_size=1, max_size=50), st.data())
def test_a_range_picks_the_bytes_that_a_slice_picks(content: bytes, data: st.DataObject) -> None:
    start = data.draw(st.integers(-len(content), len(content) - 1))
    stop = data.draw(st.none() if start < 0 else st.none() | st.integers(start + 1, len(content)))
    assert as_a_server_reads(str(ByteRange.of((start, stop))), content) == content[start:stop]


def as_a_server_reads(header: str, content: bytes) -> bytes:
    first, last = header.removeprefix("bytes=").split("-")
    if not first:
        return content[len(content) - int(last) :]
    return content[int(first) : int(last) + 1 if last else len(content)]


@pytest.mark.parametrize(
    ("given_", "rule"),
    [
        ((0, 0), "holds no bytes"),
        ((5, 5), "holds no bytes"),
        ((5, 3), "holds no bytes"),
        ((0, -1), "holds no bytes"),
        ((-5, -1), "counts from the end"),
        ((-5, 3), "counts from the end"),
        ((-5, 0), "counts from the end"),
    ],
)
async def test_a_range_that_is_none_is_refused(cat: dream.Object, given_: tuple[int, int | None], rule: str) -> None:
    with pytest.raises(ValueError, match=rule) as refusal:
        await cat.read(given_)
    assert repr(given_) in str(refusal.value)


# Expiry


@pytest.mark.parametrize(
    ("expires_in", "seconds"),
    [
        (1, "1"),
        (3600, "3600"),
        (1.9, "1"),
        (604_800, "604800"),
        (604_800.5, "604800"),
        (timedelta(minutes=1), "60"),
        (timedelta(days=7), "604800"),
    ],
)
def test_an_expiry_is_whole_seconds(cat: dream.Object, expires_in: float | timedelta, seconds: str) -> None:
    assert parameters(cat.presign_get(expires_in))["X-Amz-Expires"] == seconds
    assert parameters(cat.presign_put(expires_in))["X-Amz-Expires"] == seconds


@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=9))])
def test_an_expiry_can_be_a_moment(cat: dream.Object, zone: timezone) -> None:
    moment = datetime.now(zone) + timedelta(hours=2)
    query = parameters(cat.presign_get(moment))
    made = datetime.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%S%z")
    assert abs(made + timedelta(seconds=int(query["X-Amz-Expires"])) - moment) < timedelta(seconds=2)


def test_by_default_a_url_lives_for_an_hour(cat: dream.Object) -> None:
    assert parameters(cat.presign_get())["X-Amz-Expires"] == "3600"


BAD_EXPIRIES = [
    (0, "at least a second"),
    (0.9, "at least a second"),
    (-1, "at least a second"),
    (timedelta(0), "at least a second"),
    (timedelta(days=-1), "at least a second"),
    (datetime(2001, 9, 9, tzinfo=UTC), "at least a second"),
    (datetime(2999, 1, 1), "is naive"),  # noqa: DTZ001 - naive on purpose
    (NAN, "must be seconds"),
    (INFINITY, "must be seconds"),
    (-INFINITY, "must be seconds"),
    (True, "must be seconds"),
    (None, "must be seconds"),
    ("3600", "must be seconds"),
    (HUGE, "expires_in"),
]


@pytest.mark.parametrize("signature", ["v4", "v2"])
@pytest.mark.parametrize(("expires_in", "rule"), BAD_EXPIRIES, ids=lambda value: repr(value)[:30])
def test_an_expiry_that_is_none_is_refused(cat: dream.Object, signature: Any, expires_in: Any, rule: str) -> None:
    for presign in (cat.presign_get, cat.presign_put, cat.presign_post):
        with pytest.raises(ValueError, match=rule):
            presign(expires_in, signature=signature)


@pytest.mark.parametrize("expires_in", [604_801, timedelta(days=7, seconds=1), timedelta(days=365)])
def test_more_than_seven_days_are_refused_for_v4(cat: dream.Object, expires_in: float | timedelta) -> None:
    for presign in (cat.presign_get, cat.presign_put, cat.presign_post):
        with pytest.raises(ValueError, match="over 7 days"):
            presign(expires_in)


def test_more_than_seven_days_are_fine_for_v2(cat: dream.Object) -> None:
    before = int(datetime.now(UTC).timestamp())
    query = parameters(cat.presign_get(timedelta(days=365), signature="v2"))
    assert 0 <= int(query["Expires"]) - before - 365 * 24 * 3600 <= 2
    assert cat.presign_post(timedelta(days=365), signature="v2").fields["signature"]


def test_a_form_whose_end_is_beyond_the_calendar_is_refused(cat: dream.Object) -> None:
    with pytest.raises(ValueError, match="expires_in"):
        cat.presign_post(1e12, signature="v2")


# What else presigning checks


@pytest.mark.parametrize("signature", ["v3", "V4", "", 4])
def test_an_unknown_signature_version_is_refused(cat: dream.Object, signature: Any) -> None:
    with pytest.raises(ValueError, match="is none of 'v4', 'v2'"):
        cat.presign_get(signature=signature)


def test_only_what_a_reply_can_be_told_to_carry_is_overridden(cat: dream.Object) -> None:
    url = cat.presign_get(response_headers={"Content-Disposition": 'attachment; filename="ä b"'}, version_id="v 1")
    query = parameters(url)
    assert query["response-content-disposition"] == 'attachment; filename="ä b"'
    assert query["versionId"] == "v 1"
    with pytest.raises(ValueError, match="response header 'location' is none of"):
        cat.presign_get(response_headers={"Location": "https://evil.example"})


def test_a_put_url_signs_the_headers_that_it_demands(cat: dream.Object) -> None:
    url = cat.presign_put(content_type="image/jpeg", metadata={"Taken-By": "Larry"}, acl="public-read")
    assert parameters(url)["X-Amz-SignedHeaders"] == "content-type;host;x-amz-acl;x-amz-meta-taken-by"


def test_a_put_url_signs_what_v4_can_sign(cat: dream.Object) -> None:
    url = cat.presign_put(
        content_length=5, content_md5="1B2M2Y8AsgTpgAmY7PhCfg==", cache_control="no-store", if_absent=True, expires="0"
    )
    signed = "cache-control;content-length;content-md5;expires;host;if-none-match"
    assert parameters(url)["X-Amz-SignedHeaders"] == signed


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"content_length": 5}, "content-length"),
        ({"cache_control": "no-store"}, "cache-control"),
        ({"content_disposition": "inline"}, "content-disposition"),
        ({"if_absent": True}, "if-none-match"),
        ({"headers": {"X-Mine": "a"}}, "x-mine"),
    ],
)
def test_v2_refuses_what_it_cannot_sign(cat: dream.Object, given: Any, name: str) -> None:
    with pytest.raises(ValueError, match=f"signature='v2' cannot sign {name}: leave it out, or use signature='v4'"):
        cat.presign_put(signature="v2", **given)
    assert cat.presign_put(
        content_type="a/b", content_md5="1B2M2Y8AsgTpgAmY7PhCfg==", acl="private", storage_class="X", signature="v2"
    )


@pytest.mark.parametrize("digest", ["", "x", "d41d8cd98f00b204e9800998ecf8427e", "1B2M2Y8AsgTpgAmY7PhCfg", b"1B2M", 1])
def test_the_md5_of_a_put_url_is_16_bytes_in_base64(cat: dream.Object, digest: Any) -> None:
    with pytest.raises(ValueError, match=r"content_md5 .* must be the 16 bytes of an MD5 in base64"):
        cat.presign_put(content_md5=digest)


@pytest.mark.parametrize("content_length", [-1, True, "5", 1.0])
def test_the_length_of_a_put_url_is_a_number_of_bytes(cat: dream.Object, content_length: Any) -> None:
    with pytest.raises(ValueError, match=r"content_length .* must be a number of bytes, 0 or more"):
        cat.presign_put(content_length=content_length)


def test_a_url_is_for_one_of_five_methods(cat: dream.Object) -> None:
    methods: tuple[dream.PresignMethod, ...] = ("GET", "HEAD", "PUT", "POST", "DELETE")
    signatures = {parameters(cat.presign(method, 60))["X-Amz-Signature"] for method in methods}
    assert len(signatures) == 5
    assert parameters(cat.presign("DELETE", version_id="v 1"))["versionId"] == "v 1"
    assert parameters(cat.presign("GET", headers={"Range": "bytes=0-9"}))["X-Amz-SignedHeaders"] == "host;range"
    for method in ("PATCH", "get", "", None):
        with pytest.raises(ValueError, match=r"method .* is none of 'GET', 'HEAD', 'PUT', 'POST', 'DELETE'"):
            cat.presign(method)  # type: ignore[arg-type]  # that is the test
    with pytest.raises(ValueError, match="version_id='1': a PUT makes a new version"):
        cat.presign("PUT", version_id="1")
    with pytest.raises(ValueError, match="header 'Range'"):
        cat.presign("GET", headers={"Range": "a\nb"})


def test_only_the_repr_of_a_url_hides_its_signature(cat: dream.Object) -> None:
    urls = [cat.presign_get(), cat.presign_put(), cat.presign("HEAD"), cat.presign_get(signature="v2")]
    for url in urls:
        query = parameters(url)
        signature = query.get("X-Amz-Signature") or query["Signature"]
        assert quote(signature, safe="") in url
        assert str(url) == f"{url}" == url == "".join(url)
        assert type(str(url)) is str
        assert repr(url).startswith("<PresignedUrl https://rgw.example/photos/cat.jpg?")
        assert "Signature=…" in repr(url)
        assert not any(
            one in f"{url!r} {[url]} {vars(types.SimpleNamespace(url=url))}"
            for one in (signature, quote(signature, safe=""))
        )
        assert pickle.loads(pickle.dumps(url)) == json.loads(json.dumps(url)) == copy.deepcopy(url) == url


@pytest.mark.parametrize("max_bytes", [-1, True])
def test_a_form_takes_a_number_of_bytes(cat: dream.Object, max_bytes: int) -> None:
    with pytest.raises(ValueError, match="must be a number of bytes"):
        cat.presign_post(max_bytes=max_bytes)


@pytest.mark.parametrize("condition", ["acl", "abc", ["eq", "$acl"], ["eq", "$acl", "private", "x"], []])
def test_a_form_takes_conditions_of_s3s_shape_only(cat: dream.Object, condition: Any) -> None:
    with pytest.raises(ValueError, match="condition"):
        cat.presign_post(conditions=[condition])


def test_the_repr_of_a_form_does_not_hand_out_its_signature(cat: dream.Object) -> None:
    form = cat.presign_post(max_bytes=5, conditions=[{"acl": "public-read"}])
    assert form.url == "https://rgw.example/photos"
    assert form.fields["x-amz-signature"]
    assert form.fields["acl"] == "public-read"
    assert form.fields["x-amz-signature"] not in repr(form)


@pytest.mark.parametrize("scheme", ["ftp", "HTTPS", "", "javascript"])
def test_a_url_is_http_or_https(cat: dream.Object, scheme: str) -> None:
    assert cat.url(scheme="http") == "http://rgw.example/photos/cat.jpg"
    with pytest.raises(ValueError, match="scheme"):
        cat.url(scheme=scheme)


# Settings


@pytest.mark.parametrize("cls", [dream.Limits, dream.Timeouts, dream.Retry])
def test_the_defaults_are_allowed(cls: type) -> None:
    assert cls() == cls()


@pytest.mark.parametrize(
    ("cls", "name", "value"),
    [
        *[(dream.Limits, "requests", value) for value in (0, -1, 1.5, 1.0, NAN, True, None, "64")],
        *[(dream.Limits, "requests_per_second", value) for value in (0, -1, NAN, INFINITY, True, "5", HUGE)],
        *[
            (dream.Timeouts, name, value)
            for name in ("connect", "read", "write")
            for value in (0, 0.0, -1, NAN, INFINITY, True, None, "5")
        ],
        *[(dream.Timeouts, "low_speed", value) for value in (-1, NAN, INFINITY, True, False, None, "5")],
        *[(dream.Timeouts, "pool", value) for value in (0, -1, NAN, INFINITY, True, "5", HUGE)],
        *[(dream.Retry, "attempts", value) for value in (0, -1, 1.5, True, None, "8")],
        *[(dream.Retry, name, value) for name in ("base", "cap") for value in (0, -1, NAN, INFINITY, True, None, "1")],
    ],
    ids=lambda value: repr(value)[:20] if not isinstance(value, type | str) else None,
)
def test_a_setting_that_makes_no_sense_is_refused_by_its_name(cls: Any, name: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"^{cls.__name__}\.{name} must be a"):
        cls(**{name: value})


@pytest.mark.parametrize(
    ("cls", "name", "value"),
    [
        (dream.Limits, "requests", 1),
        (dream.Limits, "requests_per_second", None),
        (dream.Limits, "requests_per_second", 0.5),
        (dream.Timeouts, "connect", 0.001),
        (dream.Timeouts, "low_speed", 0),
        (dream.Timeouts, "pool", None),
        (dream.Timeouts, "pool", 5),
        (dream.Retry, "attempts", 1),
        (dream.Retry, "cap", 0.001),
    ],
)
def test_a_setting_at_the_edge_is_taken(cls: Any, name: str, value: object) -> None:
    assert getattr(cls(**{name: value}), name) == value


@given(
    st.builds(
        dream.Retry,
        attempts=st.integers(1, 1000),
        base=st.floats(0, 1e14, exclude_min=True),
        cap=st.floats(0, 1e14, exclude_min=True),
    ),
    st.integers(1, 10**6),
    st.none() | st.floats(0, allow_nan=False),
)
def test_a_wait_is_jittered_below_the_ceiling_and_never_above_the_cap(
    retry: dream.Retry, attempts_made: int, retry_after: float | None
) -> None:
    asked = min(retry_after or 0.0, retry.cap)
    doubled = retry.base * 2.0 ** (attempts_made - 1) if attempts_made <= 65 else INFINITY
    wait = backoff(retry, attempts_made, retry_after)
    assert asked <= wait <= max(asked, min(retry.cap, doubled))
    assert wait <= retry.cap


def test_waits_are_spread_over_the_whole_ceiling_which_doubles() -> None:
    retry = dream.Retry(base=1.0, cap=8.0)
    for attempts_made, ceiling in [(1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0), (5, 8.0)]:
        waits = [backoff(retry, attempts_made) for _ in range(400)]
        assert min(waits) < ceiling / 4
        assert ceiling * 3 / 4 < max(waits) <= ceiling


# Keys


@pytest.mark.parametrize(
    "key",
    ["a", "/", "a" * 1024, "é" * 512, "日" * 341 + "a", "😀" * 256, "\x00", "..", " ", "a//b", "\ufffe"],
    ids=lambda key: repr(key[:5]),
)
def test_a_key_of_at_most_1024_bytes_is_taken_as_it_is(session: dream.Session, key: str) -> None:
    assert session.bucket("photos").object(key).key == key
    assert session.object(f"s3://photos/{key}") == session.bucket("photos").object(key)


@pytest.mark.parametrize(
    ("key", "rule"),
    [
        ("", "the key is empty"),
        ("a" * 1025, "has 1,025 bytes in UTF-8"),
        ("é" * 513, "has 1,026 bytes in UTF-8"),
        ("日" * 342, "has 1,026 bytes in UTF-8"),
        ("😀" * 257, "has 1,028 bytes in UTF-8"),
        ("\ud800", "lone surrogate at 0"),
        ("a\udfff", "lone surrogate at 1"),
    ],
    ids=lambda text: repr(text[:5]),
)
def test_what_no_key_can_be_is_refused(session: dream.Session, key: str, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        session.bucket("photos").object(key)
    with pytest.raises(ValueError, match=rule):
        session.object(f"s3://photos/{key}")


@pytest.mark.parametrize("key", [b"cat.jpg", None, 5, ["cat.jpg"]])
def test_a_key_is_text(session: dream.Session, key: Any) -> None:
    with pytest.raises(TypeError, match=f"a key is a str, not {type(key).__name__}"):
        session.bucket("photos").object(key)


@given(st.text(min_size=1))
def test_a_key_is_refused_exactly_when_utf_8_cannot_hold_it_in_1024_bytes(key: str) -> None:
    try:
        is_possible = len(key.encode()) <= 1024
    except UnicodeEncodeError:
        is_possible = False
    try:
        Address("photos", key)
    except ValueError:
        assert not is_possible
    else:
        assert is_possible


@pytest.mark.parametrize("uri", ["photos/cat.jpg", "http://photos/cat.jpg", "S3://photos/cat.jpg", "", "s3:/photos/a"])
def test_an_object_is_named_by_an_s3_uri(session: dream.Session, uri: str) -> None:
    with pytest.raises(ValueError, match="s3://bucket/key"):
        session.object(uri)


@pytest.mark.parametrize("uri", ["s3://", "s3:///key", "s3://My_Photos/key", "s3://photos", "s3://photos/"])
def test_an_s3_uri_names_a_possible_bucket_and_key(session: dream.Session, uri: str) -> None:
    with pytest.raises(ValueError, match=r"impossible here|key is empty"):
        session.object(uri)


# Headers

NOT_FOR_HEADERS = st.builds(
    "{}{}{}".format,
    st.text(max_size=5),
    st.characters(max_codepoint=0x1F) | st.characters(min_codepoint=0x7F) | st.sampled_from("\r\n\x00\x7f\x85\u2028"),
    st.text(max_size=5),
)
FIELDS = [
    *("content_type", "cache_control", "content_disposition", "content_encoding", "content_language"),
    *("expires", "website_redirect", "storage_class"),
]


@given(NOT_FOR_HEADERS, st.sampled_from(FIELDS))
def test_no_header_can_hold_what_is_not_printable_ascii(value: str, field: str) -> None:
    with pytest.raises(ValueError, match="must be printable US-ASCII"):
        WriteOptions(**{field: value})  # type: ignore[arg-type]  # the fields are all of str


@given(NOT_FOR_HEADERS)
def test_no_metadata_can_hold_what_is_not_printable_ascii(text: str) -> None:
    with pytest.raises(ValueError, match="must be printable US-ASCII"):
        WriteOptions(metadata={"caption": text})
    with pytest.raises(ValueError, match="must be an HTTP header name"):
        WriteOptions(metadata={text: "a cat"})


@pytest.mark.parametrize("value", ["a\n", "a\r\n", "a\r\nx-amz-acl: public-read", "\na", "a\x00", "a\x7f", "é"])
def test_no_header_line_can_be_ended(value: str) -> None:
    for attributes in (*({field: value} for field in FIELDS), {"metadata": {"caption": value}}):
        with pytest.raises(ValueError, match="must be printable US-ASCII"):
            WriteOptions(**attributes)  # type: ignore[arg-type]  # each has its own


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E)).map(str.strip), st.sampled_from(FIELDS))
def test_a_header_can_hold_whatever_is_printable_ascii(value: str, field: str) -> None:
    attributes = WriteOptions(**{field: value}, metadata={"caption": value})  # type: ignore[arg-type]  # str again
    assert getattr(attributes, field) == value


@pytest.mark.parametrize(
    "name", ["", " ", "a b", "a:b", "a/b", "a\n", "a\r\nx-amz-acl", "é", "a;b", 'a"b', "(a)", None, 5]
)
def test_a_metadata_name_is_a_header_name(name: Any) -> None:
    with pytest.raises(ValueError, match="metadata name"):
        WriteOptions(metadata={name: "value"})


@pytest.mark.parametrize("value", [5, None, b"bytes", True])
def test_a_metadata_value_is_text(value: Any) -> None:
    with pytest.raises(ValueError, match="metadata 'caption'"):
        WriteOptions(metadata={"caption": value})


def refusal_of(**options: Any) -> str:
    with pytest.raises(ValueError) as caught:
        WriteOptions(**options)
    return str(caught.value)


def test_a_message_shows_the_form_that_works() -> None:
    message = refusal_of(content_disposition='attachment; filename="résumé 1.pdf"')
    assert message.endswith("write attachment; filename*=UTF-8''r%C3%A9sum%C3%A9%201.pdf")
    assert refusal_of(content_disposition="inline; filename=ü").endswith("write inline; filename*=UTF-8''%C3%BC")
    assert refusal_of(content_disposition="é").endswith("write attachment; filename*=UTF-8''r%C3%A9sum%C3%A9.pdf")
    assert "metadata 'caption' 'ein Café'" in refusal_of(metadata={"caption": "ein Café"})
    assert refusal_of(metadata={"caption": "ein Café"}).endswith("as in 'ein Caf%C3%A9'")
    assert "must be a str, not int" in refusal_of(cache_control=60)
    assert len(refusal_of(cache_control="é" * 10_000)) < 1000
    assert "must be printable US-ASCII" in refusal_of(cache_control="\udce9")
    for written in ("attachment; filename*=UTF-8''r%C3%A9sum%C3%A9%201.pdf", "ein Caf%C3%A9"):
        assert WriteOptions(content_disposition=written).content_disposition == written


OURS = [
    "Content-Type",
    "x-amz-meta-a",
    "X-Amz-Acl",
    "host",
    "Content-Length",
    "Authorization",
    "x-amz-copy-source",
    "TE",
    "X-Amz-Server-Side-Encryption",
    "x-amz-server-side-encryption-customer-key",
    "x-amz-object-lock-mode",
]


@pytest.mark.parametrize("name", OURS)
async def test_an_extra_header_is_none_that_the_library_sets(cat: dream.Object, name: str) -> None:
    with pytest.raises(ValueError, match=f"header '{name}' is set by the library: (use|leave)"):
        await cat.put(b"", headers={name: "1"})
    with pytest.raises(ValueError, match=f"header '{name}' is set by the library"):
        await cat.copy_to(cat, headers={name: "1"})
    with pytest.raises(ValueError, match=f"header '{name}' is set by the library"):
        await cat.read(headers={name: "1"})


@pytest.mark.parametrize(
    "headers", [{"a b": "1"}, {"a": "é"}, {"a": "b\r\nc: d"}, {"": "1"}, {"a": 1}, {"A": "1", "a": "2"}]
)
def test_an_extra_header_is_a_header(headers: Any) -> None:
    with pytest.raises(ValueError, match="header"):
        WriteOptions(headers=headers)


def test_extra_headers_are_a_mapping() -> None:
    with pytest.raises(TypeError, match="must be a mapping of names to values"):
        WriteOptions(headers=[("a", "1")])  # type: ignore[arg-type]  # that is the point


@pytest.mark.parametrize("acl", ["public", "Private", "private\n", "", 5])
async def test_an_unknown_canned_acl_is_refused(session: dream.Session, cat: dream.Object, acl: Any) -> None:
    with pytest.raises(ValueError, match="canned ACL"):
        cat.presign_put(acl=acl)
    with pytest.raises(ValueError, match="canned ACL"):
        await cat.put("", acl=acl)
    with pytest.raises(ValueError, match="canned ACL"):
        await cat.set_acl(acl)
    with pytest.raises(ValueError, match="canned ACL"):
        await session.bucket("photos").set_acl(acl)
    with pytest.raises(ValueError, match="canned ACL"):
        await session.create_bucket("photos", acl)
    with pytest.raises(ValueError, match="canned ACL"):
        await session.bucket("photos").set_acl_many(["cat.jpg"], acl)


# Access control lists

OWNER = dream.Grant("FULL_CONTROL", id="larry")
EVERYONE_READS = dream.Grant("READ", uri=dream.ALL_USERS)
EVERYONE_WRITES = dream.Grant("WRITE", uri=dream.ALL_USERS)
ACCOUNTS_READ = dream.Grant("READ", uri=dream.AUTHENTICATED_USERS)


@pytest.mark.parametrize(
    ("grants", "canned"),
    [
        ([OWNER], "private"),
        ([OWNER, OWNER], "private"),
        ([OWNER, EVERYONE_READS], "public-read"),
        ([EVERYONE_READS, OWNER], "public-read"),
        ([OWNER, EVERYONE_READS, EVERYONE_WRITES], "public-read-write"),
        ([EVERYONE_WRITES, OWNER, EVERYONE_READS], "public-read-write"),
        ([OWNER, ACCOUNTS_READ], "authenticated-read"),
        ([], None),
        ([EVERYONE_READS], None),
        ([OWNER, EVERYONE_WRITES], None),
        ([OWNER, EVERYONE_READS, ACCOUNTS_READ], None),
        ([OWNER, dream.Grant("FULL_CONTROL", uri=dream.ALL_USERS)], None),
        ([OWNER, dream.Grant("READ", id="moe")], None),
        ([dream.Grant("READ", id="larry"), EVERYONE_READS], None),
        ([dream.Grant("FULL_CONTROL", id="moe"), EVERYONE_READS], None),
    ],
)
def test_grants_amount_to_a_canned_acl_or_to_none(grants: list[dream.Grant], canned: str | None) -> None:
    assert dream.Acl("larry", tuple(grants)).canned == canned


@pytest.mark.parametrize(
    "grantee", [{}, {"id": "larry", "uri": dream.ALL_USERS}, {"id": "larry", "email": "l@example.com"}]
)
def test_a_grant_names_exactly_one_grantee(grantee: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="by one of id, uri and email"):
        dream.Grant("READ", **grantee)


@pytest.mark.parametrize("permission", ["read", "", "DELETE", None])
def test_a_grant_gives_a_permission_that_s3_has(permission: Any) -> None:
    with pytest.raises(ValueError, match="permission"):
        dream.Grant(permission, id="larry")


UNTIL = datetime(2030, 1, 1, tzinfo=UTC)


def test_a_retention_is_a_time_or_a_number_of_days_or_of_years() -> None:
    days = dream.Retention("GOVERNANCE", 30)
    assert (days.mode, days.until, days.days, days.years) == ("GOVERNANCE", None, 30, None)
    assert days == dream.Retention("GOVERNANCE", days=30)
    assert dream.Retention("COMPLIANCE", years=1).years == 1
    assert dream.Retention("COMPLIANCE", UNTIL).until == UNTIL
    assert dataclasses.replace(days, days=None, until=UNTIL) == dream.Retention("GOVERNANCE", UNTIL)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"mode": "governance", "days": 1}, "retention mode 'governance' is none of 'GOVERNANCE', 'COMPLIANCE'"),
        ({"mode": None, "days": 1}, "retention mode None is none of"),
        ({}, "exactly one of until, days and years, not none: write Retention.'GOVERNANCE', days=30"),
        ({"days": 1, "years": 1}, "exactly one of until, days and years, not {'days': 1, 'years': 1}"),
        ({"until": 1, "days": 1}, "exactly one of until, days and years"),
        ({"until": UNTIL, "years": 1}, "exactly one of until, days and years"),
        ({"until": datetime(2030, 1, 1)}, "must be a datetime with a time zone, such as datetime.now"),  # noqa: DTZ001
        ({"until": "2030-01-01"}, "until '2030-01-01' must be a datetime with a time zone"),
        ({"days": 0}, "days 0 must be a whole number of at least 1"),
        ({"until": -1}, "days -1 must be a whole number of at least 1"),
        ({"until": True}, "days True must be a whole number"),
        ({"days": 1.5}, "days 1.5 must be a whole number"),
        ({"years": "1"}, "years '1' must be a whole number"),
    ],
)
def test_a_retention_that_cannot_be_is_a_value_error(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dream.Retention(**({"mode": "GOVERNANCE"} | given))


# Values as such


def test_no_secret_is_shown() -> None:
    credentials = Credentials("AKEXAMPLE", "hunter2", "token3")
    for shown in (repr(credentials), str(credentials), f"{credentials!r:>100}", repr([credentials])):
        assert "AKEXAMPLE" in shown
        assert "hunter2" not in shown
        assert "token3" not in shown


VALUES = [
    dream.Limits(),
    dream.Timeouts(),
    dream.Retry(),
    Credentials("AK", "SK"),
    dream.Session("work", endpoint="https://s3.example").recipe(),
    dream.BucketNames(),
    dream.MultipartRules(),
    dream.US_EAST_5,
    dream.ObjectInfo("photos", "cat.jpg", metadata={"a": "b"}),
    dream.BucketInfo("photos"),
    dream.CommonPrefix("photos", "2026/"),
    dream.UploadInfo("photos", "cat.jpg", "id"),
    dream.ListPage(("cat.jpg",), "token"),
    OWNER,
    dream.Acl("larry", (OWNER,)),
    dream.Retention("GOVERNANCE", 30),
    dream.UploadedPart(1, "etag", 5),
    dream.SseKms("key", {"team": "a"}),
    dream.PresignedPost("https://rgw.example/photos", {"key": "cat.jpg"}),
    dream.Progress(1, 2, 0, 1, "cat.jpg"),
    dream.Moving("cat.jpg", 1, 2, 0.5),
    dream.BulkFailure("cat.jpg", None, dream.ServiceError("no")),
    dream.BulkReport(2, 0),
    dream.TreeAction("copy", "2026/cat.jpg", 3, "missing"),
    dream.TreeReport(2, 0, copied=1, copied_bytes=3, deleted=1),
    dream.CheckReport(2, ("a",), ("b",), unverified=("c",), done=4),
    dream.CheckReport(same=1, differ=("cat.jpg",)),
    dream.Usage(1, 2),
    dream.UsageReport(1, 2, {"2026/": dream.Usage(1, 2)}),
    dream.Statistics(0, 0, 0, 0, 0, 0),
    dream.CallStarted(2, 1, "get_object", "GET", "s3.example", 443, "photos", "cat.jpg", None, None),
    dream.AttemptFailed(2, 1, 503, "SlowDown", "ServiceBusyError", "tx1", 0.1),
    dream.CallEnded(2, "get_object", "photos", "cat.jpg", 200, 2, "tx2", None, 0, 5, 0.2, 0.0, 0.1, None),
    dream.TransferStarted(1, None, "download", "photos", "cat.jpg"),
    dream.TransferEnded(1, "download", "photos", "cat.jpg", 5, 1, False, "md5", 0.3, None),
    dream.ConnectionOpened("s3.example", 0, "no connection was idle", 0.1),
    dream.ConnectionClosed("s3.example", 3, "idle", 12.5),
    dream.Throttled(64, 32),
]


PUBLIC = {name: getattr(dream, name) for name in dream.__all__}
"""All public names. Their modules are imported when they are first used, so ``vars(dream)`` may lack some."""


def name_of(value: object) -> str:
    return value.__name__ if isinstance(value, type) else type(value).__name__


def test_every_public_dataclass_is_among_the_values_below() -> None:
    public = {value for value in PUBLIC.values() if isinstance(value, type) and dataclasses.is_dataclass(value)}
    assert {type(value) for value in VALUES} - {Credentials} == public


@pytest.mark.parametrize("value", [*VALUES, Address("photos", "a"), ByteRange(0, 1), WriteOptions()], ids=name_of)
def test_a_value_cannot_be_changed(value: Any) -> None:
    for field in dataclasses.fields(value):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, field.name, getattr(value, field.name))
    assert not hasattr(value, "__dict__")


@pytest.mark.parametrize("value", [value for value in VALUES if not isinstance(value, dream.BulkFailure)], ids=name_of)
def test_a_value_can_be_copied_and_sent_to_another_process(value: object) -> None:
    assert pickle.loads(pickle.dumps(value)) == value
    assert copy.deepcopy(value) == value


NAMES = [f"name {number}" for number in range(100_000)]
LARGE = {
    "<BulkReport done=3, failed=1,000, failures: 1,000>": dream.BulkReport(
        3, 1000, (dream.BulkFailure("cat.jpg", None, dream.ServiceError("no")),) * 1000
    ),
    "<TreeReport done=100,000, failed=0, copied=100,000, copied_bytes=5, unmatched: 1, plan: 100,000>": dream.TreeReport(
        100_000,
        0,
        copied=100_000,
        copied_bytes=5,
        unmatched=("*.jpg",),
        plan=tuple(dream.TreeAction("copy", name, 1, "asked") for name in NAMES),
    ),
    "<TreeReport done=0, failed=0>": dream.TreeReport(0, 0),
    "<UsageReport objects=0, bytes=0>": dream.UsageReport(0, 0),
    "<UsageReport objects=100,000, bytes=7, by_prefix: 100,000>": dream.UsageReport(
        100_000, 7, dict.fromkeys(NAMES, dream.Usage(1, 0))
    ),
    "<ListPage of 100,000 items, token=None>": dream.ListPage(tuple(NAMES)),
    f"<ListPage of 1 items, token='{'t' * 80}...'>": dream.ListPage(("a",), "t" * 1400),
}


@pytest.mark.parametrize("shown", LARGE)
def test_a_report_of_many_names_prints_in_one_line(shown: str) -> None:
    assert repr(LARGE[shown]) == str(LARGE[shown]) == shown


# Errors


def subclasses(cls: type[dream.DreamObjectsError]) -> Iterator[type[dream.DreamObjectsError]]:
    yield cls
    for child in cls.__subclasses__():
        yield from subclasses(child)


ERRORS = [
    cls
    for cls in subclasses(dream.DreamObjectsError)
    if cls.__module__ in (dream.DreamObjectsError.__module__, dream.BulkError.__module__)
]
SERVICE_ERRORS: list[Any] = [cls for cls in ERRORS if issubclass(cls, dream.ServiceError)]
BASES = {
    "DreamObjectsError": {Exception},
    "CredentialsError": {dream.DreamObjectsError},
    "SessionClosedError": {dream.DreamObjectsError},
    "WrongLoopError": {dream.DreamObjectsError, RuntimeError},
    "ServiceError": {dream.DreamObjectsError},
    "NotFoundError": {dream.ServiceError, FileNotFoundError},
    "AccessDeniedError": {dream.ServiceError, PermissionError},
    "LockedError": {dream.AccessDeniedError},
    "AlreadyExistsError": {dream.ServiceError, FileExistsError},
    "BucketNotEmptyError": {dream.ServiceError},
    "PreconditionFailedError": {dream.ServiceError},
    "InvalidRequestError": {dream.ServiceError, ValueError},
    "EncryptionKeyError": {dream.InvalidRequestError},
    "UnsupportedByServiceError": {dream.ServiceError},
    "ServiceBusyError": {dream.ServiceError},
    "TransferError": {dream.DreamObjectsError},
    "IncompleteBodyError": {dream.TransferError},
    "ChecksumMismatchError": {dream.TransferError},
    "ObjectChangedError": {dream.TransferError},
    "SourceChangedError": {dream.TransferError},
    "UnsafeKeyError": {dream.TransferError},
    "ConnectionFailedError": {dream.DreamObjectsError, ConnectionError},
    "BulkError": {ExceptionGroup, dream.DreamObjectsError},
}


def test_the_tree_of_errors_is_the_one_that_is_drawn() -> None:
    assert {cls.__name__: set(cls.__bases__) for cls in ERRORS} == BASES


@pytest.mark.parametrize("cls", ERRORS, ids=name_of)
def test_every_error_can_be_imported_and_says_what_it_means(cls: type) -> None:
    assert getattr(dream, cls.__name__) is cls
    assert cls.__doc__


@pytest.mark.parametrize("cls", SERVICE_ERRORS, ids=name_of)
def test_a_service_error_survives_pickling_whole(cls: Any) -> None:
    error = cls("no such thing", code="NoSuchThing", status=404, request_id="tx0", retryable=True)
    error.add_note("after 3 attempts")
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(again) is cls
        assert (str(again), again.args) == ("no such thing", ("no such thing",))
        assert (again.code, again.status, again.request_id, again.retryable) == ("NoSuchThing", 404, "tx0", True)
        assert again.__notes__ == ["after 3 attempts"]
        assert getattr(again, "errno", None) == cls.errno_value


@pytest.mark.parametrize(
    "cls",
    [cls for cls in ERRORS if not issubclass(cls, dream.ServiceError | dream.BulkError)],
    ids=name_of,
)
def test_any_other_error_survives_pickling_whole(cls: type[dream.DreamObjectsError]) -> None:
    error = cls("it went wrong")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is cls
    assert (str(again), again.args, again.retryable) == ("it went wrong", ("it went wrong",), error.retryable)


def test_a_broken_connection_survives_pickling_as_hopeless_as_it_was() -> None:
    assert dream.ConnectionFailedError("reset").retryable
    again = pickle.loads(pickle.dumps(dream.ConnectionFailedError("bad certificate", retryable=False)))
    assert not again.retryable
    assert str(again) == "bad certificate"


def bulk_error() -> dream.BulkError:
    missing = dream.NotFoundError("gone", code="NoSuchKey", status=404)
    denied = dream.AccessDeniedError("no", code="AccessDenied", status=403)
    failures = (dream.BulkFailure("a", None, missing), dream.BulkFailure("b", "v1", denied))
    return dream.BulkError("2 of 5 keys could not be deleted", [missing, denied], dream.BulkReport(3, 2, failures))


def outline(error: dream.BulkError) -> list[tuple[type, str, str, int | None]]:
    return [(type(each), str(each), each.code, each.status) for each in error.exceptions if is_of_the_service(each)]


def is_of_the_service(error: object) -> typing.TypeGuard[dream.ServiceError]:
    return isinstance(error, dream.ServiceError)


def test_a_bulk_error_keeps_its_notes_and_its_doubt() -> None:
    error = bulk_error()
    error.add_note("3 keys were deleted")
    error.in_doubt = True
    part, _ = error.split(dream.NotFoundError)
    assert isinstance(part, dream.BulkError)
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error), part):
        assert (again.__notes__, again.in_doubt) == (["3 keys were deleted"], True)


def test_a_bulk_error_survives_pickling_whole() -> None:
    error = bulk_error()
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is dream.BulkError
    assert (again.message, str(again)) == (error.message, str(error))
    assert outline(again) == outline(error)
    assert (again.report.done, again.report.failed) == (3, 2)
    assert [(each.key, each.version_id, str(each.error)) for each in again.report.failures] == [
        ("a", None, "gone"),
        ("b", "v1", "no"),
    ]


def test_a_part_of_a_bulk_error_keeps_the_report_and_survives_pickling_as_that_part() -> None:
    part = bulk_error().subgroup(dream.NotFoundError)
    assert isinstance(part, dream.BulkError)
    assert part.report.failed == 2
    assert outline(part) == [(dream.NotFoundError, "gone", "NoSuchKey", 404)]
    assert outline(pickle.loads(pickle.dumps(part))) == outline(part)


def test_the_report_of_a_tree_survives_in_its_error() -> None:
    report = dream.TreeReport(1, 1, (dream.BulkFailure("a", None, OSError(errno.EACCES, "no", "a")),), copied=1, kept=2)
    error = pickle.loads(pickle.dumps(dream.BulkError("1 name failed", [report.failures[0].error], report)))
    assert isinstance(error.report, dream.TreeReport)
    assert isinstance(error.report, dream.BulkReport)
    assert (error.report.done, error.report.copied, error.report.kept, error.report.plan) == (1, 1, 2, None)
    (failure,) = error.report.failures
    assert isinstance(failure.error, PermissionError)


def test_a_bulk_error_is_caught_as_a_group_and_as_one_of_ours() -> None:
    caught: list[str] = []
    try:
        raise bulk_error()
    except* FileNotFoundError as group:
        caught += [str(error) for error in group.exceptions]
    except* dream.AccessDeniedError as group:
        caught += [str(error) for error in group.exceptions]
    assert caught == ["gone", "no"]
    with pytest.raises(dream.DreamObjectsError, match="2 of 5 keys"):
        raise bulk_error()


@pytest.mark.parametrize(
    ("cls", "builtin", "number"),
    [
        (dream.NotFoundError, FileNotFoundError, errno.ENOENT),
        (dream.AccessDeniedError, PermissionError, errno.EACCES),
        (dream.AlreadyExistsError, FileExistsError, errno.EEXIST),
    ],
)
def test_an_error_that_files_have_too_can_be_caught_as_theirs(
    cls: type[dream.ServiceError], builtin: type[OSError], number: int
) -> None:
    error = cls("as files do", code="X", status=404)
    with pytest.raises(builtin) as caught:
        raise error
    assert caught.value.errno == number
    assert str(caught.value) == "as files do"


@pytest.mark.parametrize(("cls", "hope"), [(dream.IncompleteBodyError, True), (dream.ChecksumMismatchError, False)])
def test_an_error_says_whether_trying_again_can_help(cls: type[dream.DreamObjectsError], hope: bool) -> None:
    assert cls("oh").retryable is hope
    assert dream.ServiceError("oh").retryable is False
    assert dream.ServiceError("oh", retryable=True).retryable is True


# What can be imported


def test_all_is_sorted_constants_then_classes_and_every_name_is_there() -> None:
    names = dream.__all__
    assert names == sorted(names, key=lambda name: (name.startswith("__"), not name.isupper(), name))
    assert len(names) == len(set(names))
    assert all(hasattr(dream, name) for name in names)


def test_all_is_complete() -> None:
    public = {
        name
        for name, value in vars(dream).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    assert set(dream.__all__) == public | {"__version__"}
    assert re.fullmatch(r"\d+\.\d+\.\d+", dream.__version__)


def test_each_name_is_imported_from_the_module_that_type_checkers_see() -> None:
    source = Path(_public.__file__).read_text()
    imports = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom)]
    seen = {name.name: node.module for node in imports for name in node.names if node.module}
    names = {name: module for name, module in seen.items() if module.startswith("aiodreamobjects.")}
    assert {name: f"aiodreamobjects.{module}" for name, module in _public.MODULE_OF.items()} == names
    assert {*names, "__version__"} == set(dream.__all__)


def test_every_module_is_private_and_can_be_imported() -> None:
    public = tuple(f"aiodreamobjects.{name}" for name in ("asgi", "cli", "fsspec", "otel", "testing"))
    modules = [module.name for module in pkgutil.walk_packages(dream.__path__, "aiodreamobjects.")]
    assert modules
    for name in modules:
        assert name.split(".")[1].startswith("_") or name.startswith(public)
        assert import_module(name).__name__ == name


def public_functions() -> Iterator[tuple[str, types.FunctionType]]:
    for owner in PUBLIC.values():
        if not isinstance(owner, type) or not owner.__module__.startswith("aiodreamobjects"):
            continue
        for name, member in vars(owner).items():
            function = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
            if not name.startswith("_") and isinstance(function, types.FunctionType):
                yield f"{owner.__name__}.{name}", function


def classes_in(hint: Any) -> Iterator[type]:
    if isinstance(hint, type) and not typing.get_args(hint):
        yield hint
    for part in (typing.get_origin(hint), *typing.get_args(hint)):
        if part is not None:
            yield from classes_in(part)


def test_every_class_that_a_public_function_gives_can_be_imported() -> None:
    missing = {
        (name, cls.__name__)
        for name, function in public_functions()
        for cls in classes_in(typing.get_type_hints(function, localns={**PUBLIC, "S3Client": object})["return"])
        if cls.__module__.startswith("aiodreamobjects") and cls not in PUBLIC.values()
    }
    assert not missing


def test_every_public_function_has_a_docstring() -> None:
    functions = dict(public_functions())
    assert len(functions) > 50
    assert not [name for name, function in functions.items() if not function.__doc__ and name != "BulkError.derive"]


@pytest.mark.parametrize("name", ["put", "upload", "writer", "copy_to", "set_headers"])
def test_a_verb_that_writes_shows_each_of_its_options(name: str) -> None:
    shown = inspect.signature(getattr(dream.Object, name)).parameters
    options = {*FIELDS, "metadata"}
    if name != "set_headers":
        options |= {"acl", "headers", "if_absent", "if_match"} | ({"verify"} if name != "copy_to" else set())
        assert shown["if_absent"].default is False
    assert options <= set(shown)
    assert repr(shown["expires"].default) == ("<kept>" if name in ("copy_to", "set_headers") else "None")
    assert all(shown[option].kind is inspect.Parameter.KEYWORD_ONLY for option in options)


def test_an_option_that_does_not_exist_is_refused() -> None:
    session = dream.Session(access_key="a", secret_key="b")
    with pytest.raises(TypeError, match="contenttype"):
        session.object("s3://bucket/key").writer(contenttype="text/plain")  # type: ignore[call-arg]  # that is the point


@pytest.mark.parametrize("cls", [dream.Session, dream.Bucket, dream.Object, dream.Body, dream.Listing, dream.Service])
def test_every_class_that_does_things_says_how(cls: type) -> None:
    assert len((inspect.getdoc(cls) or "").split()) > 10


def test_the_example_of_the_package_is_python() -> None:
    _, _, example = (dream.__doc__ or "").partition("::\n\n")
    assert example
    compile(textwrap.dedent(example), "the docstring", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
