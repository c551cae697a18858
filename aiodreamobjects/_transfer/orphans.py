"""Find and abort uploads whose ids are unknown, because the reply to their creation was lost."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Container
from contextlib import aclosing
from datetime import timedelta

from aiodreamobjects._errors import DreamObjectsError, NotFoundError
from aiodreamobjects._models import Address, UploadInfo, printable
from aiodreamobjects._s3 import paging
from aiodreamobjects._s3.s3 import S3

ROUNDING = timedelta(seconds=2)
"""Services round the times of uploads. A time may be off by this much."""
PATIENCE_SECONDS = 10.0

_log = logging.getLogger("aiodreamobjects")


class Orphans:
    """The lost uploads of one object, while it is uploaded again.

    An upload counts as ours if it was created during the lost attempts and has no part, neither then nor when our upload
    ends. If more uploads fit than replies were lost, none is aborted. If a lost attempt never reached the service, another
    writer's upload may fit instead, and is aborted by mistake.
    """

    def __init__(self, s3: S3, address: Address, known: Container[str | None]) -> None:
        """``known``: the ids of the session's own uploads."""
        self._s3, self._address, self._known = s3, address, known
        self._began, self._lost = time.monotonic(), 0
        self.found: list[UploadInfo] = []
        """The uploads to abort at the end."""

    def count_lost_reply(self) -> None:
        self._lost += 1

    async def find(self, ours: str | None) -> None:
        """Look for lost uploads. The start of our upload, ``ours``, gives the service's time, if it was created."""
        if not self._lost:
            return
        took = timedelta(seconds=time.monotonic() - self._began)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                around = _around(await self._open_uploads(), ours, self._s3.now(), took)
                self.found = [upload for upload in around if not await self._has_owner(upload.upload_id)]
        except (DreamObjectsError, TimeoutError) as error:
            _log.warning(
                "%s: an upload may have been left open, and looking for it failed: %s; abort it later, with abort_uploads()",
                self._address,
                error,
            )
        if len(self.found) > self._lost:
            ids = ", ".join(printable(upload.upload_id) for upload in self.found)
            _log.warning("%s: an upload may have been left open; it is one of %s", self._address, ids)
            self.found = []

    async def abort(self) -> None:
        """Abort the uploads that were found, if they still have no part."""
        while self.found:
            upload_id = self.found.pop().upload_id
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    if not await self._has_owner(upload_id):
                        await self._s3.abort_upload(self._address, upload_id)
                        _log.info(
                            "%s: aborted the upload %s, whose creation got no reply",
                            self._address,
                            printable(upload_id),
                        )
            except NotFoundError:  # an earlier attempt aborted it, and its reply was lost
                continue
            except (DreamObjectsError, TimeoutError) as error:
                _log.warning(
                    "%s: the upload %s may have been left open: %s", self._address, printable(upload_id), error
                )

    async def _has_owner(self, upload_id: str) -> bool:
        """Return whether a writer knows this upload: it has parts, has ended, or belongs to this session."""
        if upload_id in self._known:
            return True
        try:
            return bool((await self._s3.list_parts(self._address, upload_id, may_be_gone=True)).items)
        except NotFoundError:  # its owner has completed or aborted it
            return True

    async def _open_uploads(self) -> list[UploadInfo]:
        key, found = self._address.key, list[UploadInfo]()
        async with aclosing(paging.uploads(self._s3, self._address.bucket, key)) as pages:
            async for page in pages:
                found += [upload for upload in page.items if upload.key == key]
                # Most services sort by key. Ceph RGW sorts by key, dot and id. In both, no upload of the key follows "/".
                if page.items[-1].key >= f"{key}/":
                    break
        return found


def _around(uploads: list[UploadInfo], ours: str | None, now: float, took: timedelta) -> list[UploadInfo]:
    """Return the uploads that were created within the time that it ``took`` to create ours.

    That time ends when ours was created, or at ``now`` if the creation of ours failed.
    """
    times = {upload.upload_id: upload.initiated.timestamp() for upload in uploads if upload.initiated is not None}
    end = times.pop(ours, None) if ours is not None else now
    if end is None:
        return []
    earliest, latest = end - (took + ROUNDING).total_seconds(), end + ROUNDING.total_seconds()
    return [upload for upload in uploads if earliest <= times.get(upload.upload_id, 0.0) <= latest]
