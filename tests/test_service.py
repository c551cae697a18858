"""Services: which one stands behind a URL, what is no endpoint, what no bucket can be called, where a request goes."""

import re
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import aiodreamobjects as dream
from aiodreamobjects import US_EAST_5, BucketNames, Service
from aiodreamobjects._service import Addressing

CEPH = Service.ceph_rgw("http://localhost:7480")
AMAZON = Service.amazon_s3("eu-central-1")
BACKBLAZE = Service.backblaze_b2("us-west-004")


# Which service stands behind a URL


@pytest.mark.parametrize(
    ("url", "name", "region", "addressing", "signature"),
    [
        ("https://s3.us-east-005.dream.io", "DreamObjects", "us-east-005", "path", "v4"),
        ("https://s3.eu-central-003.dream.io", "DreamObjects", "eu-central-003", "path", "v4"),
        ("https://s3.us_west_9.dream.io", "DreamObjects", "us_west_9", "path", "v4"),
        ("https://s3.us-east-005.dream.io:8443", "DreamObjects", "us-east-005", "path", "v4"),
        ("https://objects-us-east-1.dream.io", "DreamObjects (Ceph)", "us-east-1", "path", "v2"),
        ("http://objects-us-east-1.dream.io", "DreamObjects (Ceph)", "us-east-1", "path", "v2"),
        ("https://objects.dreamhost.com", "DreamObjects (Ceph)", "us-east-1", "path", "v2"),
        ("https://s3.us-west-004.backblazeb2.com", "Backblaze B2", "us-west-004", "path", "v4"),
        ("https://s3.eu-central-1.amazonaws.com", "Amazon S3", "eu-central-1", "virtual", "v4"),
        ("https://s3.dualstack.eu-west-3.amazonaws.com", "Amazon S3", "eu-west-3", "virtual", "v4"),
        ("https://s3.cn-north-1.amazonaws.com.cn", "Amazon S3", "cn-north-1", "virtual", "v4"),
        ("https://s3.amazonaws.com", "Amazon S3", "us-east-1", "virtual", "v4"),
        ("https://s3.eusc-de-east-1.amazonaws.eu", "Amazon S3", "eusc-de-east-1", "virtual", "v4"),
        ("https://s3-eu-west-1.amazonaws.com", "Amazon S3", "eu-west-1", "virtual", "v4"),
        ("https://s3-fips.us-east-2.amazonaws.com", "Amazon S3", "us-east-2", "virtual", "v4"),
        ("https://s3-fips.dualstack.us-gov-west-1.amazonaws.com", "Amazon S3", "us-gov-west-1", "virtual", "v4"),
        ("https://s3-accelerate.amazonaws.com", "Amazon S3", "us-east-1", "virtual", "v4"),
        ("https://s3-accelerate.dualstack.amazonaws.com", "Amazon S3", "us-east-1", "virtual", "v4"),
        ("https://s3-external-1.amazonaws.com", "Amazon S3", "us-east-1", "virtual", "v4"),
        ("https://vpce-1a2b-5e6f.s3.us-west-2.vpce.amazonaws.com", "Amazon S3", "us-west-2", "path", "v4"),
        ("https://bucket.vpce-1a2b-5e6f.s3.us-west-2.vpce.amazonaws.com", "Amazon S3", "us-west-2", "path", "v4"),
        ("https://0123abcd.r2.cloudflarestorage.com", "Cloudflare R2", "auto", "path", "v4"),
        ("https://0123abcd.eu.r2.cloudflarestorage.com", "Cloudflare R2", "auto", "path", "v4"),
        ("https://oss-cn-hangzhou.aliyuncs.com", "Alibaba Cloud OSS", "cn-hangzhou", "virtual", "v4"),
        ("https://s3.oss-eu-central-1.aliyuncs.com", "Alibaba Cloud OSS", "eu-central-1", "virtual", "v4"),
        ("https://cos.ap-beijing.myqcloud.com", "Tencent COS", "ap-beijing", "virtual", "v4"),
        ("https://obs.cn-north-4.myhuaweicloud.com", "Huawei OBS", "cn-north-4", "path", "v4"),
        ("https://s3.nl-ams.scw.cloud", "Scaleway", "nl-ams", "path", "v4"),
        ("https://s3.gra.io.cloud.ovh.net", "OVHcloud", "gra", "path", "v4"),
        ("https://s3.eu-central-2.wasabisys.com", "Wasabi", "eu-central-2", "path", "v4"),
        ("https://s3.wasabisys.com", "Wasabi", "us-east-1", "path", "v4"),
        ("https://s3.eu-central-3.ionoscloud.com", "IONOS", "eu-central-3", "path", "v4"),
        ("https://s3.ru-7.storage.selcloud.ru", "Selectel", "ru-7", "path", "v4"),
        ("https://nbg1.your-objectstorage.com", "Hetzner", "nbg1", "path", "v4"),
        ("https://ams3.digitaloceanspaces.com", "DigitalOcean Spaces", "ams3", "path", "v4"),
        ("https://eu-central-1.linodeobjects.com", "Linode", "eu-central-1", "path", "v4"),
        ("https://storage.googleapis.com", "Google Cloud Storage", "auto", "path", "v4"),
        (
            "https://s3.us-south.cloud-object-storage.appdomain.cloud",
            "IBM Cloud Object Storage",
            "us-south",
            "path",
            "v4",
        ),
        ("https://gateway.storjshare.io", "Storj", "us-east-1", "path", "v4"),
        ("https://minio.example:9000", "S3 at minio.example:9000", "us-east-1", "path", "v4"),
        ("http://127.0.0.1:9000", "S3 at 127.0.0.1:9000", "us-east-1", "path", "v4"),
        ("http://[::1]:9000", "S3 at [::1]:9000", "us-east-1", "path", "v4"),
        # Names that only look like known ones.
        ("https://s3.us-east-005.dream.io.example", "S3 at s3.us-east-005.dream.io.example", "us-east-1", "path", "v4"),
        ("https://s3.a.b.dream.io", "S3 at s3.a.b.dream.io", "us-east-1", "path", "v4"),
        ("https://xs3.us-east-005.dream.io", "S3 at xs3.us-east-005.dream.io", "us-east-1", "path", "v4"),
        ("https://s3xus-east-005.dream.io", "S3 at s3xus-east-005.dream.io", "us-east-1", "path", "v4"),
    ],
)
def test_a_service_is_told_from_its_endpoint(
    url: str, name: str, region: str, addressing: Addressing, signature: str
) -> None:
    service = Service.for_endpoint(url)
    assert (service.name, service.region, service.addressing, service.signature) == (
        name,
        region,
        addressing,
        signature,
    )
    assert service.endpoint == url


