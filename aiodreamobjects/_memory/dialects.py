"""What differs from service to service, as data: what is refused, how, and which limits hold."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import timedelta

from aiodreamobjects._memory.codes import Code, S3Error
from aiodreamobjects._memory.operations import SETTINGS
from aiodreamobjects._models import VersioningStatus
from aiodreamobjects._service import US_EAST_5, BucketNames, Feature, MultipartRules, Service

_B2_HEADERS = re.compile(
    r"x-amz-(acl|content-sha256|date|meta-.+|metadata-directive|server-side-encryption|storage-class"
    r"|copy-source(-range|-if-(none-)?match|-if-(un)?modified-since)?)"
)
_S3 = MultipartRules()


@dataclass(slots=True)
class Dialect:
    """A kind of service, and whom it serves. May be changed while it runs. The defaults are Amazon S3's."""

    access_key: str
    secret_key: str = field(repr=False)
    region: str
    host: str | None = None
    """Buckets are its subdomains; None where they are addressed by the path alone."""
    session_token: str | None = field(default=None, repr=False)
    """The valid token. Any other is answered with ExpiredToken."""
    clock_offset: timedelta = timedelta(0)
    """Added to the clock's time."""

    refuses: frozenset[Feature] = frozenset()
    lacks: frozenset[str] = frozenset()
    """Operations it does not know, by S3's names such as ``GetBucketCors`` and ``ListObjectsV2``."""
    acl_refusal: Code = Code.NotImplemented
    """The answer to an ACL that it refuses by design."""
    known_headers: re.Pattern[str] | None = None
    """The only ``x-amz-`` headers it accepts. Checksums and chunked signing are then refused too. None: no list."""
    only_values: dict[str, str] = field(default_factory=dict)
    """Headers that may have one value only, with that value."""
    needs_md5: bool = False
    """Whether DeleteObjects needs Content-MD5."""

    bucket_names: BucketNames = field(default_factory=BucketNames)
    taken_names: frozenset[str] = frozenset()
    """Buckets that belong to somebody else."""
    versioning: VersioningStatus | None = None
    """The status of a new bucket."""
    keeps_all_versions: bool = False
    """Whether versioning cannot be suspended."""
    smallest_part: int = _S3.smallest_part
    largest_copy: int = _S3.largest_copy
    metadata_bytes: int = 2048
    metadata_counts_all: bool = False
    """Whether the key and the other stored headers count towards ``metadata_bytes``."""
    tells_parts: bool = True
    """Whether a GET or HEAD of a part by its number is answered."""

    @classmethod
    def of(cls, service: Service, access_key: str, secret_key: str) -> Dialect:
        """Return the dialect that a client's ``Service`` describes."""
        return cls(
            access_key,
            secret_key,
            service.region,
            host=service.host if service.addressing == "virtual" else None,
            refuses=frozenset(service.unsupported),
            lacks=frozenset({"ListObjectsV2"}) if service.list_type == 1 else frozenset(),
            bucket_names=service.bucket_names,
            smallest_part=service.multipart.smallest_part,
            largest_copy=service.multipart.largest_copy,
        )

    def check_bucket_name(self, name: str) -> None:
        try:
            self.bucket_names.check(name)
        except ValueError as error:
            raise S3Error(Code.InvalidBucketName, str(error)) from None


def backblaze_b2(access_key: str, secret_key: str, region: str) -> Dialect:
    """Backblaze B2, the service behind DreamObjects US-East 5, as its "S3-Compatible API" documents it.

    It refuses checksum headers and chunked signing, object ACLs other than the bucket's, tags, policies, websites,
    browser forms, conditional writes, and bucket names with dots. Versioning is always on.
    """
    return replace(
        Dialect.of(replace(US_EAST_5, region=region), access_key, secret_key),
        acl_refusal=Code.InvalidArgument,
        known_headers=_B2_HEADERS,
        only_values={"x-amz-server-side-encryption": "AES256", "x-amz-storage-class": "STANDARD"},
        needs_md5=True,
        taken_names=frozenset({"taken-by-another"}),
        versioning="Enabled",
        keeps_all_versions=True,
        smallest_part=5_000_000,
        metadata_bytes=7000,
        metadata_counts_all=True,
        tells_parts=False,
    )


def lacks_much(access_key: str, secret_key: str, region: str) -> Dialect:
    """Return a small gateway's dialect: objects, multipart uploads and the older kind of list, and nothing more."""
    settings = ("Acl", *SETTINGS.values())
    refused: frozenset[Feature] = frozenset({"delete_objects", *US_EAST_5.unsupported})
    return Dialect(
        access_key,
        secret_key,
        region,
        refuses=refused,
        lacks=frozenset(f"{method}Bucket{name}" for method in ("Get", "Put", "Delete") for name in settings)
        | {"ListObjectsV2", "ListObjectVersions", "UploadPartCopy"},
        tells_parts=False,
    )
