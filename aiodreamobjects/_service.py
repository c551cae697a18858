"""What differs between services, as data. Code decides by these values, never by a host's name."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Literal, get_args
from urllib.parse import quote

from aiodreamobjects._checks import check_one_of
from aiodreamobjects._config import hide

Addressing = Literal["path", "virtual"]
Signature = Literal["v4", "v2"]
Digests = Literal["all", "whole", "none"]
Feature = Literal[
    "object_acl",
    "acl_grants",
    "tagging",
    "website",
    "policy",
    "presigned_post",
    "conditional_writes",
    "if_match",
    "copy_in_parts",
    "delete_objects",
    "list_uploads",
    "list_versions",
    "object_lock",
    "bucket_encryption",
    "public_access_block",
    "notification",
    "logging",
    "ownership",
    "sse_s3",
    "sse_kms",
    "sse_c",
    "checksums",
    "sigv2",
    "plain_http",
]


@dataclass(frozen=True, slots=True)
class BucketNames:
    """Which names a bucket can have. The defaults are S3's rules for new buckets, which Ceph RGW has too.

    S3 user guide, "General purpose bucket naming rules". Older buckets of some services may break these rules: allow
    them with a ``dataclasses.replace`` of this value.
    """

    shortest: int = 3
    longest: int = 63
    characters: str = "a-z0-9.-"
    reserved_prefixes: tuple[str, ...] = ()

    def check(self, name: str) -> None:
        """Raise ValueError with the rule that the name breaks."""
        if rule := self._broken_by(name):
            msg = f"bucket name {name!r} is impossible here: {rule}"
            raise ValueError(msg)

    def _broken_by(self, name: str) -> str | None:
        rule = None
        if not isinstance(name, str):
            rule = "it must be a str"
        elif not self.shortest <= len(name) <= self.longest:
            rule = f"it must have {self.shortest} to {self.longest} characters"
        elif not re.fullmatch(f"[{self.characters}]+", name):
            rule = f"it may hold only {self.characters}"
        elif not (name[0].isalnum() and name[-1].isalnum()):
            rule = "it must begin and end with a letter or digit"
        elif ".." in name:
            rule = "it must not hold two dots in a row"
        elif "." in name and _is_ip_address(name):
            rule = "it must not look like an IP address"
        elif name.startswith(self.reserved_prefixes):
            rule = f"names that start with {' or '.join(self.reserved_prefixes)} are reserved"
        return rule


@dataclass(frozen=True, slots=True)
class MultipartRules:
    """Limits of objects in parts, in bytes. The defaults are S3's (user guide, "Amazon S3 multipart upload limits").

    Ceph RGW and Backblaze B2 have the same.
    """

    smallest_part: int = 5 << 20
    """The last part may be smaller."""
    largest_part: int = 5 << 30
    most_parts: int = 10_000
    largest_object: int = 5 << 40
    largest_copy: int = 5 << 30
    """A larger object is copied in parts."""
    equal_parts: bool = False
    """Whether all parts but the last must have the same size."""


@dataclass(frozen=True, slots=True)
class Service:
    """An S3 service: its endpoint, how to address and sign requests, and what it refuses by design.

    Make one with ``Service.for_endpoint(url)``, with ``dataclasses.replace`` of another one, or with this class.
    """

    name: str
    endpoint: str
    region: str = "us-east-1"
    addressing: Addressing = "path"
    signature: Signature = "v4"
    bucket_names: BucketNames = field(default_factory=BucketNames)
    list_type: Literal[1, 2] = 2
    """Which list request it knows: ``list-type=2``, or only the older one with markers."""
    multipart: MultipartRules = field(default_factory=MultipartRules)
    location_constraint: bool = False
    """Whether to send the region when a bucket is created. AWS wants it."""
    unsupported: Mapping[Feature, str] = field(default_factory=dict, hash=False)
    """What it refuses by design, and what to do instead."""
    digests: Digests = "all"
    """Which ETags are MD5s of the content, or of its parts' MD5s. ``all``: all that look like one. ``whole``: only those of
    objects stored by one request. An object whose ETag is not a digest is verified by its size.
    """
    is_known: bool = False
    """Whether the service is known not to ignore requests in ways that lose data.

    Some small gateways ignore conditions of writes, and treat ``?acl`` or ``?tagging`` as the object itself, so ``set_acl``
    replaces its content. A session tests an unknown service for this before it first uses such a request.
    """
    encrypts: bool = False
    """Whether it is known to encrypt as it is asked, also what it copies.

    Some services ignore such a request, and store the object as it is. A session asks once, by an upload that it aborts.
    Copies that need a customer's key are then streamed through here.
    """
    keeps_checksums: bool = False
    """Whether it is known to keep the checksums of objects, and to tell them if asked. Reads of whole objects then ask."""
    signs_payload: bool = True
    """Whether the signature covers the SHA-256 of what is stored over plain http.

    False saves the time to compute it. Do so only where nobody else is on the network: then only the MD5 of the content
    is signed, and nothing of it with ``verify="off"``. Over https, TLS protects the content, and it is never hashed for this.
    """
    scheme: str = field(init=False, repr=False, compare=False)
    host: str = field(init=False, repr=False, compare=False)
    """The endpoint's host, with the port unless it is the scheme's default."""
    path: str = field(init=False, repr=False, compare=False)
    """What comes before each bucket in the path, such as ``/storage/v1/s3``. Empty for most services."""

    def __post_init__(self) -> None:
        check_one_of("addressing", self.addressing, get_args(Addressing))
        check_one_of("signature", self.signature, get_args(Signature))
        check_one_of("list_type", self.list_type, (1, 2))
        check_one_of("digests", self.digests, get_args(Digests))
        for feature in self.unsupported:
            check_one_of("unsupported feature", feature, get_args(Feature))
        _check_region(self.region)
        scheme, host, port, path = _parse_endpoint(self.endpoint)
        if scheme == "http" and "plain_http" in self.unsupported:
            msg = f"endpoint {self.endpoint!r}: {self.name} speaks https only; use https://"
            raise ValueError(msg)
        object.__setattr__(self, "unsupported", dict(self.unsupported))
        object.__setattr__(self, "endpoint", f"{scheme}://{host}" + (f":{port}" if port else "") + path)
        object.__setattr__(self, "path", path)
        object.__setattr__(self, "scheme", scheme)
        is_usual = port in (None, {"http": 80, "https": 443}[scheme])
        object.__setattr__(self, "host", host if is_usual else f"{host}:{port}")

    @classmethod
    def for_endpoint(cls, url: str, *, default_region: str = "us-east-1") -> Service:
        """Return the service at this URL. An unknown host is plain S3 with path addressing.

        Raises ValueError for a URL that is not an endpoint, for a host that begins with a bucket's name, and for a known
        service with another path than its own.
        """
        url = without_user(url)
        scheme, host, port, path = _parse_endpoint(url)
        place = host + (f":{port}" if port else "")
        if known := _known_service(host):
            if path != known.path:
                msg = f"endpoint {url!r}: {known.name} is at {scheme}://{place}{known.path}; give a bucket to session.bucket()"
                raise ValueError(msg)
            return replace(known, endpoint=url)
        labels = host.split(".")
        for number in range(1, len(labels) - 1):
            if known := _known_service(rest := ".".join(labels[number:])):
                bucket = ".".join(labels[:number])
                msg = f"endpoint {url!r} begins with a bucket; use {scheme}://{rest}{known.path} and session.bucket({bucket!r})"
                raise ValueError(msg)
        return cls(f"S3 at {place}{path}", url, default_region)

    @classmethod
    def ceph_rgw(cls, endpoint: str, *, region: str = "default", addressing: Addressing = "path") -> Service:
        """Return a Ceph RADOS Gateway. It accepts any region."""
        return cls("Ceph RGW", endpoint, region, addressing, unsupported=_CEPH_REFUSES, is_known=True)

    @classmethod
    def backblaze_b2(cls, region: str) -> Service:
        """Return Backblaze B2 in a region such as ``us-west-004``."""
        _check_region(region)
        return cls.for_endpoint(f"https://s3.{region}.backblazeb2.com")

    @classmethod
    def amazon_s3(cls, region: str = "us-east-1") -> Service:
        """Return Amazon S3 in a region such as ``eu-central-1``."""
        _check_region(region)
        return cls.for_endpoint(f"https://s3.{region}.amazonaws.com")

    def locate(self, bucket: str, key: str = "") -> tuple[str, str]:
        """Return the host and the percent-encoded path of a bucket or object."""
        if self.addressing == "virtual" and self._can_be_label(bucket):
            return f"{bucket}.{self.host}", f"{self.path}/{quote_key(key)}" if key else self.path or "/"
        return self.host, f"{self.path}/{bucket}/{quote_key(key)}" if key else f"{self.path}/{bucket}"

    def _can_be_label(self, bucket: str) -> bool:
        """Return whether the bucket can be part of the host. An IP address has no subdomains.

        A wildcard certificate covers one label, so a name with a dot does not work with TLS.
        """
        _, host, _, _ = _parse_endpoint(self.endpoint)
        return not _is_ip_address(host) and not ("." in bucket and self.scheme == "https")


def is_loopback(host: str) -> bool:
    """Return whether a host, with or without its port, is this machine."""
    name = re.sub(r":[0-9]+$", "", host).strip("[]")
    return name == "localhost" or (_is_ip_address(name) and ipaddress.ip_address(name).is_loopback)


def without_user(url: str) -> str:
    """Return the URL; hide it from reprs if it may hold a user and a password. Such a URL is refused next."""
    return hide(url) or "" if isinstance(url, str) and "@" in url else url


def quote_key(key: str) -> str:
    """Return a key for a URL's path: percent-encode all but RFC 3986's unreserved characters and ``/``."""
    return quote(key, safe="/-_.~")


_CURRENT = "https://s3.us-east-005.dream.io"
_CLOSED = {
    "objects-us-west-1.dream.io": "was closed on 2018-10-01",
    "objects.cdn.dream.io": "is a CDN for public reading, not an S3 endpoint",
}
_ENDPOINT = re.compile(
    r"(?P<scheme>https?)://(?P<host>[0-9a-z][0-9a-z._-]*|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>(?:/[0-9a-z._~-]+)*)/?",
    re.ASCII | re.IGNORECASE,  # without ASCII, U+017F matches "s"
)


def _parse_endpoint(url: str) -> tuple[str, str, int | None, str]:
    """Return scheme, host, port and path. Raise ValueError for a URL that could send a request anywhere else.

    The path holds nothing that a proxy or a service might decode, resolve or merge: they would then see another path than
    the one that is signed.
    """
    if not isinstance(url, str):
        msg = f"endpoint {url!r} must be a str such as {_CURRENT!r}"
        raise TypeError(msg)
    if "@" in url:
        msg = "the endpoint must not hold a user or a password; give access_key= and secret_key= instead"
        raise ValueError(msg)
    match = _ENDPOINT.fullmatch(url)
    port = int(match["port"]) if match and match["port"] else None
    if not match or (match["host"].startswith("[") and not _is_ip_address(match["host"])) or not _is_port(port):
        msg = (
            f"endpoint {url!r} must be http:// or https://, a host, and perhaps a port and a path, as in {_CURRENT!r}: no query, "
            "and in the path only letters, digits, '-', '.', '_' and '~' between single slashes"
        )
        raise ValueError(msg)
    if any(set(segment) == {"."} for segment in match["path"].split("/")):
        msg = f"endpoint {url!r}: its path must not have '.' or '..' as a segment; write the path without them"
        raise ValueError(msg)
    host = match["host"].lower().rstrip(".")
    for closed, why in _CLOSED.items():
        if host == closed or host.endswith(f".{closed}"):
            msg = f"endpoint {url!r}: {closed} {why}; use {_CURRENT}"
            raise ValueError(msg)
    return match["scheme"].lower(), host, port, match["path"]


def _is_port(port: int | None) -> bool:
    return port is None or 0 < port < 1 << 16


def _check_region(region: str) -> None:
    if not isinstance(region, str) or not re.fullmatch(r"[A-Za-z0-9_-]+", region):
        msg = f"region {region!r} may hold only letters, digits, '-' and '_'"
        raise ValueError(msg)


def _is_ip_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


_B2_ACL = (
    "objects always have their bucket's ACL here, private or public-read: use bucket.set_acl(), "
    "or hand out presign_get() URLs"
)
_B2_REFUSES: dict[Feature, str] = {
    "object_acl": _B2_ACL,
    "acl_grants": "a bucket is private or public-read as a whole: bucket.set_acl('public-read')",
    "tagging": "use the object's metadata instead: put(metadata=...)",
    "website": "serve the objects of a public-read bucket by their url()",
    "policy": "use bucket.set_acl()",
    "presigned_post": "give the browser a presign_put() URL",
    "conditional_writes": "every write makes a new version here; check with exists() or head() before writing",
    "sse_kms": "use encryption='AES256' or SseCustomer(key)",
    "checksums": "leave checksum= out: the MD5 is compared without it",
    "sigv2": "only SigV4 is accepted",
    "plain_http": "only https is served",
}
_B2_NAMES = BucketNames(shortest=6, characters="a-z0-9-", reserved_prefixes=("b2-",))


_CEPH_REFUSES: dict[Feature, str] = {"website": "serve public-read objects by their url()"}
_AWS_REFUSES: dict[Feature, str] = {"sigv2": "buckets made since 24 June 2020 accept only SigV4"}

US_EAST_5 = Service(
    "DreamObjects",
    _CURRENT,
    "us-east-005",
    bucket_names=_B2_NAMES,
    unsupported=_B2_REFUSES,
    is_known=True,
    encrypts=True,
)
"""DreamObjects today: https://s3.us-east-005.dream.io, Backblaze B2's dialect."""