@pytest.mark.parametrize(
    ("url", "endpoint", "bucket"),
    [
        ("https://my-bucket.s3.us-east-005.dream.io", "https://s3.us-east-005.dream.io", "my-bucket"),
        ("https://my.bucket.s3.us-west-004.backblazeb2.com", "https://s3.us-west-004.backblazeb2.com", "my.bucket"),
        ("https://my-bucket.s3.amazonaws.com", "https://s3.amazonaws.com", "my-bucket"),
        ("http://my-bucket.objects-us-east-1.dream.io", "http://objects-us-east-1.dream.io", "my-bucket"),
        ("https://photos.nyc3.digitaloceanspaces.com", "https://nyc3.digitaloceanspaces.com", "photos"),
        ("https://photos.0123abcd.r2.cloudflarestorage.com", "https://0123abcd.r2.cloudflarestorage.com", "photos"),
    ],
)
def test_an_endpoint_that_begins_with_a_bucket_is_refused(url: str, endpoint: str, bucket: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"use {endpoint} and session.bucket('{bucket}')")):
        Service.for_endpoint(url)
    with pytest.raises(ValueError, match="begins with a bucket"):
        dream.Session(endpoint=url, access_key="a", secret_key="b")


def test_what_differs_by_host() -> None:
    known = {
        name: Service.for_endpoint(f"https://{host}")
        for name, host in {
            "r2": "0123abcd.r2.cloudflarestorage.com",
            "oss": "oss-cn-hangzhou.aliyuncs.com",
            "cos": "cos.ap-beijing.myqcloud.com",
            "obs": "obs.cn-north-4.myhuaweicloud.com",
            "scaleway": "s3.fr-par.scw.cloud",
            "google": "storage.googleapis.com",
            "ibm": "s3.us-south.cloud-object-storage.appdomain.cloud",
            "amazon": "s3.eu-central-1.amazonaws.com",
            "b2": "s3.us-west-004.backblazeb2.com",
            "unknown": "s3.example.com",
        }.items()
    }
    assert {name for name, service in known.items() if service.multipart.equal_parts} == {"r2"}
    assert {name for name, service in known.items() if service.multipart.most_parts == 1000} == {"scaleway"}
    assert {name for name, service in known.items() if service.list_type == 1} == {"cos", "ibm"}
    assert {name for name, service in known.items() if service.digests == "none"} == {"cos", "ibm"}
    assert {name for name, service in known.items() if service.location_constraint} == {"obs", "amazon"}
    assert {name for name, service in known.items() if "tagging" in service.unsupported} == {"r2", "oss", "b2"}
    assert {name for name, service in known.items() if "copy_in_parts" in service.unsupported} == {"google"}
    assert {name: service.multipart.largest_object for name, service in known.items() if name in ("amazon", "b2")} == {
        "amazon": 50 * 10**12,
        "b2": 10 * 10**12,
    }


