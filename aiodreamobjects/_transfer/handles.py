"""A multipart upload whose parts come from anywhere: this process, other processes, browsers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing, asynccontextmanager, nullcontext
from pathlib import Path

from aiodreamobjects import _presign
from aiodreamobjects._checks import check_token, encode_utf8
from aiodreamobjects._errors import DreamObjectsError, NotFoundError, OfOpenSession, TransferError
from aiodreamobjects._http.transport import Buffer
from aiodreamobjects._models import Address, ObjectInfo, UploadedPart
from aiodreamobjects._presign import Expiry, PresignedUrl
from aiodreamobjects._runtime import Runtime, clean_up
from aiodreamobjects._s3 import paging
from aiodreamobjects._s3.options import WriteOptions
from aiodreamobjects._s3.values import CreatedUpload, Part
from aiodreamobjects._service import Signature
from aiodreamobjects._transfer.multipart import ABORT_SECONDS, Multipart, abort, check_conditions
from aiodreamobjects._transfer.sources import HeldSource, Uploadable, open_source


class MultipartUpload(OfOpenSession):
    """A multipart upload of one object. Its parts may come from anywhere: this process, other processes, browsers.

    Made by ``Object.start_upload`` and ``Object.multipart``. The upload stays open until ``complete`` or ``abort``, also when
    the session closes or the process ends. ``Bucket.abort_uploads`` finds forgotten ones.
    """

    __slots__ = ("_address", "_created", "_end", "_is_in_doubt", "_options", "_runtime", "_sent")

    def __init__(self, runtime: Runtime, address: Address, created: CreatedUpload, options: WriteOptions) -> None:
        self._runtime, self._address, self._created, self._options = runtime, address, created, options
        self._sent: dict[int, Part] = {}
        """The parts that were sent here, whose sizes and MD5s are known."""
        self._end: str | None = None
        """How this handle ended the upload."""
        self._is_in_doubt = False
        runtime.uploads.add(created.upload_id)

    def __del__(self) -> None:
        self._runtime.uploads.discard(self._created.upload_id)

    def __repr__(self) -> str:
        return f"<MultipartUpload of {self._address}, {self._end or 'open'}>"

    @property
    def bucket(self) -> str:
        """Return the name of the object's bucket."""
        return self._address.bucket

    @property
    def key(self) -> str:
        """Return the object's key."""
        return self._address.key

    @property
    def upload_id(self) -> str:
        """Return the ID of the upload, for ``Object.multipart`` in another process. It is no secret without credentials."""
        return self._created.upload_id

    async def put_part(self, number: int, source: Uploadable) -> UploadedPart:
        """Store part ``number``, from 1 to 10,000. A part that exists is replaced. Return its number, ETag and size.

        ``source`` is what ``put`` takes. Each part but the last must have at least 5 MiB. Bytes are sent from your memory.
        Anything else is first read into the session's memory, so it must fit into ``Limits.memory``, and into
        ``Limits.part_size`` if its length is unknown. The MD5 of the part is compared, as ``put`` does.

        Parts may be sent in parallel and in any order. Raises ValueError for an impossible number or size.
        """
        self._check_number(number)
        self._check_open()
        runtime = self._runtime
        runtime.require_open()
        if self._options.checksum is not None:
            await runtime.s3.require_checksum(self._options.checksum)
        async with runtime.job(), _content(runtime, source) as data:
            try:
                part = await runtime.s3.put_part(self._address, self.upload_id, number, data, self._options)
            except DreamObjectsError as error:
                error.in_doubt = False  # a part may be stored, but without a completion there is no object
                raise
        self._sent[number] = part
        return _public(part)

    def presign_part(
        self,
        number: int,
        expires_in: Expiry = 3600,
        *,
        content_length: int | None = None,
        content_md5: str | None = None,
        signature: Signature | None = None,
    ) -> PresignedUrl:
        """Return a URL to which anyone can PUT part ``number`` until it expires. Sends nothing.

        If you want to give the parts to ``complete``, the client must keep the ``ETag`` of each reply. ``content_length`` and
        ``content_md5`` are those of ``Object.presign_put``.
        """
        self._check_number(number)
        self._check_open()
        query = {"partNumber": str(number), "uploadId": self.upload_id}
        headers = {**_presign.headers_of_body(content_length, content_md5), **self._options.part_headers()}
        return _presign.presign_url(
            self._runtime, "PUT", self._address, expires_in, query=query, headers=headers, signature=signature
        )

    async def parts(self) -> tuple[UploadedPart, ...]:
        """Return the parts that the service has, in the order of their numbers. One request for each 1,000 parts.

        Raises NotFoundError if the upload was completed or aborted.
        """
        self._check_open()
        return tuple([_public(part) for part in await self._listed()])

    async def complete(self, parts: Iterable[UploadedPart | tuple[int, str]] | None = None) -> ObjectInfo:
        """Make the object of these parts, and return what is known about it.

        ``parts`` are values of ``put_part`` or ``parts``, or pairs of number and ETag, in any order. Without it, all parts that
        the service has are used. Numbers may have gaps, as in S3: if a part that you expect may be missing, compare ``parts``.
        Parts that you do not name are dropped; Ceph RGW refuses that.

        The old object stays until the new one is complete. A lost reply is looked into, as in ``put``; so completing twice is no
        error if the object is there and its ETag shows that it consists of these parts. ``if_absent`` and ``if_match`` are
        checked now. If an error is ``in_doubt``, the upload may still be completed: call this again, and do not abort.

        Raises ValueError if there is no part or one is named twice, InvalidRequestError for a wrong ETag and for a part that is
        too small.
        """
        self._check_open()
        given = None if parts is None else self._in_order(parts)
        runtime, address, options = self._runtime, self._address, self._options
        runtime.require_open()
        await runtime.s3.require(address, options)
        async with runtime.job() as job:
            upload = Multipart(runtime, address, options, job)
            upload.take_up(self._created)
            chosen = [self._known(part) for part in (await self._listed() if given is None else given)]
            if not chosen:
                msg = f"{address}: the upload has no parts: put at least one, which may be empty"
                raise ValueError(msg)
            if not self._is_in_doubt:  # else the object may be there already, from the earlier call
                await check_conditions(runtime.s3, address, options)
            try:
                info = await upload.finish(chosen)
            finally:
                self._is_in_doubt |= upload.is_in_doubt
        self._finish("completed")
        return info

    async def abort(self) -> None:
        """End the upload and drop its parts. An upload that is gone is not an error; nor is one that was completed here.

        Raises TransferError, and sends nothing, if a completion may still be under way: some services would damage the object.
        """
        if self._end is not None:
            return
        self._runtime.require_open()
        if self._is_in_doubt:
            msg = (
                f"{self._address}: the upload was not aborted, because an earlier complete() may still be under way: call "
                "complete() again; or wait some minutes, and abort it with obj.multipart(upload_id).abort()"
            )
            error = TransferError(msg)
            error.in_doubt = True
            raise error
        async with self._runtime.job():
            await clean_up(abort(self._runtime.s3, self._address, self.upload_id), grace=ABORT_SECONDS)
        self._finish("aborted")

    def _finish(self, end: str) -> None:
        self._end = end
        self._runtime.uploads.discard(self.upload_id)

    def _check_open(self) -> None:
        if self._end is not None:
            msg = f"{self._address}: the upload was {self._end}: start another one with start_upload()"
            raise NotFoundError(msg, code="NoSuchUpload")

    def _check_number(self, number: int) -> None:
        most = self._runtime.service.multipart.most_parts
        if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number <= most:
            msg = f"part number {number!r} must be from 1 to {most:,}"
            raise ValueError(msg)

    def _in_order(self, parts: Iterable[UploadedPart | tuple[int, str]]) -> list[Part]:
        found: dict[int, Part] = {}
        for given in parts:
            part = _part_of(given)
            self._check_number(part.number)
            if part.number in found:
                msg = f"part {part.number} is given twice: {found[part.number].etag} and {part.etag}; choose one"
                raise ValueError(msg)
            found[part.number] = part
        return [part for _, part in sorted(found.items())]

    def _known(self, part: Part) -> Part:
        """Return the part with its MD5 and size, if it was sent here."""
        sent = self._sent.get(part.number)
        return sent if sent is not None and sent.etag == part.etag else part

    async def _listed(self) -> list[Part]:
        most = self._runtime.service.multipart.most_parts
        async with aclosing(
            paging.parts(self._runtime.s3, self._address, self.upload_id, most, self._options)
        ) as pages:
            return [part async for page in pages for part in page.items]


