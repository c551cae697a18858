"""High-concurrency object operations on DreamObjects and every service like it.

Open one session, share it among all tasks::

    import aiodreamobjects as dream

    async with dream.Session() as session:
        bucket = await session.create_bucket("my-new-bucket")
        await bucket.object("hello.txt").put("Hello World!")
"""

from aiodreamobjects._bucket import Bucket, CopySource
from aiodreamobjects._bulk import KeySource, OnError
from aiodreamobjects._config import Limits, Retry, Timeouts
from aiodreamobjects._encryption import Encryption, SseCustomer, SseKms
from aiodreamobjects._errors import (
    AccessDeniedError,
    AlreadyExistsError,
    BucketNotEmptyError,
    ChecksumMismatchError,
    ConnectionFailedError,
    CredentialsError,
    DreamObjectsError,
    EncryptionKeyError,
    IncompleteBodyError,
    InvalidRequestError,
    LockedError,
    NotFoundError,
    ObjectChangedError,
    PreconditionFailedError,
    ServiceBusyError,
    ServiceError,
    SessionClosedError,
    SourceChangedError,
    TransferError,
    UnsafeKeyError,
    UnsupportedByServiceError,
    WrongLoopError,
)
from aiodreamobjects._heads import Heads
from aiodreamobjects._listing.pages import Listing, ListPage
from aiodreamobjects._models import (
    ALL_USERS,
    AUTHENTICATED_USERS,
    Acl,
    BucketInfo,
    CannedAcl,
    Checksum,
    CommonPrefix,
    CorsRule,
    EncryptionRule,
    Grant,
    LifecycleRule,
    Logging,
    Notification,
    ObjectInfo,
    ObjectOwnership,
    Permission,
    PolicyDocument,
    PresignedPost,
    PresignedUrl,
    Progress,
    PublicAccessBlock,
    Retention,
    RetentionMode,
    Statistics,
    UploadedPart,
    UploadInfo,
    Verified,
    Verify,
    VersioningStatus,
    Website,
)
from aiodreamobjects._object import Object
from aiodreamobjects._presign import Expiry, PostCondition, PresignMethod
from aiodreamobjects._progress import ProgressCallback
from aiodreamobjects._reports import (
    BulkError,
    BulkFailure,
    BulkReport,
    CheckReport,
    TreeAction,
    TreeReason,
    TreeReport,
    Usage,
    UsageReport,
)
from aiodreamobjects._service import US_EAST_5, Addressing, BucketNames, Feature, MultipartRules, Service, Signature
from aiodreamobjects._session import Session
from aiodreamobjects._transfer.body import Body
from aiodreamobjects._transfer.download import IfChanged
from aiodreamobjects._transfer.files import ObjectReader, ObjectWriter
from aiodreamobjects._transfer.handles import MultipartUpload
from aiodreamobjects._transfer.sources import Uploadable
from aiodreamobjects._tree.check import CheckBy
from aiodreamobjects._tree.plan import Compare
from aiodreamobjects._tree.upload import HeadersFor
from aiodreamobjects._tree.walk import Symlinks

__version__ = "0.1.0"

__all__ = [
    "ALL_USERS",
    "AUTHENTICATED_USERS",
    "US_EAST_5",
    "AccessDeniedError",
    "Acl",
    "Addressing",
    "AlreadyExistsError",
    "Body",
    "Bucket",
    "BucketInfo",
    "BucketNames",
    "BucketNotEmptyError",
    "BulkError",
    "BulkFailure",
    "BulkReport",
    "CannedAcl",
    "CheckBy",
    "CheckReport",
    "Checksum",
    "ChecksumMismatchError",
    "CommonPrefix",
    "Compare",
    "ConnectionFailedError",
    "CopySource",
    "CorsRule",
    "CredentialsError",
    "DreamObjectsError",
    "Encryption",
    "EncryptionKeyError",
    "EncryptionRule",
    "Expiry",
    "Feature",
    "Grant",
    "HeadersFor",
    "Heads",
    "IfChanged",
    "IncompleteBodyError",
    "InvalidRequestError",
    "KeySource",
    "LifecycleRule",
    "Limits",
    "ListPage",
    "Listing",
    "LockedError",
    "Logging",
    "MultipartRules",
    "MultipartUpload",
    "NotFoundError",
    "Notification",
    "Object",
    "ObjectChangedError",
    "ObjectInfo",
    "ObjectOwnership",
    "ObjectReader",
    "ObjectWriter",
    "OnError",
    "Permission",
    "PolicyDocument",
    "PostCondition",
    "PreconditionFailedError",
    "PresignMethod",
    "PresignedPost",
    "PresignedUrl",
    "Progress",
    "ProgressCallback",
    "PublicAccessBlock",
    "Retention",
    "RetentionMode",
    "Retry",
    "Service",
    "ServiceBusyError",
    "ServiceError",
    "Session",
    "SessionClosedError",
    "Signature",
    "SourceChangedError",
    "SseCustomer",
    "SseKms",
    "Statistics",
    "Symlinks",
    "Timeouts",
    "TransferError",
    "TreeAction",
    "TreeReason",
    "TreeReport",
    "UnsafeKeyError",
    "UnsupportedByServiceError",
    "UploadInfo",
    "Uploadable",
    "UploadedPart",
    "Usage",
    "UsageReport",
    "Verified",
    "Verify",
    "VersioningStatus",
    "Website",
    "WrongLoopError",
    "__version__",
]