def test_only_a_host_that_does_not_tell_its_region_takes_the_default() -> None:
    assert Service.for_endpoint("https://minio.example", default_region="here").region == "here"
    assert Service.for_endpoint("https://s3.us-east-005.dream.io", default_region="here").region == "us-east-005"
    assert Service.for_endpoint("https://s3.eu-west-1.amazonaws.com", default_region="here").region == "eu-west-1"


def test_us_east_5_is_what_its_endpoint_says() -> None:
    assert Service.for_endpoint("https://s3.us-east-005.dream.io") == US_EAST_5


@pytest.mark.parametrize("url", ["https://s3.us-east-005.dream.io/", "https://minio.example:9000/"])
def test_a_trailing_slash_makes_no_difference(url: str) -> None:
    assert Service.for_endpoint(url) == Service.for_endpoint(url.removesuffix("/"))


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://minio.example", "minio.example"),
        ("https://minio.example:443", "minio.example"),
        ("https://minio.example:80", "minio.example:80"),
        ("http://minio.example:80", "minio.example"),
        ("http://minio.example:443", "minio.example:443"),
        ("http://minio.example:9000/", "minio.example:9000"),
        ("https://MINIO.example", "minio.example"),
        ("http://[::1]", "[::1]"),
        ("http://[2001:DB8::1]:9000", "[2001:db8::1]:9000"),
    ],
)
def test_the_host_has_its_port_where_that_is_not_the_schemes_own(url: str, host: str) -> None:
    assert Service.for_endpoint(url).host == host


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("https://objects-us-west-1.dream.io", "objects-us-west-1.dream.io was closed on 2018-10-01"),
        ("http://objects-us-west-1.dream.io:80/", "objects-us-west-1.dream.io was closed on 2018-10-01"),
        ("https://OBJECTS-us-west-1.dream.io", "objects-us-west-1.dream.io was closed on 2018-10-01"),
        ("https://photos.objects-us-west-1.dream.io", "objects-us-west-1.dream.io was closed on 2018-10-01"),
        ("https://photos.objects.cdn.dream.io", "objects.cdn.dream.io is a CDN for public reading"),
        ("https://objects.cdn.dream.io", "objects.cdn.dream.io is a CDN for public reading"),
    ],
)
def test_a_closed_host_is_refused_by_name_and_the_current_one_named(url: str, reason: str) -> None:
    with pytest.raises(ValueError, match=r"use https://s3\.us-east-005\.dream\.io") as refusal:
        Service.for_endpoint(url)
    assert reason in str(refusal.value)


def test_a_host_whose_name_merely_ends_like_a_closed_one_is_not_refused() -> None:
    assert Service.for_endpoint("https://my-objects-us-west-1.dream.io").name == "S3 at my-objects-us-west-1.dream.io"


