"""What differs from service to service, as data: what is refused, how, and which limits hold."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from aiodreamobjects._memory.calls import Call
from aiodreamobjects._memory.codes import Code, S3Error
from aiodreamobjects._models import VersioningStatus
from aiodreamobjects._service import BucketNames, Feature, MultipartRules, Service

_HEADERS = frozenset(
    f"x-amz-{name}"
    for name in (
        *("acl", "bucket-object-lock-enabled", "bypass-governance-retention", "checksum-algorithm", "checksum-mode"),
        *("checksum-type", "content-sha256", "copy-source", "copy-source-if-match", "copy-source-if-modified-since"),
        *("copy-source-if-none-match", "copy-source-if-unmodified-since", "copy-source-range", "date"),
        *("decoded-content-length", "expected-bucket-owner", "metadata-directive", "mp-object-size", "request-payer"),
        *("server-side-encryption-aws-kms-key-id", "server-side-encryption-context"),
        *("sdk-checksum-algorithm", "security-token", "source-expected-bucket-owner"),
        *("storage-class", "tagging", "tagging-directive", "trailer", "user-agent", "website-redirect-location"),
    )
)
"""The headers that have an effect here, or need none. Another, if it were ignored, would seem to have an effect."""
_ONLY_AS = {"x-amz-server-side-encryption": ("AES256", "aws:kms")}
"""Another value asks for something that is not there."""
_FAMILIES = (
    *("x-amz-meta-", "x-amz-checksum-", "x-amz-grant-", "x-amz-object-lock-"),
    *("x-amz-server-side-encryption-customer-", "x-amz-copy-source-server-side-encryption-customer-"),
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

    def check_headers(self, call: Call) -> None:
        """Raise S3Error for a header that the service does not know, or that is missing."""
        if call.method == "PUT" and not {"content-length", "transfer-encoding"} & call.headers.keys():
            raise S3Error(Code.MissingContentLength)
        for name, value in call.amz.items():
            if value not in _ONLY_AS.get(name, ()) and name not in _HEADERS and not name.startswith(_FAMILIES):
                msg = "A header you provided implies functionality that is not implemented."
                raise S3Error(Code.NotImplemented, msg)
