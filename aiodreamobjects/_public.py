"""All public names, each with its module. The package imports the module when the name is first used: see ``__init__``.

A new name has three entries: the import for type checkers, ``_NAMES`` and ``__all__``. A test compares them.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiodreamobjects import __version__
    from aiodreamobjects._acls import ALL_USERS, AUTHENTICATED_USERS, Acl, Grant, Permission
    from aiodreamobjects._apply import Applied
    from aiodreamobjects._bucket import Bucket, CopySource
    from aiodreamobjects._bucket_settings import (
        CorsRule,
        EncryptionRule,
        LifecycleRule,
        Logging,
        Notification,
        PolicyDocument,
        PublicAccessBlock,
        Retention,
        Website,
    )
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
        BucketInfo,
        CannedAcl,
        Checksum,
        CommonPrefix,
        Moving,
        ObjectInfo,
        ObjectOwnership,
        Progress,
        RetentionMode,
        Statistics,
        UploadedPart,
        UploadInfo,
        Verified,
        Verify,
        VersioningStatus,
    )
    from aiodreamobjects._object import Object
    from aiodreamobjects._presign import Expiry, PostCondition, PresignedPost, PresignedUrl, PresignMethod
    from aiodreamobjects._progress import ProgressCallback
    from aiodreamobjects._recipe import Recipe
    from aiodreamobjects._reports import (
        BulkError,
        BulkFailure,
        BulkReport,
        CheckReport,
        OnDone,
        TreeAction,
        TreeReason,
        TreeReport,
        Usage,
        UsageReport,
    )
    from aiodreamobjects._service import US_EAST_5, Addressing, BucketNames, Feature, MultipartRules, Service, Signature
    from aiodreamobjects._session import Session
    from aiodreamobjects._trace import (
        AttemptFailed,
        CallEnded,
        CallStarted,
        ConnectionClosed,
        ConnectionOpened,
        Event,
        Observer,
        Throttled,
        TransferEnded,
        TransferStarted,
    )
    from aiodreamobjects._transfer.body import Body
    from aiodreamobjects._transfer.download import IfChanged
    from aiodreamobjects._transfer.files import ObjectReader, ObjectWriter
    from aiodreamobjects._transfer.handles import MultipartUpload
    from aiodreamobjects._transfer.sources import Uploadable
    from aiodreamobjects._tree.check import CheckBy
    from aiodreamobjects._tree.names import Patterns
    from aiodreamobjects._tree.plan import Compare
    from aiodreamobjects._tree.upload import HeadersFor
    from aiodreamobjects._tree.walk import Symlinks

_NAMES = {
    "_acls": "ALL_USERS AUTHENTICATED_USERS Acl Grant Permission",
    "_apply": "Applied",
    "_bucket": "Bucket CopySource",
    "_bucket_settings": (
        "CorsRule EncryptionRule LifecycleRule Logging Notification PolicyDocument PublicAccessBlock Retention Website"
    ),
    "_bulk": "KeySource OnError",
    "_config": "Limits Retry Timeouts",
    "_encryption": "Encryption SseCustomer SseKms",
    "_errors": (
        "AccessDeniedError AlreadyExistsError BucketNotEmptyError ChecksumMismatchError ConnectionFailedError "
        "CredentialsError DreamObjectsError EncryptionKeyError IncompleteBodyError InvalidRequestError LockedError "
        "NotFoundError ObjectChangedError PreconditionFailedError ServiceBusyError ServiceError SessionClosedError "
        "SourceChangedError TransferError UnsafeKeyError UnsupportedByServiceError WrongLoopError"
    ),
    "_heads": "Heads",
    "_listing.pages": "Listing ListPage",
    "_models": (
        "BucketInfo CannedAcl Checksum CommonPrefix Moving ObjectInfo ObjectOwnership Progress RetentionMode "
        "Statistics UploadedPart UploadInfo Verified Verify VersioningStatus"
    ),
    "_object": "Object",
    "_presign": "Expiry PostCondition PresignedPost PresignedUrl PresignMethod",
    "_progress": "ProgressCallback",
    "_recipe": "Recipe",
    "_reports": "BulkError BulkFailure BulkReport CheckReport OnDone TreeAction TreeReason TreeReport Usage UsageReport",
    "_service": "US_EAST_5 Addressing BucketNames Feature MultipartRules Service Signature",
    "_session": "Session",
    "_trace": (
        "AttemptFailed CallEnded CallStarted ConnectionClosed ConnectionOpened Event Observer Throttled TransferEnded "
        "TransferStarted"
    ),
    "_transfer.body": "Body",
    "_transfer.download": "IfChanged",
    "_transfer.files": "ObjectReader ObjectWriter",
    "_transfer.handles": "MultipartUpload",
    "_transfer.sources": "Uploadable",
    "_tree.check": "CheckBy",
    "_tree.names": "Patterns",
    "_tree.plan": "Compare",
    "_tree.upload": "HeadersFor",
    "_tree.walk": "Symlinks",
}
MODULE_OF = {name: module for module, names in _NAMES.items() for name in names.split()}
"""The module of each name, for the import at run time."""

__all__ = [
    "ALL_USERS",
    "AUTHENTICATED_USERS",
    "US_EAST_5",
    "AccessDeniedError",
    "Acl",
    "Addressing",
    "AlreadyExistsError",
    "Applied",
    "AttemptFailed",
    "Body",
    "Bucket",
    "BucketInfo",
    "BucketNames",
    "BucketNotEmptyError",
    "BulkError",
    "BulkFailure",
    "BulkReport",
    "CallEnded",
    "CallStarted",
    "CannedAcl",
    "CheckBy",
    "CheckReport",
    "Checksum",
    "ChecksumMismatchError",
    "CommonPrefix",
    "Compare",
    "ConnectionClosed",
    "ConnectionFailedError",
    "ConnectionOpened",
    "CopySource",
    "CorsRule",
    "CredentialsError",
    "DreamObjectsError",
    "Encryption",
    "EncryptionKeyError",
    "EncryptionRule",
    "Event",
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
    "Moving",
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
    "Observer",
    "OnDone",
    "OnError",
    "Patterns",
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
    "Recipe",
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
    "Throttled",
    "Timeouts",
    "TransferEnded",
    "TransferError",
    "TransferStarted",
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