# What is no endpoint

NO_ENDPOINTS = [
    "",
    "/",
    "https://",
    "https:///bucket",
    "https://:443",
    "minio.example",
    "minio.example:9000",
    "//minio.example",
    "ftp://minio.example",
    "s3://bucket",
    "file:///etc/passwd",
    "https://minio.example//",
    "https://minio.example/;x",
    "https://minio.example?x=1",
    "https://minio.example/#x",
    "https://minio.example/?",
    "https://minio.example?",
    "https://minio.example/#",
    "https://minio.example#",
    "https://key:secret@minio.example",
    "https://key@minio.example",
    "https://@minio.example",
    "https://:@minio.example",
    "https://minio.example@evil.example",
    "https://minio.example\\@evil.example",
    "https://minio.example\\.evil.example",
    "https://minio.example\n",
    "https://minio.example\n.evil.example",
    "https://minio.example\r\nHost: evil.example",
    "https://mi\tnio.example",
    " https://minio.example",
    "https://minio.example ",
    "\x00https://minio.example",
    "https://minio example",
    "https://minio.example%2fevil",
    "https://minio。example",
    "https://münio.example",
    "https://minio.example:0",
    "https://minio.example:65536",
    "https://minio.example:https",
    "https://minio.example:-1",
    "https://[::1",
    "https://[]",
    "https://[::1]evil.example",
    "https://evil.example[::1]",
    "https://[v1.x]",
]


@pytest.mark.parametrize("url", NO_ENDPOINTS)
def test_what_is_no_endpoint_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="endpoint"):
        Service.for_endpoint(url)
    with pytest.raises(ValueError, match="endpoint"):
        replace(CEPH, endpoint=url)


@pytest.mark.parametrize("url", [None, 5, b"https://minio.example"])
def test_an_endpoint_that_is_no_text_is_refused(url: str) -> None:
    with pytest.raises((TypeError, ValueError)):
        Service.for_endpoint(url)


def test_a_refusal_shows_no_password() -> None:
    with pytest.raises(ValueError, match="access_key= and secret_key=") as refusal:
        Service.for_endpoint("https://key:hunter2@minio.example")
    assert "hunter2" not in str(refusal.value)


def test_the_scheme_may_be_written_in_capitals() -> None:
    shouted = Service.for_endpoint("HTTPS://s3.eu-central-1.amazonaws.com")
    assert shouted.scheme == "https"
    assert shouted.locate("my.photos", "a") == AMAZON.locate("my.photos", "a")


@pytest.mark.parametrize("url", ["http://s3.us-east-005.dream.io", "http://s3.us-west-004.backblazeb2.com"])
def test_a_service_that_speaks_https_only_is_not_asked_over_http(url: str) -> None:
    with pytest.raises(ValueError, match="speaks https only"):
        Service.for_endpoint(url)


@pytest.mark.parametrize(
    "region", ["", "x@evil:443/#", "eu-west-1\n", "eu/west", "eu west", "é", "eu.west", "a?b", "a#b"]
)
def test_a_region_that_could_be_taken_for_something_else_is_refused(region: str) -> None:
    with pytest.raises(ValueError, match="region"):
        replace(CEPH, region=region)
    with pytest.raises(ValueError, match="region"):
        Service.for_endpoint("https://minio.example", default_region=region)
    with pytest.raises(ValueError, match="region"):
        Service.ceph_rgw("https://minio.example", region=region)


@pytest.mark.parametrize("region", ["", "x@evil:443/#", "eu-west-1\n", "evil.example/", "evil.example/?", "a:b@evil#"])
@pytest.mark.parametrize("make", [Service.amazon_s3, Service.backblaze_b2])
def test_a_region_cannot_lead_away_from_the_service(region: str, make: Callable[[str], Service]) -> None:
    with pytest.raises(ValueError, match=r"endpoint|region"):
        make(region)


@pytest.mark.parametrize(
    ("field", "value"),
    [("addressing", "dns"), ("signature", "v3"), ("unsupported", {"teleport": "walk"})],
)
def test_a_service_is_made_of_known_words_only(field: str, value: object) -> None:
    with pytest.raises(ValueError, match="is none of"):
        replace(CEPH, **{field: value})  # type: ignore[arg-type]  # wrong on purpose


