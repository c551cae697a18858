"""Create, complete and abort one multipart upload. The caller sends the parts.

Once a completion was sent, the upload is aborted only if the completion certainly failed. On Ceph RGW, an abort during a
slow completion has left objects without their data (ceph/ceph#60771).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from http import HTTPStatus
from typing import Literal

from aiodreamobjects._encryption import SseCustomer
from aiodreamobjects._errors import (
    AlreadyExistsError,
    ChecksumMismatchError,
    ConnectionFailedError,
    DreamObjectsError,
    EncryptionKeyError,
    InvalidRequestError,
    NotFoundError,
    PreconditionFailedError,
    ServiceError,
    TransferError,
    UnsupportedByServiceError,
)
from aiodreamobjects._integrity import etag_of_parts, md5_of_etag, parts_of_etag
from aiodreamobjects._models import Address, ObjectInfo, Verified, printable
from aiodreamobjects._runtime import Job, Runtime, clean_up
from aiodreamobjects._s3 import paging, replies
from aiodreamobjects._s3.errors import is_unreadable, refuse_reply
from aiodreamobjects._s3.gate import Departure
from aiodreamobjects._s3.options import ANY, WriteOptions, unquoted
from aiodreamobjects._s3.s3 import S3
from aiodreamobjects._s3.values import CreatedUpload, Part
from aiodreamobjects._transfer import locks
from aiodreamobjects._transfer.journal import UploadJournal, UploadRecord
from aiodreamobjects._transfer.orphans import Orphans

ABORT_SECONDS = 10.0
COMPLETION_GRACE_SECONDS = 30.0
"""A completion that was already sent may take this long after its caller is cancelled."""
LOOKS = (0, 2, 10, 20, 40)
"""Waits before each look at the service after the reply to a completion was lost, in units of ``Retry.base``."""
LOOKS_AFTER_REPLY = (0, 2)
"""The waits after an unreadable reply. They are short, because the service has finished its work."""
MOST_COMPLETIONS = 3
MOST_ABORTS = 3

Outcome = Literal["stored", "open", "gone", "unknown"]
"""The result of a completion. ``gone``: neither the upload nor its object exists. Another object may be in its place."""

_log = logging.getLogger("aiodreamobjects")


@dataclass(frozen=True, slots=True)
class _Seen:
    """The state of the upload and its key, as found after a completion. None means unknown."""

    is_open: bool | None = None
    """Whether the upload still exists."""
    found: ObjectInfo | None = None
    """The object at the upload's key."""
    is_ours: bool | None = None
    """Whether that object comes from this upload. False if there is no object."""

    @property
    def outcome(self) -> Outcome:
        """Return the result of the completion.

        ======  =========  =======
        upload  object     outcome
        ======  =========  =======
        open    any        open: an object with the same bytes may be an earlier one
        gone    ours       stored
        gone    not ours   gone
        a side is unknown  unknown
        ======  =========  =======
        """
        if self.is_open is None or self.is_ours is None:
            return "unknown"
        if self.is_open:
            return "open"
        return "stored" if self.is_ours else "gone"

    def __str__(self) -> str:
        """Say what is stored now, for an error message."""
        if self.outcome == "unknown":
            return "the library could not find out what is stored now"
        if self.outcome == "open":
            return "nothing was stored"
        if self.found is None:
            return "there is no object now"
        size = "" if self.found.size is None else f" of {self.found.size:,} bytes"
        return f"there is now an object{size} with the ETag {self.found.etag}"


_NOT_DONE = _Seen(is_open=True, is_ours=False)