_REGION = "(?P<region>[0-9a-z_-]+)"

# The services are made when the first endpoint is looked up: most sessions have one, and most endpoints are none of these.


@cache
def _known_hosts() -> tuple[tuple[str, str, Service], ...]:
    """Return a word of the host, a pattern that the whole host must match, and the service; for each kind of host."""
    dream_ceph = Service("DreamObjects (Ceph)", "https://objects-us-east-1.dream.io", signature="v2", is_known=True)
    backblaze = replace(
        US_EAST_5,
        name="Backblaze B2",
        endpoint="https://s3.us-west-004.backblazeb2.com",
        multipart=MultipartRules(largest_object=10 * 10**12),
    )
    amazon = Service(
        "Amazon S3",
        "https://s3.amazonaws.com",
        addressing="virtual",
        location_constraint=True,
        multipart=MultipartRules(largest_object=50 * 10**12),
        unsupported=_AWS_REFUSES,
        is_known=True,
        encrypts=True,
        keeps_checksums=True,
    )
    no_tags = "use the object's metadata instead: put(metadata=...)"
    no_acls = "hand out presign_get() URLs"
    r2 = Service(
        "Cloudflare R2",
        "https://account.r2.cloudflarestorage.com",
        "auto",
        multipart=MultipartRules(equal_parts=True),
        unsupported={"tagging": no_tags, "object_acl": no_acls, "acl_grants": no_acls},
        is_known=True,
    )
    oss = Service(
        "Alibaba Cloud OSS",
        "https://oss-cn-hangzhou.aliyuncs.com",
        "cn-hangzhou",
        addressing="virtual",
        unsupported={
            "tagging": no_tags,
            "list_versions": "use OSS's own interface",
            "list_uploads": "use OSS's own interface",
        },
    )
    cos = Service(
        "Tencent COS", "https://cos.ap-guangzhou.myqcloud.com", addressing="virtual", list_type=1, digests="none"
    )
    obs = Service("Huawei OBS", "https://obs.eu-west-101.myhuaweicloud.com", location_constraint=True)
    scaleway = Service(
        "Scaleway", "https://s3.fr-par.scw.cloud", multipart=MultipartRules(most_parts=1000), is_known=True
    )
    ibm = Service(
        "IBM Cloud Object Storage",
        "https://s3.eu-de.cloud-object-storage.appdomain.cloud",
        list_type=1,
        digests="none",
    )
    no_copy_in_parts: dict[Feature, str] = {"copy_in_parts": "a large object is read and stored again instead"}
    google = Service("Google Cloud Storage", "https://storage.googleapis.com", "auto", unsupported=no_copy_in_parts)
    supabase = Service(
        "Supabase",
        "https://project.supabase.co/storage/v1/s3",
        unsupported={"list_versions": "it keeps no versions", "sigv2": "only SigV4 is accepted"},
    )
    storj = Service("Storj", "https://gateway.storjshare.io", unsupported=no_copy_in_parts)
    # Sources: DreamHost's knowledge base (articles 360001370846, 115000677011, 115001494772), Backblaze's "S3-Compatible
    # API", Amazon's "Amazon Simple Storage Service endpoints and quotas"; for the others see docs/services.md.
    return (
        ("dream", rf"s3\.{_REGION}\.dream\.io", US_EAST_5),
        ("dream", r"objects-us-east-1\.dream\.io|objects\.dreamhost\.com", dream_ceph),
        ("backblazeb2", rf"s3\.{_REGION}\.backblazeb2\.com", backblaze),
        ("amazonaws", r"s3-external-1\.amazonaws\.com|s3-accelerate(?:\.dualstack)?\.amazonaws\.com", amazon),
        ("amazonaws", rf"s3(?:-fips)?(?:\.dualstack)?(?:\.{_REGION})?\.amazonaws\.(?:com(?:\.cn)?|eu)", amazon),
        ("amazonaws", rf"s3-{_REGION}\.amazonaws\.com", amazon),
        (
            "amazonaws",
            rf"(?:bucket\.)?vpce-[0-9a-z-]+\.s3\.{_REGION}\.vpce\.amazonaws\.com",
            replace(amazon, addressing="path"),
        ),
        ("r2.cloudflarestorage", r"[0-9a-z-]+(?:\.eu|\.fedramp)?\.r2\.cloudflarestorage\.com", r2),
        ("aliyuncs", rf"(?:s3\.)?oss-{_REGION}\.aliyuncs\.com", oss),
        ("myqcloud", rf"cos\.{_REGION}\.myqcloud\.com", cos),
        ("myhuaweicloud", rf"obs\.{_REGION}\.myhuaweicloud\.com", obs),
        ("scw.cloud", rf"s3\.{_REGION}\.scw\.cloud", scaleway),
        (
            "cloud.ovh",
            rf"s3\.{_REGION}\.(?:io|perf)\.cloud\.ovh\.(?:net|us)",
            Service("OVHcloud", "https://s3.gra.io.cloud.ovh.net"),
        ),
        ("wasabisys", rf"s3(?:\.{_REGION})?\.wasabisys\.com", Service("Wasabi", "https://s3.wasabisys.com")),
        (
            "ionoscloud",
            rf"s3[.-]{_REGION}\.ionoscloud\.com",
            Service("IONOS", "https://s3.eu-central-1.ionoscloud.com"),
        ),
        (
            "selcloud",
            rf"s3\.{_REGION}\.storage\.selcloud\.ru",
            Service("Selectel", "https://s3.ru-1.storage.selcloud.ru"),
        ),
        (
            "your-objectstorage",
            rf"{_REGION}\.your-objectstorage\.com",
            Service("Hetzner", "https://fsn1.your-objectstorage.com"),
        ),
        (
            "digitaloceanspaces",
            rf"{_REGION}\.digitaloceanspaces\.com",
            Service("DigitalOcean Spaces", "https://nyc3.digitaloceanspaces.com"),
        ),
        ("linodeobjects", rf"{_REGION}\.linodeobjects\.com", Service("Linode", "https://us-east-1.linodeobjects.com")),
        ("googleapis", r"storage\.googleapis\.com", google),
        ("appdomain.cloud", rf"s3(?:\.private|\.direct)?\.{_REGION}\.cloud-object-storage\.appdomain\.cloud", ibm),
        ("storjshare", r"gateway\.(?:[0-9a-z]+\.)?storjshare\.io", storj),
        ("supabase", r"[0-9a-z]+(?:\.storage)?\.supabase\.co", supabase),
    )


def _known_service(host: str) -> Service | None:
    """Return the service with this host, and with the region in the host's name."""
    for word, pattern, profile in _known_hosts():
        if word in host and (match := re.fullmatch(pattern, host)):  # the word saves most patterns their compilation
            return replace(profile, region=match.groupdict().get("region") or profile.region)
    return None