def test_what_a_service_refuses_cannot_be_changed_behind_its_back() -> None:
    advice = {"website": "use url()"}
    service = Service("mine", "https://minio.example", unsupported=advice)  # type: ignore[arg-type]  # a plain dict
    advice.clear()
    assert service.unsupported == {"website": "use url()"}


@pytest.mark.parametrize("url", ["https://objects-us-west-1.dream.io", "https://objects-us-west-1.dream.io."])
def test_a_closed_cluster_is_refused_wherever_it_is_named(url: str) -> None:
    with pytest.raises(ValueError, match="closed on 2018-10-01"):
        replace(US_EAST_5, endpoint=url)
    with pytest.raises(ValueError, match="closed on 2018-10-01"):
        Service("mine", url)


def test_a_host_in_capitals_is_the_same_host() -> None:
    service = Service.for_endpoint("HTTPS://S3.US-EAST-005.DREAM.IO/")
    assert service == US_EAST_5


# What a bucket can be called

EVERYWHERE_IMPOSSIBLE = [
    ("", "characters"),
    ("ab", "characters"),
    ("a" * 64, "63 characters"),
    ("My-photos", "may hold only"),
    ("my_photos", "may hold only"),
    ("my photos", "may hold only"),
    ("my/photos", "may hold only"),
    ("my-photos\n", "may hold only"),
    ("\nmy-photos", "may hold only"),
    ("my-photos\x00", "may hold only"),
    ("photös", "may hold only"),
    ("photos²", "may hold only"),
    ("photos٣", "may hold only"),
    ("photos?x", "may hold only"),
    ("photos#x", "may hold only"),
    ("photos@evil", "may hold only"),
    ("photos%2F", "may hold only"),
    ("-photos", "begin and end"),
    ("photos-", "begin and end"),
    (None, "must be a str"),
    (1234567, "must be a str"),
    (b"my-photos", "must be a str"),
    (["my-photos"], "must be a str"),
]


@pytest.mark.parametrize("service", [US_EAST_5, BACKBLAZE, AMAZON, CEPH], ids=lambda service: service.name)
@pytest.mark.parametrize(("name", "rule"), EVERYWHERE_IMPOSSIBLE)
def test_an_impossible_bucket_name_is_refused_with_the_rule_it_breaks(service: Service, name: str, rule: str) -> None:
    with pytest.raises(ValueError, match=rule) as refusal:
        service.bucket_names.check(name)
    assert repr(name) in str(refusal.value)


@pytest.mark.parametrize("service", [AMAZON, CEPH], ids=lambda service: service.name)
@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("my..photos", "two dots"),
        (".my-photos", "begin and end"),
        ("my-photos.", "begin and end"),
        ("192.168.5.4", "IP address"),
        ("1.2.3.4", "IP address"),
    ],
)
def test_dots_in_a_bucket_name_have_rules_of_their_own(service: Service, name: str, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        service.bucket_names.check(name)


@pytest.mark.parametrize("service", [US_EAST_5, BACKBLAZE], ids=lambda service: service.name)
@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("abcde", "6 to 63 characters"),
        ("my.photos", "may hold only"),
        ("192.168.5.4", "may hold only"),
        ("b2-photos", "start with b2- are reserved"),
    ],
)
def test_backblaze_has_stricter_bucket_names(service: Service, name: str, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        service.bucket_names.check(name)


@pytest.mark.parametrize(
    ("service", "name"),
    [
        (US_EAST_5, "photos"),
        (US_EAST_5, "0-9-photos"),
        (US_EAST_5, "b2photos"),
        (US_EAST_5, "p" * 63),
        (BACKBLAZE, "my-b2-photos"),
        (AMAZON, "abc"),
        (AMAZON, "my.photos.2026"),
        (AMAZON, "1.2.3"),
        (AMAZON, "256.1.1.1"),
        (AMAZON, "b2-photos"),
        (CEPH, "a-b"),
        (CEPH, "123"),
        (CEPH, "p" * 63),
    ],
)
def test_a_possible_bucket_name_is_let_through(service: Service, name: str) -> None:
    service.bucket_names.check(name)


def test_an_older_buckets_name_can_be_let_through() -> None:
    lax = BucketNames(longest=255, characters="a-zA-Z0-9._-")
    lax.check("My_Old.Photos" + 100 * "x")
    with pytest.raises(ValueError, match="may hold only"):
        lax.check("My Old Photos")


@given(st.text() | st.text("aA0.-/@:#?\n", max_size=70))
def test_no_text_passes_the_rules_that_would_not_be_safe_in_a_host(name: str) -> None:
    for service in (US_EAST_5, AMAZON):
        try:
            service.bucket_names.check(name)
        except ValueError:
            continue
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789.-")
        assert 3 <= len(name) <= 63
        assert all(name.split("."))


# Where a request goes

KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1) | st.sampled_from(
    ["/", "//a", "../../x", "?a=b", "#", "@evil", "\\evil", "a b+c", "%41", "\r\n", "日本", ".", ".."]
)
NAMES = st.from_regex(r"[a-z0-9][a-z0-9.-]{4,20}[a-z0-9]", fullmatch=True)
ENDPOINTS = st.sampled_from(
    [
        *("https://minio.example", "http://minio.example", "https://minio.example:8443", "http://localhost:7480"),
        "https://minio.example/storage/v1/s3",
    ]
)