async def start(runtime: Runtime, address: Address, options: WriteOptions) -> MultipartUpload:
    runtime.require_open()
    await runtime.s3.require(address, options)
    async with runtime.job() as job:
        created = await Multipart(runtime, address, options, job).start()
        return MultipartUpload(runtime, address, created, options)


def take_up(runtime: Runtime, address: Address, upload_id: str, options: WriteOptions) -> MultipartUpload:
    check_token("upload_id", upload_id)
    return MultipartUpload(runtime, address, CreatedUpload(upload_id), options)


def _public(part: Part) -> UploadedPart:
    return UploadedPart(part.number, part.etag, part.size, part.checksum)


def _part_of(given: UploadedPart | tuple[int, str]) -> Part:
    """Return a part that a caller names. A browser gives the ETag with quotes, and a proxy may have made it weak."""
    if isinstance(given, UploadedPart):
        number, etag, size, checksum = given.number, given.etag, given.size, given.checksum
    else:
        try:
            number, etag = given
        except (TypeError, ValueError):
            msg = f"part {given!r} must be an UploadedPart, or a pair of number and ETag"
            raise ValueError(msg) from None
        size = checksum = None
    check_token(f"the ETag of part {number}", etag or "")
    return Part(number, etag.removeprefix("W/").strip('"'), size, checksum=checksum)


@asynccontextmanager
async def _content(runtime: Runtime, source: Uploadable) -> AsyncIterator[Buffer]:
    """Hold the content of a part in memory."""
    if isinstance(source, str):
        source = encode_utf8("text", source)
    async with runtime.file() if isinstance(source, Path) else nullcontext(), open_source(source) as opened:
        limits, rules, size = runtime.limits, runtime.service.multipart, opened.size
        if size is not None and size > rules.largest_part:
            msg = f"{opened.what} has {size:,} bytes; this service allows at most {rules.largest_part:,} in a part"
            raise ValueError(msg)
        if isinstance(opened, HeldSource):
            yield opened.take(size or 0)
            return
        one_part = max(limits.part_size, rules.smallest_part)
        if size is not None and size > max(limits.memory, one_part):
            msg = (
                f"{opened.what} has {size:,} bytes, more than Limits.memory={limits.memory:,}: "
                "send smaller parts, or open the session with a larger Limits(memory=...)"
            )
            raise ValueError(msg)
        async with runtime.memory.share().lend(one_part if size is None else size) as buffer:
            count = await opened.fill(buffer)
            if size is None and not await opened.is_at_end():
                msg = (
                    f"{opened.what} has an unknown length, and more than the {one_part:,} bytes of one part: "
                    "send smaller parts, or bytes, or open the session with a larger Limits(part_size=...)"
                )
                raise ValueError(msg)
            await opened.check_end()
            yield buffer[:count]