class Multipart:
    """One multipart upload. With a journal, a failed upload stays open, and the next call resumes it."""

    def __init__(
        self,
        runtime: Runtime,
        address: Address,
        options: WriteOptions,
        job: Job,
        journal: UploadJournal | None = None,
        record: UploadRecord | None = None,
    ) -> None:
        self._s3, self._retry, self._address = runtime.s3, runtime.retry, address
        self._options, self._job = options, job
        self._has_customers_key = isinstance(options.encryption, SseCustomer)
        self._journal, self._record = journal, record
        self._upload_id: str | None = None
        self._created_id: str | None = None
        """The id, if this process created the upload. Kept after the upload ends."""
        self._since: datetime | None = None
        """When the upload was created, by the service's clock. None if an earlier process created it."""
        self._is_in_journal = False
        """Whether the journal has the upload's id, so that the next call can resume it."""
        self.is_in_doubt = False
        """Whether a completion was sent and its result is unknown."""
        self._is_taken_up = False
        """Whether somebody else may complete or abort the upload."""
        self._has_its_size = False
        """Whether a HEAD confirmed the object's size, because its ETag is no digest."""
        self._most_parts = runtime.service.multipart.most_parts
        self._ours = runtime.uploads
        self._orphans = Orphans(self._s3, address, runtime.uploads)
        self.held: Mapping[int, Part] = {}
        """Parts that an earlier process uploaded, by number."""

    @property
    def _name(self) -> str:
        """Return the upload's id in printable form."""
        return printable(self._upload_id or "")

    @property
    def upload_id(self) -> str:
        assert self._upload_id
        return self._upload_id

    async def run(self, send_parts: Callable[[], Awaitable[list[Part]]]) -> ObjectInfo:
        """Create the upload, send its parts and complete it. Abort it on an error or a cancellation before that."""
        await check_conditions(self._s3, self._address, self._options)
        async with self._aborting():
            parts = await self._send(send_parts)
            if self._is_in_journal:
                # Written before the completion: after a crash, the next process must not abort this upload.
                await self._write_journal(is_completing=True)
            info = await self.finish(parts)
        if self._journal is not None:
            await self._journal.remove()
        return info

    async def start(self) -> CreatedUpload:
        """Create the upload only. Its parts, its completion and its end are the caller's."""
        await check_conditions(self._s3, self._address, self._options)
        async with self._aborting():
            try:
                await self._create()
            except DreamObjectsError as error:
                error.in_doubt = False  # there may be an upload, but no object
                raise
        return CreatedUpload(self.upload_id, self._since)

    def take_up(self, created: CreatedUpload) -> None:
        """Continue with an upload that exists."""
        self._upload_id, self._since = created.upload_id, created.at
        self._is_taken_up = True

    async def finish(self, parts: Sequence[Part]) -> ObjectInfo:
        """Complete the upload, without aborting it on an error. Afterwards ``is_in_doubt`` says whether that is allowed."""
        departure = Departure()
        try:
            return await self._job.complete(self._complete(parts), departure, grace=COMPLETION_GRACE_SECONDS)
        except BaseException as error:
            self.is_in_doubt &= departure.has_left
            if self.is_in_doubt:
                note = f"{self._address}: the upload {self._name} was not aborted, because it may still be completed"
                error.add_note(note)
                _log.warning("%s", note)
                if isinstance(error, DreamObjectsError):
                    error.in_doubt = True
            raise

    @asynccontextmanager
    async def _aborting(self) -> AsyncIterator[None]:
        """Abort the upload if the block fails, unless it may still be completed or a journal has it."""
        try:
            yield
        except BaseException:
            if self._upload_id is not None and not (self.is_in_doubt or self._is_in_journal):
                await clean_up(self._abort(self._upload_id), grace=ABORT_SECONDS)
            raise
        finally:
            if self._orphans.found:
                await clean_up(self._orphans.abort(), grace=ABORT_SECONDS)
            self._ours.discard(self._created_id)

    async def _send(self, send_parts: Callable[[], Awaitable[list[Part]]]) -> list[Part]:
        try:
            await self._create_or_resume()
            parts = await send_parts()
            await check_conditions(self._s3, self._address, self._options)
        except DreamObjectsError as error:
            error.in_doubt = False  # a part may be stored, but without a completion there is no object
            raise
        return parts

    async def _create_or_resume(self) -> None:
        journal, record = self._journal, self._record
        if journal is not None and record is not None and await self._resume(await journal.read(), record):
            return
        await self._create()

    async def _create(self) -> None:
        async def create() -> None:
            orphans = self._orphans
            try:
                created = await self._s3.create_upload(self._address, self._options, orphans.count_lost_reply)
                self._upload_id = self._created_id = created.upload_id
                self._since = created.at
                self._ours.add(created.upload_id)
            except DreamObjectsError as error:
                if is_unreadable(error):
                    orphans.count_lost_reply()
                raise
            finally:
                await orphans.find(self._upload_id)
            if not created.is_encrypted:
                raise self._s3.not_encrypting(self._address, self._options)
            if self._journal is not None:
                await self._write_journal(is_completing=False)

        # Finish even after a cancellation: nobody could abort an upload whose id was never read.
        await clean_up(create(), Departure(is_tried_again=False), grace=ABORT_SECONDS)

    async def _write_journal(self, *, is_completing: bool) -> None:
        assert self._journal
        assert self._record
        await self._journal.write(replace(self._record, upload_id=self.upload_id, is_completing=is_completing))
        self._is_in_journal = True

    async def discard(self, found: UploadRecord) -> None:
        """Abort the upload that an earlier process left, and remove its journal. The object now fits into one request."""
        assert self._journal
        await self._abort_earlier(found)
        await self._journal.remove()

    async def _abort_earlier(self, found: UploadRecord) -> None:
        if found.is_completing:
            _log.warning(
                "%s: the upload %s was not aborted, because it may still be completed",
                self._address,
                printable(found.upload_id),
            )
        else:
            await clean_up(self._abort(found.upload_id), grace=ABORT_SECONDS)

    async def _resume(self, found: UploadRecord | None, wanted: UploadRecord) -> bool:
        """Resume the upload of an earlier process. Return False if it does not fit or no longer exists."""
        if found is None:
            return False
        if replace(found, upload_id="", is_completing=False) != wanted:
            _log.info(
                "%s: the file or the options changed since the interrupted upload, which starts again", self._address
            )
            if (found.endpoint, found.bucket, found.key) == (wanted.endpoint, wanted.bucket, wanted.key):
                await self._abort_earlier(found)
            return False
        try:
            self.held = {part.number: part async for part in self._list_parts(found.upload_id)}
        except (NotFoundError, InvalidRequestError, UnsupportedByServiceError) as error:
            # Some services answer an unknown upload id with InvalidRequestError. Others cannot list parts at all.
            _log.info("%s: the interrupted upload cannot be resumed, so it starts again: %s", self._address, error)
            return False
        self._upload_id, self._is_in_journal = found.upload_id, True
        return True

    async def _list_parts(self, upload_id: str) -> AsyncIterator[Part]:
        pages = paging.parts(self._s3, self._address, upload_id, self._most_parts, self._options, may_be_gone=True)
        async with aclosing(pages):
            async for page in pages:
                for part in page.items:
                    yield part

    async def _complete(self, parts: Sequence[Part]) -> ObjectInfo:
        assert self._upload_id
        digests = [bytes.fromhex(part.md5) for part in parts if part.md5]
        expected = etag_of_parts(digests) if len(digests) == len(parts) else None
        info = await self._complete_with_retries(self._upload_id, parts, expected)
        self.is_in_doubt, self._upload_id = False, None
        # Here, and not by the caller: a cancellation must not come between the completion and the lock.
        return await locks.hold(self._s3, self._options, self._completed(info, expected, _size_of(parts)))

    async def _complete_with_retries(self, upload_id: str, parts: Sequence[Part], expected: str | None) -> ObjectInfo:
        """Complete the upload. Repeat it after an unreadable reply, but only if the upload is still open."""
        for is_last in (*[False] * (MOST_COMPLETIONS - 1), True):
            self.is_in_doubt = True
            try:
                info = await self._s3.complete_upload(self._address, upload_id, parts, self._options)
                # Of parts that others sent, or that a customer's key encrypts, only the likely ETag is known: it is good
                # enough to find the object by.
                has_likely = self._is_taken_up or self._has_customers_key
                wanted = expected or (_likely_etag(parts) if has_likely else None)
                if info.etag is None and wanted is not None:
                    info = await self._find_etag(info, upload_id, parts, wanted)
                await self._check_etag(info.etag, expected, _size_of(parts))
            except (ServiceError, ConnectionFailedError, TransferError) as raised:
                error = raised
            else:
                return info
            seen = await self._look_after_failure(error, upload_id, parts, expected)
            if seen.outcome == "stored":
                assert seen.found is not None
                return seen.found
            may_try_again = is_unreadable(error) and not error.in_doubt and not is_last
            if seen.outcome != "open" or not may_try_again:
                self._describe(error, seen)
                raise error
        raise AssertionError

    async def _find_etag(self, info: ObjectInfo, upload_id: str, parts: Sequence[Part], expected: str) -> ObjectInfo:
        """Check that a success without an ETag really stored the object. Ceph RGW 16.2 sends none."""
        try:
            found = await self._s3.head_object(self._address, self._options.reads)
        except NotFoundError:
            found = None
        except DreamObjectsError:
            return info
        if found is not None and found.etag == expected:
            return replace(info, etag=expected, last_modified=found.last_modified)
        seen = await self._look_once(upload_id, parts, expected)
        if seen.is_open or (seen.is_open is False and found is None):
            refuse_reply("a completion without an ETag, and nothing was completed", may_be_done=not seen.is_open)
        return info  # another writer has replaced the object since

    async def _check_etag(self, etag: str | None, expected: str | None, size: int | None) -> None:
        """Raise ChecksumMismatchError if the object is not made of our parts. ``expected``: the ETag from their MD5s.

        An unknown service may compute the ETag of an object in parts in another way. Each part was verified when it was
        sent, so an object of the right size is enough there.
        """
        service = self._s3.service
        is_other = expected is not None and etag != expected and parts_of_etag(etag, None) is not None
        if not is_other or (service.is_known and service.digests != "all"):
            return
        if not service.is_known:
            found = await self._s3.head_object(self._address, self._options.reads)
            if found.etag == etag and found.size == size:
                self._s3.note_digests("whole")
                self._has_its_size = True
                return
        msg = (
            f"{self._address}: the service combined other parts than were sent: "
            f"its ETag is {etag}, the parts make {expected}"
        )
        raise ChecksumMismatchError(msg)

    async def _look_after_failure(
        self, error: DreamObjectsError, upload_id: str, parts: Sequence[Part], expected: str | None
    ) -> _Seen:
        """Find out what a failed completion did. A plain error reply needs no look: it did nothing."""
        if error.in_doubt:
            return await self._look(upload_id, parts, expected, LOOKS)
        if _has_ended(error):
            return await self._look(upload_id, parts, expected, LOOKS_AFTER_REPLY)
        if self._is_taken_up and isinstance(error, NotFoundError | AlreadyExistsError | PreconditionFailedError):
            # An earlier call may have completed it. Then the upload is gone, and the conditions do not hold any more.
            seen = await self._look_once(upload_id, parts, expected)
            if seen.outcome == "stored" and seen.found and seen.found.etag == (expected or _likely_etag(parts)):
                return seen
        return _NOT_DONE

    def _describe(self, error: DreamObjectsError, seen: _Seen) -> None:
        """Put the result into the error. Allow an abort only if the completion can no longer succeed."""
        is_under_way = seen.outcome == "open" and error.in_doubt and not _has_ended(error)
        self.is_in_doubt = seen.outcome == "unknown" or is_under_way
        if seen.outcome == "gone":  # it was completed and then replaced, or somebody else aborted it
            self._upload_id = None
        if seen.outcome == "gone" or isinstance(error, ChecksumMismatchError):
            error.args = (f"{error}; {seen}",)
        error.in_doubt = self.is_in_doubt or seen.outcome == "gone"

    async def _look(self, upload_id: str, parts: Sequence[Part], expected: str | None, looks: Sequence[int]) -> _Seen:
        """Look at the service several times, until the upload is gone or the waits are used up."""
        seen = _Seen()
        for look in looks:
            await self._s3.sleep(min(look * self._retry.base, self._retry.cap))
            seen = await self._look_once(upload_id, parts, expected)
            if seen.outcome in ("stored", "gone"):
                break
        return seen

    async def _look_once(self, upload_id: str, parts: Sequence[Part], expected: str | None) -> _Seen:
        try:  # a listing of parts is the only sign that an upload is still open
            is_open = bool([part async for part in self._list_parts(upload_id)])
        except NotFoundError:
            is_open = False
        except DreamObjectsError:
            return _Seen()
        try:
            found = await self._s3.head_object(self._address, self._options.reads)
        except NotFoundError:
            return _Seen(is_open=is_open, is_ours=False)
        except DreamObjectsError:
            return _Seen(is_open=is_open)
        return _Seen(is_open=is_open, found=found, is_ours=self._is_ours(found, parts, expected))

    def _is_ours(self, found: ObjectInfo, parts: Sequence[Part], expected: str | None) -> bool:
        """Return whether these parts make this object. ``expected``: its ETag, if all digests are known.

        Without a usable ETag, an earlier object of the same size looks like ours. So the object must also be newer than
        the upload, by the service's clock. In the same second it does not count as newer, because it may be either one.
        """
        expected = expected or _likely_etag(parts)
        if expected is not None:
            if found.etag == expected:
                return True
            if parts_of_etag(found.etag, None) or md5_of_etag(found.etag, None):
                return False
        is_newer = bool(self._since and found.last_modified and found.last_modified > self._since)
        kept = found.metadata or {}
        given = replies.described(self._address, self._options, None, None, None, None).metadata or {}
        is_marked_otherwise = any(kept.get(name, value) != value for name, value in given.items())
        return is_newer and not is_marked_otherwise and found.size == _size_of(parts)

    def _completed(self, info: ObjectInfo, expected: str | None, size: int | None) -> ObjectInfo:
        """Return the completed object's info."""
        verified: Verified | None = "size" if self._has_its_size or self._has_customers_key else None
        if expected is not None and info.etag == expected:
            verified = "parts"
        verified = info.verified or verified  # the completion compared the checksums
        made = replies.described(self._address, self._options, size, info.etag, info.version_id, verified)
        return replace(made, last_modified=info.last_modified)

    async def _abort(self, upload_id: str) -> None:
        try:
            async with asyncio.timeout(ABORT_SECONDS):
                await abort(self._s3, self._address, upload_id)
        except (DreamObjectsError, TimeoutError) as error:
            _log.warning("%s: the upload %s could not be aborted: %s", self._address, printable(upload_id), error)