@given(NAMES, KEYS, ENDPOINTS, st.sampled_from(["path", "virtual"]))
def test_no_bucket_and_no_key_leads_to_another_host_or_object(
    bucket: str, key: str, endpoint: str, addressing: Addressing
) -> None:
    service = replace(Service.for_endpoint(endpoint), addressing=addressing)
    try:
        service.bucket_names.check(bucket)
    except ValueError:
        assume(False)
    host, path = service.locate(bucket, key)
    parts = urlsplit(f"{service.scheme}://{host}{path}")
    assert (parts.netloc, parts.path, parts.query, parts.fragment) == (host, path, "", "")
    if addressing == "virtual" and host != service.host:
        assert (host, unquote(path)) == (f"{bucket}.{service.host}", f"{service.path}/{key}")
    else:
        assert (host, unquote(path)) == (service.host, f"{service.path}/{bucket}/{key}")
    assert path.isascii()
    assert path.isprintable()


@pytest.mark.parametrize(
    ("endpoint", "addressing", "bucket", "key", "host", "path"),
    [
        ("https://minio.example", "path", "photos", "", "minio.example", "/photos"),
        ("https://minio.example", "path", "photos", "a/b c", "minio.example", "/photos/a/b%20c"),
        ("https://minio.example", "virtual", "photos", "", "photos.minio.example", "/"),
        ("https://minio.example", "virtual", "photos", "a/~é", "photos.minio.example", "/a/~%C3%A9"),
        ("https://minio.example", "path", "photos", "?a=b#c", "minio.example", "/photos/%3Fa%3Db%23c"),
        ("https://minio.example", "virtual", "photos", "//@evil", "photos.minio.example", "///%40evil"),
        ("https://minio.example:8443", "virtual", "photos", "/a", "photos.minio.example:8443", "//a"),
        # One certificate for *.minio.example does not cover my.photos.minio.example.
        ("https://minio.example", "virtual", "my.photos", "a", "minio.example", "/my.photos/a"),
        ("http://minio.example", "virtual", "my.photos", "a", "my.photos.minio.example", "/a"),
    ],
)
def test_a_bucket_is_in_the_path_or_in_the_host(
    endpoint: str, addressing: Addressing, bucket: str, key: str, host: str, path: str
) -> None:
    service = replace(Service.for_endpoint(endpoint), addressing=addressing)
    assert service.locate(bucket, key) == (host, path)


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:7480", "http://[::1]:7480"])
def test_no_bucket_is_put_in_front_of_an_ip_address(endpoint: str) -> None:
    service = Service.ceph_rgw(endpoint, addressing="virtual")
    assert service.locate("photos", "a") == (service.host, "/photos/a")
