"""Object: one key of one bucket. Each verb is a line that delegates."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Unpack, get_args

from aiodreamobjects import _presign
from aiodreamobjects._checks import check_one_of, check_tags, check_token
from aiodreamobjects._errors import NotFoundError
from aiodreamobjects._models import (
    Acl,
    Address,
    ByteRange,
    CannedAcl,
    ObjectInfo,
    PresignedPost,
    Verify,
    check_canned_acl,
)
from aiodreamobjects._presign import Expiry, PostCondition
from aiodreamobjects._progress import ProgressCallback
from aiodreamobjects._runtime import Runtime
from aiodreamobjects._s3.options import ContentArguments, ReadOptions, WriteArguments, WriteOptions, shows
from aiodreamobjects._service import Signature
from aiodreamobjects._transfer import body, copy, download, files, upload
from aiodreamobjects._transfer.body import Body
from aiodreamobjects._transfer.copy import Changes
from aiodreamobjects._transfer.download import IfChanged
from aiodreamobjects._transfer.files import ObjectReader, ObjectWriter
from aiodreamobjects._transfer.sources import Uploadable


class Object:
    """A name for an object that may or may not exist. Making one sends nothing.

    Every awaited verb raises SessionClosedError unless the session is open, NotFoundError where bucket or key is
    missing, AccessDeniedError, and, once the session's attempts are spent, ServiceBusyError or ConnectionFailedError.
    """

    __slots__ = ("_address", "_runtime")

    def __init__(self, runtime: Runtime, address: Address) -> None:
        self._runtime = runtime
        self._address = address

    @property
    def bucket(self) -> str:
        return self._address.bucket

    @property
    def key(self) -> str:
        return self._address.key

    def __repr__(self) -> str:
        return f"<Object {self._address}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Object) and (self._address, self._runtime) == (other._address, other._runtime)

    def __hash__(self) -> int:
        return hash(self._address)

    # Content

    @shows(WriteArguments)
    async def put(
        self,
        source: Uploadable,
        *,
        progress: ProgressCallback | None = None,
        **options: Unpack[WriteArguments],
    ) -> ObjectInfo:
        """Store text as UTF-8, bytes, a ``Path``, an open binary or aiofiles file, an iterable or async-iterable of
        bytes of any length, or the open ``Body`` of another object; what ``info`` is known of it.

        One request where it fits into ``Limits.part_size``; else a multipart upload, ``Limits.parts_per_object`` at
        once, each part read when its turn comes and held until the service has it. The old object stays until the new
        one is whole; what fails or is cancelled leaves nothing behind, within some 20 seconds. A completion that was
        sent is waited for, 30 seconds at most, and never aborted while it is ``in_doubt``.

        The service checks each part's MD5 on arrival and its ETag is compared here, as is the whole's: ChecksumMismatchError.
        ``verified`` tells how; ``verify="off"`` leaves it out. A file that changes while it is sent is SourceChangedError.
        ``if_absent`` raises AlreadyExistsError where there is an object; ``if_match`` raises PreconditionFailedError
        unless the one there has this ETag. Metadata and the other headers must be printable US-ASCII (ValueError).
        Nothing that was not asked for is set, no ACL either; but a multipart upload keeps its ``part-size`` in the
        metadata, which makes its ETag one that a download can check.
        """
        return await upload.put(self._runtime, self._address, source, WriteOptions(**options), progress)

    @shows(WriteArguments)
    async def upload(
        self,
        path: str | os.PathLike[str],
        *,
        resume: bool = False,
        progress: ProgressCallback | None = None,
        **options: Unpack[WriteArguments],
    ) -> ObjectInfo:
        """Store a regular file, as ``put`` does. Its type is guessed from its name, and its time kept as rclone keeps it.

        ``resume=True``: what was sent stays when this fails or the process dies, and the next call for the same file,
        object and headers sends the rest: a part is there already where the service lists it with the MD5 of the file's
        bytes. What to look for is noted under ``$XDG_STATE_HOME/aiodreamobjects/uploads``. What nobody takes up again,
        ``bucket.uploads()`` shows.
        """
        given = WriteOptions(**options)
        return await upload.upload(self._runtime, self._address, path, given, progress, resume=resume)

    @shows(WriteArguments)
    def writer(
        self,
        *,
        progress: ProgressCallback | None = None,
        **options: Unpack[WriteArguments],
    ) -> AbstractAsyncContextManager[ObjectWriter]:
        """A file to write to: ``async with obj.writer() as file: await file.write(b"...")``.

        Leaving it normally completes the object, of which ``file.info`` then tells; any exception leaves no trace.
        Memory and requests are those of ``put``: ``write`` waits while all parts that may be under way are.
        """
        return files.open_writer(self._runtime, self._address, WriteOptions(**options), progress)

    async def read(self, range: tuple[int, int | None] | None = None) -> bytes:  # noqa: A002 - the field's word
        """The content, or a part of it: ``(start, stop)``, stop exclusive; ``(start, None)``; ``(-n, None)``, the end.

        One request; as large in memory as what is asked for. A range that begins beyond the end is InvalidRequestError.
        """
        return await body.read(self._runtime, self._address, None if range is None else ByteRange.of(range))

    async def read_text(self, encoding: str = "utf-8") -> str:
        return (await self.read()).decode(encoding)

    def get(
        self,
        *,
        range: tuple[int, int | None] | None = None,  # noqa: A002 - the field's word
        if_match: str | None = None,
        if_none_match: str | None = None,
        version_id: str | None = None,
        verify: Verify = "auto",
    ) -> AbstractAsyncContextManager[Body]:
        """The content as a stream: ``async with obj.get() as body: async for chunk in body: ...``.

        Opening sends one request, and raises NotFoundError, or PreconditionFailedError where ``if_match`` is refused
        or ``if_none_match`` holds (its ``status`` is then 304). An open body occupies one of ``Limits.requests`` places
        for bodies: tasks that each hold one and wait for another can wait for each other, unless ``Timeouts.pool`` is set.
        """
        byte_range = None if range is None else ByteRange.of(range)
        options = ReadOptions(if_match, if_none_match, version_id, verify)
        return body.open_body(self._runtime, self._address, byte_range, options)

    def reader(self) -> AbstractAsyncContextManager[ObjectReader]:
        """A file to read and seek in: ``async with obj.reader() as file: await file.seek(-22, os.SEEK_END)``.

        Opening reads the first 64 KiB, and raises as ``get``. After a seek a little is asked for, and more while it is
        read on. Pinned to one state of the object: ObjectChangedError if it is another by then.
        """
        return files.open_reader(self._runtime, self._address)

    async def download(
        self,
        path: str | os.PathLike[str],
        *,
        resume: bool = False,
        overwrite: bool = True,
        progress: ProgressCallback | None = None,
        fsync: bool = False,
        verify: Verify = "auto",
        if_changed: IfChanged = "restart",
    ) -> ObjectInfo:
        """Fetch the content to a file that appears when every byte is there and verified, with the object's time.

        An object larger than ``Limits.part_size`` comes in ranges, ``Limits.parts_per_object`` at once, all of the
        state that the first one had: if it is replaced meanwhile the download begins again, once, and then it is
        ObjectChangedError; at once with ``if_changed="raise"``. ``verified`` tells what the bytes were compared with:
        their MD5 where the ETag is one, the parts' MD5s where it is made of these and it can be told where they were
        cut, else their number only. Other bytes are fetched once more, and then ChecksumMismatchError.
        ``verify="off"``: only the number.

        Until then a hidden temporary file stands beside it, which a failure or a cancellation removes. An existing
        file is replaced in one step, or with ``overwrite=False`` left alone: FileExistsError. ``fsync`` makes sure of
        the disk before the name appears. A missing or read-only directory and a full disk raise their OSError.

        ``resume=True``: what has arrived stays when this fails or the process dies, in ``.NAME.*.part`` with a
        ``.journal`` beside it, and the next call fetches the rest, if the object is still the same. BlockingIOError
        while another process does just that.
        """
        check_one_of("verify", verify, get_args(Verify))
        check_one_of("if_changed", if_changed, get_args(IfChanged))
        return await download.download(
            self._runtime,
            self._address,
            path,
            resume=resume,
            overwrite=overwrite,
            progress=progress,
            fsync=fsync,
            verify=verify,
            if_changed=if_changed,
        )

    @shows(ContentArguments)
    async def copy_to(
        self,
        to: Object,
        *,
        tags: Mapping[str, str] | None = None,
        copy_acl: bool = False,
        progress: ProgressCallback | None = None,
        **options: Unpack[ContentArguments],
    ) -> ObjectInfo:
        """Copy the object: within a session by the service itself, in parts where it is larger than that allows; to an
        object of another session streamed through here, in parts as ``put`` does.

        Content type, metadata and tags are carried over, each unless it is given; the ACL only with ``copy_acl=True``.
        ``if_absent`` and ``if_match`` are about the object at ``to``. ObjectChangedError if this one is replaced
        meanwhile; where it is ``in_doubt``, ``to`` is a copy of the older state. A copy that is streamed is made once more
        before that. Tags and ACL follow the copy in requests of their own.
        """
        check_tags(tags or {})
        changes = Changes(WriteOptions(**options), tags, copy_acl)
        source, target = (self._runtime, self._address), (to._runtime, to._address)
        return (await copy.copy(source, target, changes, progress)).info

    async def move_to(
        self,
        to: Object,
        *,
        copy_acl: bool = False,
        if_absent: bool = False,
        if_match: str | None = None,
        progress: ProgressCallback | None = None,
    ) -> ObjectInfo:
        """``copy_to``, a look at both objects, and only then the deletion of this one.

        TransferError where neither a digest nor a length tells whether all of it was copied: it is left where it is.
        Where there are versions, the very version that was copied is deleted for good. What is written here between the
        last look and the deletion is lost where there are none: S3 has no conditional deletion.
        """
        changes = Changes(WriteOptions(if_absent=if_absent, if_match=if_match), None, copy_acl)
        source, target = (self._runtime, self._address), (to._runtime, to._address)
        return await copy.move(source, target, changes, progress)

    # The object as a whole

    async def head(self) -> ObjectInfo:
        return await self._runtime.s3.head_object(self._address)

    async def exists(self) -> bool:
        """Raises AccessDeniedError where the service will not say."""
        try:
            await self.head()
        except NotFoundError:
            return False
        return True

    async def delete(self, *, version_id: str | None = None) -> None:
        """Delete the object, or exactly one version of it. No error where there is none.

        Where versioning is on, and it always is on US-East 5 and Backblaze B2, deleting without a version only hides
        the object behind a delete marker.
        """
        check_token("version_id", version_id)
        await self._runtime.s3.delete_object(self._address, version_id)

    async def acl(self) -> Acl:
        return await self._runtime.s3.get_object_acl(self._address)

    async def set_acl(self, acl: CannedAcl | Acl) -> None:
        """By a canned name or by grants. UnsupportedByServiceError where objects have their bucket's ACL."""
        if not isinstance(acl, Acl):
            check_canned_acl(acl)
        await self._runtime.s3.put_object_acl(self._address, acl)

    async def tags(self) -> dict[str, str]:
        return await self._runtime.s3.get_object_tags(self._address)

    async def set_tags(self, tags: Mapping[str, str]) -> None:
        """Replace all tags; an empty mapping removes them."""
        check_tags(tags)
        await self._runtime.s3.put_object_tags(self._address, tags)

    # URLs

    def url(self, *, scheme: str = "https") -> str:
        """The URL without a signature, for a public object. ``scheme="http"`` where the service speaks plain http.

        UnsupportedByServiceError for ``http`` where it does not.
        """
        return _presign.object_url(self._runtime.service, self._address, scheme)

    def presign_get(
        self,
        expires_in: Expiry = 3600,
        *,
        response_headers: Mapping[str, str] | None = None,
        version_id: str | None = None,
        signature: Signature | None = None,
    ) -> str:
        """A URL by which anyone can read the object until it expires. Nothing is sent; the object need not exist.

        ``expires_in``: seconds, a timedelta or an aware datetime; at most 7 days with SigV4. It ends earlier if the
        credentials it is signed with do. ``response_headers``: ``content-disposition``, ``content-type`` and so on, as
        the reply shall have them. ``signature="v2"``: for the older clusters; by default what the service wants.
        """
        query = _presign.response_query(response_headers, version_id)
        return _presign.presign_url(
            self._runtime, "GET", self._address, expires_in, query=query, headers={}, signature=signature
        )

    def presign_put(
        self,
        expires_in: Expiry = 3600,
        *,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        acl: CannedAcl | None = None,
        signature: Signature | None = None,
    ) -> str:
        """A URL to which anyone can PUT the object until it expires.

        Whoever does must send what is given here as headers: ``Content-Type``, ``x-amz-meta-*``, ``x-amz-acl``.
        """
        options = WriteOptions(content_type=content_type, metadata=metadata, acl=acl)
        return _presign.presign_url(
            self._runtime,
            "PUT",
            self._address,
            expires_in,
            query={},
            headers=options.content_headers(),
            signature=signature,
        )

    def presign_post(
        self,
        expires_in: Expiry = 3600,
        *,
        max_bytes: int | None = None,
        conditions: Sequence[PostCondition] = (),
        signature: Signature | None = None,
    ) -> PresignedPost:
        """A form by which a browser can store this key until it expires.

        ``conditions``, in the form of S3's POST policy: ``{"acl": "public-read"}`` demands a field, and adds it to the
        form; ``["starts-with", "$Content-Type", "image/"]`` demands one that the form's author adds.
        UnsupportedByServiceError where a service takes no forms.
        """
        return _presign.presign_post(
            self._runtime,
            self._address,
            expires_in,
            max_bytes=max_bytes,
            conditions=conditions,
            signature=signature,
        )