async def abort(s3: S3, address: Address, upload_id: str) -> None:
    """Abort until no part is left. A part that was still being sent may arrive after the first abort.

    Raise the error of the first abort, unless the upload is gone. After that, only log that parts may be left.
    """
    is_aborted, why = False, "they are still listed"
    try:
        for _ in range(MOST_ABORTS):
            await s3.abort_upload(address, upload_id)
            is_aborted = True
            await s3.list_parts(address, upload_id, may_be_gone=True)
    except NotFoundError:  # nothing is left
        return
    except DreamObjectsError as error:
        if not is_aborted:
            raise
        why = str(error)
    _log.warning("%s: the upload %s was aborted, but may still have parts: %s", address, printable(upload_id), why)


def _size_of(parts: Sequence[Part]) -> int | None:
    """Return the size of the object that these parts make. None if the size of a part is unknown."""
    sizes = [part.size for part in parts if part.size is not None]
    return sum(sizes) if len(sizes) == len(parts) else None


def _likely_etag(parts: Sequence[Part]) -> str | None:
    """Return the ETag that the object has if the ETags of its parts are MD5s. They mostly are, but nothing proves it.

    The parts may have been copied, or sent by others, so their MD5s are not known here.
    """
    digests = [bytes.fromhex(part.etag) for part in parts if md5_of_etag(part.etag, None)]
    return etag_of_parts(digests) if len(digests) == len(parts) else None


