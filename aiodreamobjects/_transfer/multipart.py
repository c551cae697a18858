"""A multipart upload's life: created, its parts, completed; or aborted; or in doubt. Whoever sends the parts is above.

An upload whose completion was sent is never aborted before it is known that it did not happen: on Ceph RGW an abort
that met a slow completion has left objects without their data (ceph/ceph#60771).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import datetime
from http import HTTPStatus
from typing import Literal

from aiodreamobjects._errors import (
    AlreadyExistsError,
    ChecksumMismatchError,
    ConnectionFailedError,
    DreamObjectsError,
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
from aiodreamobjects._s3.options import WriteOptions, unquoted
from aiodreamobjects._s3.s3 import S3
from aiodreamobjects._s3.values import Part
from aiodreamobjects._transfer.journal import UploadJournal, UploadRecord
from aiodreamobjects._transfer.orphans import Orphans

ABORT_SECONDS = 10.0
COMPLETION_GRACE_SECONDS = 30.0
"""So long a completion that was sent may still take when its caller is cancelled."""
LOOKS = (0, 2, 10, 20, 40)
"""When the object is looked at, after the reply to its completion was lost: in ``Retry.base``, one after the other."""
LOOKS_AFTER_REPLY = (0, 2)
"""The same where there was a reply, which made no sense: the service is no longer at it."""
MOST_COMPLETIONS = 3
MOST_ABORTS = 3

Outcome = Literal["stored", "open", "gone", "unknown"]
"""Of a completion. ``gone``: neither the upload is there nor its object; another one may be."""

_log = logging.getLogger("aiodreamobjects")


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a look at the service has shown after a completion. None: it could not be told."""

    is_open: bool | None = None
    """Whether the upload is still there."""
    found: ObjectInfo | None = None
    """What is at the upload's key."""
    is_ours: bool | None = None
    """Whether that is the upload's object. False where nothing is there."""

    @property
    def outcome(self) -> Outcome:
        """Return what became of the completion.

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
        """What is stored now, for the words of an error."""
        if self.outcome == "unknown":
            return "what is stored now could not be found out"
        if self.outcome == "open":
            return "nothing was stored"
        if self.found is None:
            return "no object is there now"
        size = "" if self.found.size is None else f" of {self.found.size:,} bytes"
        return f"there is now an object{size} with the ETag {self.found.etag}"


_NOT_DONE = _Seen(is_open=True, is_ours=False)


class Multipart:
    """One multipart upload. With a journal, it is left open when it fails, and the next one takes it up."""

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
        self._journal, self._record = journal, record
        self._upload_id: str | None = None
        self._created: str | None = None
        """The same where it is not another process's, also when it has ended."""
        self._since: datetime | None = None
        """When it was created, by the service's clock. None for one that an earlier process created."""
        self._is_noted = False
        """Whether the journal names it, so that it can be taken up."""
        self._is_in_doubt = False
        """Whether a completion was sent of which it is not known what became of it."""
        self._has_its_size = False
        """Whether the object was looked at, since its ETag is no digest."""
        self._most_parts = runtime.service.multipart.most_parts
        self._ours = runtime.uploads
        self._orphans = Orphans(self._s3, address, runtime.uploads)
        self.held: Mapping[int, Part] = {}
        """Parts that were there before, by their numbers."""

    @property
    def _name(self) -> str:
        """The upload's id, for people."""
        return printable(self._upload_id or "")

    @property
    def upload_id(self) -> str:
        assert self._upload_id
        return self._upload_id

    async def run(self, send_parts: Callable[[], Awaitable[list[Part]]]) -> ObjectInfo:
        """Create it, send its parts, complete it. Failed or cancelled before that, it is aborted."""
        await check_conditions(self._s3, self._address, self._options)
        departure = Departure()
        try:
            parts = await self._send(send_parts)
            if self._is_noted:
                await self._note(is_completing=True)
            info = await self._job.complete(self._complete(parts), departure, grace=COMPLETION_GRACE_SECONDS)
        except BaseException as error:
            self._is_in_doubt &= departure.has_left
            if self._is_in_doubt:
                note = f"{self._address}: the upload {self._name} may be completed yet, and was left open"
                error.add_note(note)
                _log.warning("%s", note)
                if isinstance(error, DreamObjectsError):
                    error.in_doubt = True
            elif not self._is_noted and self._upload_id is not None:
                await clean_up(self._abort(self._upload_id), grace=ABORT_SECONDS)
            raise
        finally:
            self._ours.discard(self._created)
            if self._orphans.found:
                await clean_up(self._orphans.abort(), grace=ABORT_SECONDS)
        if self._journal is not None:
            await self._journal.remove()
        return info

    async def _send(self, send_parts: Callable[[], Awaitable[list[Part]]]) -> list[Part]:
        try:
            await self._begin()
            parts = await send_parts()
            await check_conditions(self._s3, self._address, self._options)
        except DreamObjectsError as error:
            error.in_doubt = False  # whatever became of a part: without a completion there is no object
            raise
        return parts

    async def _begin(self) -> None:
        """Create the upload, or take up the one that an earlier process left."""
        journal, record = self._journal, self._record
        if journal is not None and record is not None and await self._take_up(await journal.read(), record):
            return

        async def create() -> None:
            orphans = self._orphans
            try:
                self._upload_id, self._since = await self._s3.create_upload(self._address, self._options, orphans.note)
                self._created = self._upload_id
                self._ours.add(self._created)
            except DreamObjectsError as error:
                if is_unreadable(error):
                    orphans.note()
                raise
            finally:
                await orphans.find(self._upload_id)
            if journal is not None:
                await self._note(is_completing=False)

        # To its end even if cancelled: an upload without a known id could not be aborted.
        await clean_up(create(), Departure(is_tried_again=False), grace=ABORT_SECONDS)

    async def _note(self, *, is_completing: bool) -> None:
        assert self._journal
        assert self._record
        await self._journal.write(replace(self._record, upload_id=self.upload_id, is_completing=is_completing))
        self._is_noted = True

    async def give_up(self, found: UploadRecord) -> None:
        """Drop what an earlier process left, where the object takes no parts any more."""
        assert self._journal
        await self._drop(found)
        await self._journal.remove()

    async def _drop(self, found: UploadRecord) -> None:
        if found.is_completing:
            _log.warning(
                "%s: the upload %s may be completed yet, and was left open", self._address, printable(found.upload_id)
            )
        else:
            await clean_up(self._abort(found.upload_id), grace=ABORT_SECONDS)

    async def _take_up(self, found: UploadRecord | None, wanted: UploadRecord) -> bool:
        if found is None:
            return False
        if replace(found, upload_id="", is_completing=False) != wanted:
            _log.info("%s: the file, or what is asked for, changed since the last try; it starts afresh", self._address)
            if (found.endpoint, found.bucket, found.key) == (wanted.endpoint, wanted.bucket, wanted.key):
                await self._drop(found)
            return False
        try:
            self.held = {part.number: part async for part in self._listed(found.upload_id)}
        except (NotFoundError, InvalidRequestError, UnsupportedByServiceError) as error:
            # InvalidRequestError: the service says that this is no upload's ID. The last: it lists no parts.
            _log.info("%s: the upload of the last try cannot be taken up; it starts afresh: %s", self._address, error)
            return False
        self._upload_id, self._is_noted = found.upload_id, True
        return True

    async def _listed(self, upload_id: str) -> AsyncIterator[Part]:
        async with aclosing(paging.parts(self._s3, self._address, upload_id, self._most_parts)) as pages:
            async for page in pages:
                for part in page:
                    yield part

    async def _complete(self, parts: Sequence[Part]) -> ObjectInfo:
        assert self._upload_id
        digests = [bytes.fromhex(part.md5) for part in parts if part.md5]
        expected = etag_of_parts(digests) if len(digests) == len(parts) else None
        size = sum(part.size or 0 for part in parts)
        info = await self._complete_surely(self._upload_id, parts, expected)
        self._is_in_doubt, self._upload_id = False, None
        return self._completed(info, expected, size)

    async def _complete_surely(self, upload_id: str, parts: Sequence[Part], expected: str | None) -> ObjectInfo:
        """Once more where the reply made no sense and the upload is still open: it was not completed then."""
        for is_last in (*[False] * (MOST_COMPLETIONS - 1), True):
            self._is_in_doubt = True
            try:
                info = await self._s3.complete_upload(self._address, upload_id, parts, self._options)
                if info.etag is None and expected is not None:
                    info = await self._look_for(info, upload_id, parts, expected)
                await self._check_etag(info.etag, expected, sum(part.size or 0 for part in parts))
            except (ServiceError, ConnectionFailedError, TransferError) as raised:
                error = raised
            else:
                return info
            seen = await self._look_after(error, upload_id, parts, expected)
            if seen.outcome == "stored":
                assert seen.found is not None
                return seen.found
            may_try_again = is_unreadable(error) and not error.in_doubt and not is_last
            if seen.outcome != "open" or not may_try_again:
                self._settle(error, seen)
                raise error
        raise AssertionError

    async def _look_for(self, info: ObjectInfo, upload_id: str, parts: Sequence[Part], expected: str) -> ObjectInfo:
        """Look whether a success that tells no ETag is one. Ceph RGW 16.2 tells none."""
        try:
            found = await self._s3.head_object(self._address)
        except NotFoundError:
            found = None
        except DreamObjectsError:
            return info
        if found is not None and found.etag == expected:
            return replace(info, etag=expected, last_modified=found.last_modified)
        seen = await self._look_once(upload_id, parts, expected)
        if seen.is_open or (seen.is_open is False and found is None):
            refuse_reply("a completion without an ETag, and nothing was completed", may_be_done=not seen.is_open)
        return info  # another writer's object has taken its place since

    async def _check_etag(self, etag: str | None, expected: str | None, size: int) -> None:
        """Refuse an object that is not made of our parts. ``expected``: its ETag, if each part's ETag was its MD5.

        A service of unknown kind may have another way with ETags of parts. Since each part is right there, it is enough that
        the object is there and has the size.
        """
        service = self._s3.service
        is_other = expected is not None and etag != expected and parts_of_etag(etag, None) is not None
        if not is_other or (service.is_known and service.digests != "all"):
            return
        if not service.is_known:
            found = await self._s3.head_object(self._address)
            if found.etag == etag and found.size == size:
                self._s3.note_digests("whole")
                self._has_its_size = True
                return
        msg = f"{self._address}: the service made ETag {etag} of the parts, they have {expected}"
        raise ChecksumMismatchError(msg)

    async def _look_after(
        self, error: DreamObjectsError, upload_id: str, parts: Sequence[Part], expected: str | None
    ) -> _Seen:
        """What became of a completion that was not answered with a success. A plain refusal says it all."""
        if error.in_doubt:
            return await self._look(upload_id, parts, expected, LOOKS)
        if _has_ended(error):
            return await self._look(upload_id, parts, expected, LOOKS_AFTER_REPLY)
        return _NOT_DONE

    def _settle(self, error: DreamObjectsError, seen: _Seen) -> None:
        """Say in the error what became of the completion, and let the upload be aborted only where nothing can come of it."""
        is_under_way = seen.outcome == "open" and error.in_doubt and not _has_ended(error)
        self._is_in_doubt = seen.outcome == "unknown" or is_under_way
        if seen.outcome == "gone":  # completed, and replaced since; or aborted by another
            self._upload_id = None
        if seen.outcome == "gone" or isinstance(error, ChecksumMismatchError):
            error.args = (f"{error}; {seen}",)
        error.in_doubt = self._is_in_doubt or seen.outcome == "gone"

    async def _look(self, upload_id: str, parts: Sequence[Part], expected: str | None, looks: Sequence[int]) -> _Seen:
        """Look until the upload is gone, or for as long as it is of use."""
        seen = _Seen()
        for look in looks:
            await self._s3.sleep(min(look * self._retry.base, self._retry.cap))
            seen = await self._look_once(upload_id, parts, expected)
            if seen.outcome in ("stored", "gone"):
                break
        return seen

    async def _look_once(self, upload_id: str, parts: Sequence[Part], expected: str | None) -> _Seen:
        try:
            is_open = bool([part async for part in self._listed(upload_id)])
        except NotFoundError:
            is_open = False
        except DreamObjectsError:
            return _Seen()
        try:
            found = await self._s3.head_object(self._address)
        except NotFoundError:
            return _Seen(is_open=is_open, is_ours=False)
        except DreamObjectsError:
            return _Seen(is_open=is_open)
        return _Seen(is_open=is_open, found=found, is_ours=self._is_ours(found, parts, expected))

    def _is_ours(self, found: ObjectInfo, parts: Sequence[Part], expected: str | None) -> bool:
        """Whether an object is the one that these parts make. ``expected``: its ETag, if all digests are known.

        An ETag that tells nothing does not tell an earlier object of the same size from ours. So the object must be newer
        than the upload, by the service's own clock. In the same second, it may be either.
        """
        if expected is None:
            digests = [bytes.fromhex(part.etag) for part in parts if md5_of_etag(part.etag, None)]
            expected = etag_of_parts(digests) if len(digests) == len(parts) else None
        if expected is not None:
            if found.etag == expected:
                return True
            if parts_of_etag(found.etag, None) or md5_of_etag(found.etag, None):
                return False
        is_newer = bool(self._since and found.last_modified and found.last_modified > self._since)
        kept = found.metadata or {}
        given = replies.described(self._address, self._options, None, None, None, None).metadata or {}
        is_marked_otherwise = any(kept.get(name, value) != value for name, value in given.items())
        return is_newer and not is_marked_otherwise and found.size == sum(part.size or 0 for part in parts)

    def _completed(self, info: ObjectInfo, expected: str | None, size: int) -> ObjectInfo:
        """With what is known of it."""
        verified: Verified | None = "size" if self._has_its_size else None
        if expected is not None and info.etag == expected:
            verified = "parts"
        made = replies.described(self._address, self._options, size, info.etag, info.version_id, verified)
        return replace(made, last_modified=info.last_modified)

    async def _abort(self, upload_id: str) -> None:
        """Abort until nothing of it is left: a part that was under way may arrive after the first time."""
        outcome = "could not be aborted"
        try:
            async with asyncio.timeout(ABORT_SECONDS):
                for _ in range(MOST_ABORTS):
                    await self._s3.abort_upload(self._address, upload_id)
                    outcome = "was aborted, and whether parts are left cannot be told"
                    await self._s3.list_parts(self._address, upload_id)
            _log.warning("%s: the upload %s was aborted, and still has parts", self._address, printable(upload_id))
        except NotFoundError:
            return
        except (DreamObjectsError, TimeoutError) as error:
            _log.warning("%s: the upload %s %s: %s", self._address, printable(upload_id), outcome, error)


def _has_ended(error: DreamObjectsError) -> bool:
    """Whether the service is no longer at the completion: it has answered, but with an error in a 200, or with no sense."""
    is_answer = isinstance(error, ChecksumMismatchError) or is_unreadable(error)
    return is_answer or (isinstance(error, ServiceError) and error.status == HTTPStatus.OK)


async def check_conditions(s3: S3, address: Address, options: WriteOptions) -> None:
    """Before the first part, to refuse in time; and before the completion: Ceph RGW 16.2 ignores its conditions."""
    if not options.is_conditional:
        return
    try:
        found = await s3.head_object(address)
    except NotFoundError:
        if options.if_absent:
            return
        raise
    if options.if_absent:
        msg = f"{address} exists"
        raise AlreadyExistsError(msg, code="PreconditionFailed")
    if options.if_match != "*" and found.etag != unquoted(options.if_match):
        msg = f"{address} has the ETag {found.etag}, not {options.if_match}"
        raise PreconditionFailedError(msg, code="PreconditionFailed")
