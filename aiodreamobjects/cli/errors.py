"""From an error to one line and an exit status."""

from __future__ import annotations

import aiodreamobjects as dream

OK, FAILED, REFUSED, NOT_FOUND, NO_ACCESS, UNREACHABLE = range(6)
CLOSED_PIPE = 141


class RefusedError(Exception):
    """The command does not do this. Nothing was changed."""


class NothingFoundError(Exception):
    """Nothing is there."""


class ClosedPipeError(Exception):
    """The reader of standard output has closed the pipe."""


def status_of(error: BaseException) -> int:
    """Return the exit status for an error that ended a command, or for the only thing that the command was asked to do."""
    if isinstance(error, NothingFoundError | FileNotFoundError):  # dream.NotFoundError is one
        return NOT_FOUND
    if isinstance(error, dream.CredentialsError | PermissionError):  # dream.AccessDeniedError is one
        return NO_ACCESS
    if isinstance(error, dream.ConnectionFailedError | dream.ServiceBusyError):
        return UNREACHABLE
    if isinstance(error, RefusedError):
        return REFUSED
    is_our_own = isinstance(error, dream.DreamObjectsError)
    return REFUSED if isinstance(error, ValueError | TypeError | ImportError) and not is_our_own else FAILED


def ends_all(error: Exception) -> bool:
    """Return whether an error of one object would be that of every other."""
    is_gone = isinstance(error, dream.NotFoundError) and error.code == "NoSuchBucket"
    return is_gone or isinstance(error, dream.CredentialsError | dream.ConnectionFailedError)


def sentence_of(error: BaseException) -> str:
    """Return what an error says, in one line."""
    if isinstance(error, dream.BulkError):
        text = error.message
    elif isinstance(error, OSError) and not isinstance(error, dream.DreamObjectsError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror
    else:
        text = str(error) or type(error).__name__
    done = [note for note in getattr(error, "__notes__", ()) if note.startswith("before this error")]
    return " ".join("; ".join([text, *done]).split())


def request_id_of(error: BaseException) -> str | None:
    """Return the ID that the service's support asks for."""
    return error.request_id if isinstance(error, dream.ServiceError) else None
