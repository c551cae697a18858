"""From an error to one line and an exit status."""

from __future__ import annotations

import errno
import re

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


_SEE_CONFIG = "'dreamobjects config show' says which keys and endpoint are used"
_OPTIONS = {
    "exist_ok=True": "--exist-ok",
    "force=True": "--force",
    "allow_empty=True": "--yes",
    "Session(anonymous=True)": "--no-sign-request",
    "ca=": "--ca",
    "endpoint=": "--endpoint-url",
    "checksum=": "--checksum",
    "expires_in ": "--expires ",
    "; open it yourself and pass the open file to put()": "; 'dreamobjects put' stores what a pipe gives",
    "keys and endpoint must be of one service": _SEE_CONFIG,
    "the secret key is wrong, or something on the way changed the request": f"the secret key is wrong: {_SEE_CONFIG}",
    "region= sets": "--region sets",
    "encryption=SseCustomer(key), or source_encryption= for the source of a copy": "--sse-c FILE",
    "or no encryption= if": "or no --sse-c if",
    "set_versioning('Enabled')": "'dreamobjects versioning set s3://BUCKET on'",
    "look at the endpoint,": "look at --endpoint-url,",
    "; give a Session keys for the rest": "; leave out --no-sign-request for the rest",
}
"""What a message of the library calls an argument, and the command an option."""
_NO_KEYS = (
    "no keys: run 'dreamobjects config', or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; --no-sign-request reads "
    "what is public, and 'dreamobjects config show' says what was found"
)
_ADVICE = {
    "NoSuchBucket": "'dreamobjects ls' lists your buckets, and 'dreamobjects mb' makes one",
    "NoSuchKey": "'dreamobjects ls' shows what is there",
    "NotFound": "'dreamobjects ls' shows what is there",
    "NoSuchVersion": "'dreamobjects versions' lists the versions",
    "AccessDenied": f"these keys may not do this: {_SEE_CONFIG}",
    "BucketAlreadyExists": "its name is taken: choose another one",
    "MethodNotAllowed": "this service does not do this",
    "BucketNotEmpty": "rb --force deletes what is in it, too",
}
"""What to do, by the error code of the service."""


def sentence_of(error: BaseException, *, is_full: bool = False) -> str:
    """Return what an error says, in one line: the address, the reason, and what to do.

    ``is_full``: with the name of the request and its ID.
    """
    if isinstance(error, dream.BulkError):
        text = error.message
    elif isinstance(error, dream.CredentialsError) and "no credentials found" in str(error):
        text = _NO_KEYS
    elif isinstance(error, OSError) and not isinstance(error, dream.DreamObjectsError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror
    else:
        text = str(error) or type(error).__name__
    for ours, option in _OPTIONS.items():
        text = text.replace(ours, option)
    request = ""
    if isinstance(error, dream.ServiceError):
        text, _, request = text.partition(" [request ")
        text = text if is_full else re.sub(r"^[a-z0-9_]+ (?=s3://|https?://)", "", text)
    if (advice := _advice(error)) and "; " not in text and "choose another" not in text:
        text = f"{text.rstrip('.')}; {advice}"
    if is_full and request:
        text += f" [request {request}"
    done = [note for note in getattr(error, "__notes__", ()) if note.startswith("before this error")]
    return " ".join("; ".join([text, *done]).split())


def _advice(error: BaseException) -> str:
    """Return what to do about an error; empty if there is nothing to say."""
    text = str(error)
    if isinstance(error, dream.ConnectionFailedError):
        return "" if "proxy" in text or "certificate" in text else "is the address right? --endpoint-url sets it"
    if isinstance(error, dream.ServiceError):
        return _ADVICE.get(error.code, "")
    if isinstance(error, dream.TransferError):
        return "is this an S3 service? --endpoint-url sets it" if "not S3's XML" in text else ""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "make room, and run this again"
    return ""


def request_id_of(error: BaseException) -> str | None:
    """Return the ID that the service's support asks for."""
    return error.request_id if isinstance(error, dream.ServiceError) else None
