"""Every error this library raises of its own.

    DreamObjectsError(Exception)
    ├── CredentialsError, SessionClosedError, WrongLoopError(RuntimeError)
    ├── ServiceError              code, status, request_id, retryable; __cause__ kept
    │   ├── NotFoundError(FileNotFoundError)        NoSuchKey, NoSuchBucket, NoSuchUpload, 404
    │   ├── AccessDeniedError(PermissionError)      403, signature faults, clock skew
    │   ├── AlreadyExistsError(FileExistsError)     BucketAlreadyExists, if_absent refused
    │   ├── BucketNotEmptyError
    │   ├── PreconditionFailedError                 if_match refused, if_none_match held
    │   ├── InvalidRequestError(ValueError)         400, 416
    │   ├── UnsupportedByServiceError               501, and what a service refuses by design
    │   └── ServiceBusyError                        503 SlowDown, 429, 5xx after the last attempt
    ├── TransferError             IncompleteBodyError, ChecksumMismatchError, ObjectChangedError, SourceChangedError,
    │                         UnsafeKeyError
    ├── ConnectionFailedError(ConnectionError)      DNS, refused, reset, TLS, silence
    └── BulkError(ExceptionGroup)                   report: it stands beside its report, in _reports.py

Bad arguments are ValueError or TypeError before anything is sent, and the local disk's faults are its own OSErrors.
"""

from __future__ import annotations

import errno
from typing import ClassVar


class DreamObjectsError(Exception):
    """The root of every error of this library."""

    retryable: bool = False
    """Whether the same call may succeed later. The session's own attempts are spent when you see it."""
    in_doubt: bool = False
    """Whether the service may have carried the call out all the same: the reply to an attempt was lost."""


class CredentialsError(DreamObjectsError):
    """No usable credentials were found; the message says where they were looked for."""


class SessionClosedError(DreamObjectsError):
    """The session is not open: not yet, or no longer."""


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
        """S3's error code, such as ``NoSuchKey``. For a reply without a body (HEAD) it is derived from the status."""
        self.status = status
        """The HTTP status, which may be 200. ``None`` when the refusal is known beforehand and nothing was sent."""
        self.request_id = request_id
        """What the service's support will ask for."""
        self.retryable = retryable
        if isinstance(self, OSError):
            OSError.__setattr__(self, "errno", self.errno_value)

    def __str__(self) -> str:  # an OSError base would print "[Errno ...]"
        return str(self.args[0])


class NotFoundError(ServiceError, FileNotFoundError):
    """No such bucket, key, version, upload."""

    errno_value = errno.ENOENT


class AccessDeniedError(ServiceError, PermissionError):
    """The credentials are wrong, expired, or not allowed to do this; or the clocks disagree."""

    errno_value = errno.EACCES


class AlreadyExistsError(ServiceError, FileExistsError):
    """The bucket's name is taken, or ``if_absent`` found an object."""

    errno_value = errno.EEXIST


class BucketNotEmptyError(ServiceError):
    """The bucket holds objects, versions, delete markers or open uploads: ``delete(force=True)`` removes them too."""


class PreconditionFailedError(ServiceError):
    """``if_match`` was refused, or ``if_none_match`` held (status 304)."""


class InvalidRequestError(ServiceError, ValueError):
    """The service says that the request makes no sense."""


class UnsupportedByServiceError(ServiceError):
    """This service does not do that; the message says what to do instead."""


class ServiceBusyError(ServiceError):
    """The service was overloaded or broken, and still was at the last attempt."""


class TransferError(DreamObjectsError):
    """Bytes did not arrive as they left."""


class IncompleteBodyError(TransferError):
    """A body ended before its announced length."""

    retryable = True


class ChecksumMismatchError(TransferError):
    """What arrived has another digest than what was sent."""


class ObjectChangedError(TransferError):
    """The object was replaced or deleted while it was read."""


class SourceChangedError(TransferError):
    """What was to be sent changed while it was read: it grew, shrank or was written to."""


class UnsafeKeyError(TransferError):
    """A key that names no file inside the directory: it would lead out of it, or take the place of something else."""


class ConnectionFailedError(DreamObjectsError, ConnectionError):
    """The service could not be reached, or the connection broke or fell silent."""

    def __init__(self, message: str, *, retryable: bool = True, request_sent: bool = True) -> None:
        super().__init__(message)
        self.retryable = retryable
        self.request_sent = request_sent
        """Whether the request may have reached the service, and been carried out."""


def forget_frames(error: BaseException | None) -> None:
    """Let go of what the frames of an error, and of all that it comes from, hold: a thousand files, or a secret."""
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__
