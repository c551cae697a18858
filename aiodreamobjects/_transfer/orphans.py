"""Uploads that were created by a request whose reply was lost, so that nobody knows their ids."""

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
"""Of the times that services tell."""
PATIENCE_SECONDS = 10.0

_log = logging.getLogger("aiodreamobjects")


class Orphans:
    """Those of one object, while it is uploaded once more.

    Taken for ours are those that were begun in the seconds of the lost attempts and have no part, neither then nor when
    ours has ended; none, if there are more of them than replies were lost. Another writer's that fits is taken too, where
    the lost attempt was not carried out.
    """

    def __init__(self, s3: S3, address: Address, known: Container[str | None]) -> None:
        """``known``: the session's own uploads."""
        self._s3, self._address, self._known = s3, address, known
        self._began, self._lost = time.monotonic(), 0
        self.found: list[UploadInfo] = []
        """Those that are to be aborted in the end."""

    def note(self) -> None:
        """A reply was lost."""
        self._lost += 1

    async def find(self, ours: str | None) -> None:
        """Look for them, with ``ours`` among the open uploads to tell the service's time; or without one."""
        if not self._lost:
            return
        took = timedelta(seconds=time.monotonic() - self._began)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                around = _around(await self._open_uploads(), ours, self._s3.now(), took)
                self.found = [upload for upload in around if not await self._is_anothers(upload.upload_id)]
        except (DreamObjectsError, TimeoutError) as error:
            _log.warning("%s: an upload may have been left open, which was not looked for: %s", self._address, error)
        if len(self.found) > self._lost:
            ids = ", ".join(printable(upload.upload_id) for upload in self.found)
            _log.warning("%s: an upload may have been left open, one of %s", self._address, ids)
            self.found = []

    async def abort(self) -> None:
        """End those that were found and still have no part."""
        while self.found:
            upload_id = self.found.pop().upload_id
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    if not await self._is_anothers(upload_id):
                        await self._s3.abort_upload(self._address, upload_id)
                        _log.info(
                            "%s: the upload %s, whose reply was lost, was aborted", self._address, printable(upload_id)
                        )
            except NotFoundError:  # by an attempt whose reply was lost
                continue
            except (DreamObjectsError, TimeoutError) as error:
                _log.warning("%s: the upload %s may be left open: %s", self._address, printable(upload_id), error)

    async def _is_anothers(self, upload_id: str) -> bool:
        if upload_id in self._known:
            return True
        try:
            return bool((await self._s3.list_parts(self._address, upload_id)).items)
        except NotFoundError:  # completed or aborted since: it has an owner
            return True

    async def _open_uploads(self) -> list[UploadInfo]:
        key, found = self._address.key, list[UploadInfo]()
        async with aclosing(paging.uploads(self._s3, self._address.bucket, key)) as pages:
            async for page in pages:
                found += [upload for upload in page if upload.key == key]
                # Most services sort by the key, Ceph RGW by the key, a dot and the id: nothing of it comes behind "/".
                if page[-1].key >= f"{key}/":
                    break
        return found


def _around(uploads: list[UploadInfo], ours: str | None, now: float, took: timedelta) -> list[UploadInfo]:
    """Those that were begun in the time which it ``took`` to create ours, or until ``now`` where there is none."""
    times = {upload.upload_id: upload.initiated.timestamp() for upload in uploads if upload.initiated is not None}
    end = times.pop(ours, None) if ours is not None else now
    if end is None:
        return []
    earliest, latest = end - (took + ROUNDING).total_seconds(), end + ROUNDING.total_seconds()
    return [upload for upload in uploads if earliest <= times.get(upload.upload_id, 0.0) <= latest]