def _has_ended(error: DreamObjectsError) -> bool:
    """Return whether the service has finished the completion. It answered, with an error in a 200 or unreadably."""
    is_answer = isinstance(error, ChecksumMismatchError) or is_unreadable(error)
    return is_answer or (isinstance(error, ServiceError) and error.status == HTTPStatus.OK)


async def check_conditions(s3: S3, address: Address, options: WriteOptions) -> None:
    """Check the conditions by a HEAD. Before the first part this saves a useless upload.

    Before the completion it is needed as well, because Ceph RGW 16.2 ignores the conditions of a completion.
    """
    if not options.is_conditional:
        return
    try:
        found = await _present(s3, address, options)
    except NotFoundError:
        if options.if_absent:
            return
        raise
    except EncryptionKeyError:  # so it exists
        if not options.if_absent:
            raise
        found = None
    if found is None or options.if_absent:
        msg = f"{address} already exists"
        raise AlreadyExistsError(msg, code="PreconditionFailed")
    if options.if_match != "*" and found.etag != unquoted(options.if_match):
        msg = f"{address} has the ETag {found.etag}, not {options.if_match}"
        raise PreconditionFailedError(msg, code="PreconditionFailed")


async def _present(s3: S3, address: Address, options: WriteOptions) -> ObjectInfo:
    """Return what is at the address now. It need not have the key that is given for the new object."""
    try:
        return await s3.head_object(address, options.reads, may_be_missing=options.if_absent)
    except EncryptionKeyError:
        if options.reads is ANY:
            raise
    return await s3.head_object(address, may_be_missing=options.if_absent)
