"""The errors of this library.

    DreamObjectsError(Exception)
    ├── CredentialsError, SessionClosedError, WrongLoopError(RuntimeError)
    ├── ServiceError              code, status, request_id, retryable; __cause__ kept
    │   ├── NotFoundError(FileNotFoundError)        NoSuchKey, NoSuchBucket, NoSuchUpload, 404
    │   ├── AccessDeniedError(PermissionError)      403, signature faults, clock skew
    │   │   └── LockedError                         Object Lock forbids it
    │   ├── AlreadyExistsError(FileExistsError)     BucketAlreadyExists, if_absent refused
    │   ├── BucketNotEmptyError
    │   ├── PreconditionFailedError                 if_match refused, if_none_match held
    │   ├── InvalidRequestError(ValueError)         400, 416
    │   │   └── EncryptionKeyError                  a customer's key is missing, or is another one
    │   ├── UnsupportedByServiceError               501, and what a service refuses by design
    │   └── ServiceBusyError                        503 SlowDown, 429, 5xx after the last attempt
    ├── TransferError             IncompleteBodyError, ChecksumMismatchError, ObjectChangedError, SourceChangedError,
    │                         UnsafeKeyError
    ├── ConnectionFailedError(ConnectionError)      DNS, refused, reset, TLS, silence
    └── BulkError(ExceptionGroup)                   report; defined in _reports.py

Bad arguments raise ValueError or TypeError before anything is sent. Errors of the local disk are plain OSErrors.
"""

from __future__ import annotations

import errno
from typing import ClassVar, NoReturn


class DreamObjectsError(Exception):
    """The base class of all errors of this library."""

    retryable: bool = False
    """Whether the same call may succeed later. The session has already made all its attempts."""
    in_doubt: bool = False
    """Whether the service may have carried out the call although it failed: the reply to an attempt was lost."""


class CredentialsError(DreamObjectsError):
    """No usable credentials were found. The message says where the session looked."""


class SessionClosedError(DreamObjectsError):
    """The session is not open yet, or is closed."""


class WrongLoopError(DreamObjectsError, RuntimeError):
    """The session belongs to another event loop, thread or process. Nothing was sent."""


class ServiceError(DreamObjectsError):
    """The service answered with an error."""

    errno_value: ClassVar[int | None] = None

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        status: int | None = None,
        request_id: str | None = None,
        retryable: bool = False,
    ) -> None:
        super().__init__(message)
        self.code = code
        """S3's error code, such as ``NoSuchKey``. If the reply has no body (HEAD), the code comes from the status."""
        self.status = status
        """The HTTP status, which may be 200. ``None`` if the library refused the call and sent nothing."""
        self.request_id = request_id
        """The ID that the service's support asks for."""
        self.retryable = retryable
        if isinstance(self, OSError):
            OSError.__setattr__(self, "errno", self.errno_value)

    def __str__(self) -> str:  # an OSError base would print "[Errno ...]"
        return str(self.args[0])


class NotFoundError(ServiceError, FileNotFoundError):
    """No such bucket, key, version or upload."""

    errno_value = errno.ENOENT


class AccessDeniedError(ServiceError, PermissionError):
    """The credentials are wrong, expired or not allowed to do this; or the clocks disagree."""

    errno_value = errno.EACCES


class LockedError(AccessDeniedError):
    """Object Lock forbids to delete or change this version: its retention has not ended, or it is under legal hold."""


class AlreadyExistsError(ServiceError, FileExistsError):
    """The bucket's name is taken, or ``if_absent`` found an object."""

    errno_value = errno.EEXIST


class BucketNotEmptyError(ServiceError):
    """The bucket holds objects, versions, delete markers or open uploads. ``delete(force=True)`` removes them too."""


class PreconditionFailedError(ServiceError):
    """The ETag is not that of ``if_match``, or is that of ``if_none_match`` (status 304)."""


class InvalidRequestError(ServiceError, ValueError):
    """The service says that the request is invalid."""


class EncryptionKeyError(InvalidRequestError):
    """The object is encrypted with a customer's key, and the request has none, or another one."""


class UnsupportedByServiceError(ServiceError):
    """This service does not support the request. The message says what to do instead."""


class ServiceBusyError(ServiceError):
    """The service was still overloaded or broken at the last attempt."""


class TransferError(DreamObjectsError):
    """Bytes are missing, damaged or changed, or a reply does not fit its request."""


class IncompleteBodyError(TransferError):
    """A body ended before its announced length."""

    retryable = True


class ChecksumMismatchError(TransferError):
    """The bytes that arrived do not have the digest of the bytes that were sent."""


class ObjectChangedError(TransferError):
    """The object was replaced or deleted while it was being read."""


class SourceChangedError(TransferError):
    """The source changed while it was being sent: it grew, shrank or was written to."""


class UnsafeKeyError(TransferError):
    """The key cannot be a file inside the directory: it leads out of it, or something else has its place."""


class ConnectionFailedError(DreamObjectsError, ConnectionError):
    """The service could not be reached, or the connection broke or fell silent."""

    def __init__(self, message: str, *, retryable: bool = True, request_sent: bool = True) -> None:
        super().__init__(message)
        self.retryable = retryable
        self.request_sent = request_sent
        """Whether the request may have reached the service and been carried out."""


class OfOpenSession:
    """Something that lives and ends with an open session: it cannot be pickled."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        msg = f"this {type(self).__name__} cannot be pickled: it belongs to an open session of this process. A Bucket, an Object and session.recipe() can"
        raise TypeError(msg)


def forget_frames(error: BaseException | None) -> None:
    """Drop the tracebacks of an error and of its causes. Their frames may hold a thousand files, or a secret."""
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__
