"""From the library's errors to those that fsspec's users expect: FileNotFoundError and its like, else an OSError."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import aiodreamobjects as dream

P = ParamSpec("P")
T = TypeVar("T")


def translated(method: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Let the method raise no error of the library but those that are OSErrors already. Keep the cause."""

    @wraps(method)
    async def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await method(*args, **kwargs)
        except OSError:
            raise
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # Nobody cancelled this call. fsspec's sync() would return None, as if it had succeeded.
            raise OSError(errno.ECANCELED, "the call was cancelled from inside") from error
        except Exception as error:
            if isinstance(error, dream.DreamObjectsError):
                raise as_os_error(error) from error
            raise

    return call


def as_os_error(error: BaseException) -> OSError:
    """Return the OSError to raise in place of an error of the library."""
    if isinstance(error, OSError):
        return error
    if isinstance(error, dream.BulkError):
        return as_os_error(error.exceptions[0])
    if isinstance(error, dream.CredentialsError):
        return PermissionError(errno.EACCES, str(error))
    for kind, number in (
        (dream.BucketNotEmptyError, errno.ENOTEMPTY),
        (dream.UnsupportedByServiceError, errno.ENOTSUP),
        (dream.ServiceBusyError, errno.EBUSY),
        (dream.InvalidRequestError, errno.EINVAL),
        (dream.PreconditionFailedError, errno.ESTALE),
        (dream.ObjectChangedError, errno.ESTALE),
        (dream.SessionClosedError, errno.EBADF),
    ):
        if isinstance(error, kind):
            return OSError(number, str(error))
    return OSError(errno.EIO, str(error))


def not_found(path: str) -> OSError:
    return os_error(errno.ENOENT, path)


def os_error(number: int, path: str, hint: str = "") -> OSError:
    """Return the OSError of a number. Python makes it a FileNotFoundError, FileExistsError or IsADirectoryError."""
    return OSError(number, os.strerror(number) + hint, path)
