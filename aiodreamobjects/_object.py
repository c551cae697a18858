"""The class Object. Each verb is one line that delegates."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import TYPE_CHECKING, Unpack, get_args

from aiodreamobjects._checks import check_one_of, check_tags, check_token
from aiodreamobjects._encryption import SseCustomer
from aiodreamobjects._errors import EncryptionKeyError, NotFoundError
from aiodreamobjects._later import Later
from aiodreamobjects._models import Address, ByteRange, CannedAcl, ObjectInfo, RetentionMode, check_canned_acl
from aiodreamobjects._progress import ProgressCallback
from aiodreamobjects._runtime import Runtime
from aiodreamobjects._s3.options import (
    ContentArguments,
    GetArguments,
    HeaderArguments,
    LookArguments,
    ReadArguments,
    ReadOptions,
    WriteArguments,
    WriteOptions,
    check_headers_given,
    checked_retention,
    iso_of,
    shows,
)
from aiodreamobjects._service import Signature

if TYPE_CHECKING:
    from aiodreamobjects import _acls as acls
    from aiodreamobjects import _presign as presigning
    from aiodreamobjects import _versions as versioning
    from aiodreamobjects._acls import Acl
    from aiodreamobjects._bucket_settings import Retention
    from aiodreamobjects._presign import Expiry, PostCondition, PresignedPost, PresignedUrl, PresignMethod
    from aiodreamobjects._transfer import body, copy, download, files, handles, upload
    from aiodreamobjects._transfer.body import Body
    from aiodreamobjects._transfer.download import IfChanged
    from aiodreamobjects._transfer.files import ObjectReader, ObjectWriter
    from aiodreamobjects._transfer.handles import MultipartUpload
    from aiodreamobjects._transfer.sources import Uploadable
else:
    acls, presigning, versioning = (
        Later("aiodreamobjects._acls"),
        Later("aiodreamobjects._presign"),
        Later("aiodreamobjects._versions"),
    )
    body, copy, download = (
        Later("aiodreamobjects._transfer.body"),
        Later("aiodreamobjects._transfer.copy"),
        Later("aiodreamobjects._transfer.download"),
    )
    files, handles, upload = (
        Later("aiodreamobjects._transfer.files"),
        Later("aiodreamobjects._transfer.handles"),
        Later("aiodreamobjects._transfer.upload"),
    )


class Object:
    """A handle on an object, which need not exist. Making one sends nothing.

    Every awaited verb raises SessionClosedError unless the session is open, NotFoundError if bucket or key is missing,
    AccessDeniedError, and, after the session's last attempt, ServiceBusyError or ConnectionFailedError.
    """

    __slots__ = ("_address", "_runtime")

    def __init__(self, runtime: Runtime, address: Address) -> None:
        self._runtime = runtime
        self._address = address

    @property
    def bucket(self) -> str:
        """Return the name of the object's bucket."""
        return self._address.bucket

    @property
    def key(self) -> str:
        """Return the object's key."""
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
        """Store an object. Return what is known about it.

        ``source`` is text (stored as UTF-8), bytes, a ``Path``, an open binary or aiofiles file, an iterable or async iterable of
        bytes of any length, or the open ``Body`` of another object.

        Content of up to ``Limits.part_size`` takes one request. Anything larger is a multipart upload, with
        ``Limits.parts_per_object`` parts at once. A part is read when its turn comes, and held until the service has it. The old
        object stays until the new one is complete. A put that fails or is cancelled leaves nothing behind; the clean-up takes at
        most some 20 seconds. A completion that was sent is waited for, 30 seconds at most, and is not aborted while it is
        ``in_doubt``.

        The service checks each part's MD5 on arrival. This compares the ETags of the parts and of the object, and raises
        ChecksumMismatchError if one is wrong. ``verified`` says what was compared; ``verify="off"`` compares nothing. ``checksum``
        asks the service to check and keep a checksum too, and compares its answer; the CRCs need ``aiodreamobjects[checksums]``,
        else raise ImportError.

        Raises SourceChangedError if the file changes while it is sent, AlreadyExistsError if ``if_absent`` is given and the
        object exists, PreconditionFailedError if its ETag is not ``if_match``, ValueError for metadata and headers that are not
        printable US-ASCII; the message shows the form that works. ``headers`` adds headers that have no argument of their own.
        Nothing that you did not ask for is set, and no ACL is sent. One exception: a multipart upload stores its ``part-size`` in
        the metadata, so that a download can check the ETag.
        """
        return await upload.put(self._runtime, self._address, source, WriteOptions.of(options), progress)

    @shows(WriteArguments)
    async def upload(
        self,
        path: str | os.PathLike[str],
        *,
        resume: bool = False,
        progress: ProgressCallback | None = None,
        **options: Unpack[WriteArguments],
    ) -> ObjectInfo:
        """Store a regular file, as ``put`` does. Return what is known about it.

        The content type comes from the name. The metadata gets the file's time, as rclone stores it.

        With ``resume=True``, the parts that were sent stay if this fails or the process dies, and the next call for the same
        file, object and headers sends the rest. A part is not sent again if the service lists it with the MD5 of the file's
        bytes. A journal under ``$XDG_STATE_HOME/aiodreamobjects/uploads`` remembers the upload. ``bucket.uploads()`` lists
        uploads that nobody resumed.
        """
        given = WriteOptions.of(options)
        return await upload.upload(self._runtime, self._address, path, given, progress, resume=resume)

    @shows(WriteArguments)
    def writer(
        self,
        *,
        progress: ProgressCallback | None = None,
        **options: Unpack[WriteArguments],
    ) -> AbstractAsyncContextManager[ObjectWriter]:
        """Open a file to write to: ``async with obj.writer() as file: await file.write(b"...")``.

        Leaving the block normally completes the object; ``file.info`` then describes it. An exception leaves no trace.
        Memory, requests and options are those of ``put``. ``write`` waits while the highest number of parts is under way.
        """
        return files.open_writer(self._runtime, self._address, WriteOptions.of(options), progress)

    @shows(WriteArguments)
    async def start_upload(self, **options: Unpack[WriteArguments]) -> MultipartUpload:
        """Begin a multipart upload whose parts you send yourself, or let others send: browsers, other processes.

        Most programs need only ``put``, ``upload`` or ``writer``, which send parts by themselves. This upload stays open, and its
        parts are stored, until ``complete`` or ``abort``, also after the session closes. ``options`` are those of ``put``.
        """
        return await handles.start(self._runtime, self._address, WriteOptions.of(options))

    @shows(WriteArguments)
    def multipart(self, upload_id: str, **options: Unpack[WriteArguments]) -> MultipartUpload:
        """Continue an upload that ``start_upload`` began, here or in another process. Sends nothing.

        Give ``if_absent``, ``if_match``, ``verify``, ``checksum``, ``retention``, ``legal_hold`` and a customer's key again if you
        gave them to ``start_upload``. The service keeps all other options; some forget a lock, and ``complete`` then sets it.
        """
        return handles.take_up(self._runtime, self._address, upload_id, WriteOptions.of(options))

    @shows(ReadArguments)
    async def read(
        self,
        range: tuple[int, int | None] | None = None,  # noqa: A002 - the field's word
        **options: Unpack[ReadArguments],
    ) -> bytes:
        """Return the content, or a range of it.

        ``version_id`` reads an old version. ``encryption`` is the customer's key that the object was stored with; without it, or
        with another one, raises EncryptionKeyError. ``headers`` are sent as they are.

        ``range`` is ``(start, stop)``, without ``stop`` itself; ``(start, None)``; or ``(-n, None)`` for the last n bytes. Takes
        one request, and memory for all the bytes. Raises InvalidRequestError for a range that begins beyond the end,
        ChecksumMismatchError if the bytes do not match the ETag, even when read again.
        """
        asked = None if range is None else ByteRange.of(range)
        return await body.read(self._runtime, self._address, asked, ReadOptions.of(options))

    @shows(ReadArguments)
    async def read_text(self, encoding: str = "utf-8", **options: Unpack[ReadArguments]) -> str:
        """Return the content as text. Takes the options of ``read``. Raises what it raises, and UnicodeDecodeError."""
        return (await self.read(**options)).decode(encoding)

    @shows(GetArguments)
    def get(
        self,
        *,
        range: tuple[int, int | None] | None = None,  # noqa: A002 - the field's word
        **options: Unpack[GetArguments],
    ) -> AbstractAsyncContextManager[Body]:
        """Open the content as a stream: ``async with obj.get() as body: async for chunk in body: ...``.

        Opening sends one request. It raises NotFoundError, or PreconditionFailedError if the ETag is not ``if_match`` or is
        ``if_none_match`` (``status`` is then 304). An open body takes one of ``Limits.requests`` places for bodies. Tasks that
        each hold a body and open another can block each other; after ``Timeouts.pool`` they raise ConnectionFailedError.
        """
        byte_range = None if range is None else ByteRange.of(range)
        return body.open_body(self._runtime, self._address, byte_range, ReadOptions.of(options))

    @shows(LookArguments)
    def reader(self, **options: Unpack[LookArguments]) -> AbstractAsyncContextManager[ObjectReader]:
        """Open a file to read and seek in: ``async with obj.reader() as file: await file.seek(-22, os.SEEK_END)``.

        Opening reads the first 64 KiB, and raises what ``get`` raises. After a seek, requests are small, and grow while you read
        on. All reads see the same state of the object: raises ObjectChangedError if it is replaced.
        """
        return files.open_reader(self._runtime, self._address, ReadOptions.of(options))

    @shows(ReadArguments)
    async def download(
        self,
        path: str | os.PathLike[str],
        *,
        resume: bool = False,
        overwrite: bool = True,
        progress: ProgressCallback | None = None,
        fsync: bool = False,
        if_changed: IfChanged = "restart",
        **options: Unpack[ReadArguments],
    ) -> ObjectInfo:
        """Fetch the content to a file, which appears when every byte is there and verified. It gets the object's time.

        An object larger than ``Limits.part_size`` comes in ranges, ``Limits.parts_per_object`` at once, all of the same state of
        the object. If the object is replaced meanwhile, the download starts again once; if it is replaced again, raises
        ObjectChangedError. ``if_changed="raise"`` raises at once. ``verified`` says how the bytes were compared with the ETag: by
        their MD5, by the MD5s of the parts, or only by their number. Wrong bytes are fetched once more; if they are wrong again,
        raises ChecksumMismatchError. ``verify="off"`` compares only the number.

        The bytes go to a hidden temporary file beside the path, which a failure or a cancellation removes. An existing file is
        replaced in one step; with ``overwrite=False`` it stays, and FileExistsError is raised. With ``fsync`` the disk writes
        everything before the name appears. A missing or read-only directory and a full disk raise their OSError.

        With ``resume=True``, the bytes that arrived stay if this fails or the process dies, in ``.NAME.*.part`` with a
        ``.journal`` beside it. The next call fetches the rest if the object is still the same. Raises BlockingIOError while
        another process downloads the same object to the same path.
        """
        check_one_of("if_changed", if_changed, get_args(download.IfChanged))
        return await download.download(
            self._runtime,
            self._address,
            path,
            resume=resume,
            overwrite=overwrite,
            progress=progress,
            fsync=fsync,
            if_changed=if_changed,
            options=ReadOptions.of(options),
        )

    @shows(ContentArguments, keeps=True)
    async def copy_to(
        self,
        to: Object,
        *,
        version_id: str | None = None,
        tags: Mapping[str, str] | None = None,
        copy_acl: bool | None = None,
        source_encryption: SseCustomer | None = None,
        progress: ProgressCallback | None = None,
        **options: Unpack[ContentArguments],
    ) -> ObjectInfo:
        """Copy the object. Return what is known about the copy.

        Within a session the service copies, in parts if the object is too large for one request. To an object of another session
        this process streams the content, in parts as ``put`` does.

        Headers that you do not give stay as they are, byte for byte; ``None`` removes one. ``metadata`` replaces all metadata.
        Tags that you do not give are copied if both services have tags. ``copy_acl=True`` copies the ACL; a copy onto itself
        keeps its ACL unless ``copy_acl=False``. ``if_absent`` and ``if_match`` are about the object at ``to``.

        ``version_id`` copies an old version. ``source_encryption`` is the customer's key of this object. ``encryption`` is about
        the copy: without it, only a copy onto itself stays encrypted as it was. A lock stays with the object; ``retention`` and
        ``legal_hold`` lock the copy. Services that cannot copy with a customer's key get the content streamed through here.

        Raises ObjectChangedError if this object is replaced meanwhile; if the error is ``in_doubt``, ``to`` is a copy of the
        older state. A streamed copy is made once more before that. Tags, and an ACL without a canned name, follow the copy in
        requests of their own.
        """
        check_tags(tags or {})
        changes = copy.Changes.of(options, tags, copy_acl)
        source, target = (self._runtime, self._address), (to._runtime, to._address)
        reads = ReadOptions(version_id=version_id, encryption=source_encryption)
        return (await copy.copy(source, target, changes, progress, reads)).info

    @shows(ContentArguments, keeps=True)
    async def move_to(
        self,
        to: Object,
        *,
        tags: Mapping[str, str] | None = None,
        copy_acl: bool = False,
        source_encryption: SseCustomer | None = None,
        progress: ProgressCallback | None = None,
        **options: Unpack[ContentArguments],
    ) -> ObjectInfo:
        """Copy the object as ``copy_to`` does, compare both objects, and only then delete this one.

        Raises TransferError if neither a digest nor a length shows that everything was copied; this object then stays. If the
        bucket has versions, exactly the version that was copied is deleted for good. If not, anything that is written here
        between the last look and the deletion is lost: S3 has no conditional deletion.
        """
        check_tags(tags or {})
        changes, reads = copy.Changes.of(options, tags, copy_acl), ReadOptions(encryption=source_encryption)
        source, target = (self._runtime, self._address), (to._runtime, to._address)
        return await copy.move(source, target, changes, progress, reads)

    @shows(HeaderArguments, keeps=True)
    async def set_headers(
        self, *, encryption: SseCustomer | None = None, **headers: Unpack[HeaderArguments]
    ) -> ObjectInfo:
        """Change headers and metadata in place. Return what is known about the object.

        Headers that you do not give stay; ``None`` removes one. ``metadata`` replaces all metadata. Content, ACL, tags,
        encryption and retention stay as they are. S3 has no such request, so the service copies the object onto itself, in parts
        if it is large. The object gets a new time, a new version if the bucket has versions, and perhaps another ETag.
        ``encryption`` is the customer's key of the object, if it has one.

        Raises ValueError if nothing is given, ObjectChangedError if the object is replaced meanwhile.
        """
        check_headers_given("set_headers", headers)
        place = self._runtime, self._address
        reads = ReadOptions(encryption=encryption)
        return (await copy.copy(place, place, copy.Changes.of(headers), None, reads)).info

    # Versions

    async def versions(self) -> list[ObjectInfo]:
        """Return the versions and delete markers of exactly this key, the newest first.

        Each has ``version_id``, ``is_latest`` and ``is_delete_marker``. One request for up to 1,000. A bucket that never had
        versions shows its object as the version ``null``. A key without any gives an empty list.
        """
        return await versioning.versions(self._runtime, self._address)

    async def restore(self, version_id: str, *, encryption: SseCustomer | None = None) -> ObjectInfo:
        """Make an old version the newest: copy it on the server, with its headers, metadata, tags and ACL.

        All versions stay, so this can be undone. The lock of the old version stays with that version. ``encryption`` is the
        customer's key of the version, if it has one; the copy gets the same. Raises NotFoundError for an unknown version and for a
        delete marker.
        """
        if version_id is None:
            msg = "restore() needs a version_id: versions() lists them"
            raise ValueError(msg)
        place, reads = (self._runtime, self._address), ReadOptions(version_id=version_id, encryption=encryption)
        return (await copy.copy(place, place, copy.Changes.of({}), None, reads)).info

    async def undelete(self) -> ObjectInfo:
        """Bring a deleted object back: remove the delete markers that hide its newest version. Return that version.

        Does nothing to an object that is not deleted. Raises NotFoundError if no version is left, as in a bucket without
        versions.
        """
        return await versioning.undelete(self._runtime, self._address)

    # Object Lock

    async def retention(self, *, version_id: str | None = None) -> Retention | None:
        """Return until when Object Lock protects the object, or None."""
        check_token("version_id", version_id)
        return await self._runtime.s3.get_object_retention(self._address, version_id)

    async def set_retention(
        self,
        mode: RetentionMode | None,
        until: datetime | None,
        bypass_governance: bool = False,  # noqa: FBT001, FBT002 - the design fixes it
        *,
        version_id: str | None = None,
    ) -> None:
        """Protect this version from deletion until a time. ``None, None`` ends a GOVERNANCE retention.

        To shorten a GOVERNANCE retention or to end it, give ``bypass_governance=True``, and have the right to. Nobody can shorten
        a COMPLIANCE retention. Raises LockedError if it may not be changed so, InvalidRequestError if the bucket has no Object
        Lock, ValueError for a time without a time zone.
        """
        found = None if mode is None and until is None else checked_retention(mode, until)
        check_token("version_id", version_id)
        await self._runtime.s3.put_object_retention(
            self._address,
            None if found is None else found.mode,
            None if found is None else iso_of(found.until),
            version_id,
            bypasses=bypass_governance,
        )

    async def legal_hold(self, *, version_id: str | None = None) -> bool:
        """Return whether a legal hold protects the object."""
        check_token("version_id", version_id)
        return await self._runtime.s3.get_object_legal_hold(self._address, version_id)

    async def set_legal_hold(self, on: bool, *, version_id: str | None = None) -> None:  # noqa: FBT001 - the design fixes it
        """Protect this version from deletion until the hold is taken off. Raises InvalidRequestError without Object Lock."""
        check_token("version_id", version_id)
        if not isinstance(on, bool):
            msg = f"the legal hold must be True or False, not {on!r}"
            raise ValueError(msg)  # noqa: TRY004 - as every other wrong value
        await self._runtime.s3.put_object_legal_hold(self._address, "ON" if on else "OFF", version_id)

    # The object as a whole

    @shows(LookArguments)
    async def head(self, **options: Unpack[LookArguments]) -> ObjectInfo:
        """Return what a HEAD says about the object. Raises NotFoundError, EncryptionKeyError without the right customer's key."""
        return await self._runtime.s3.head_object(self._address, ReadOptions.of(options))

    @shows(LookArguments)
    async def exists(self, **options: Unpack[LookArguments]) -> bool:
        """Return whether the object exists, with any key. Raises AccessDeniedError if you may not look."""
        try:
            await self._runtime.s3.head_object(self._address, ReadOptions.of(options), may_be_missing=True)
        except NotFoundError:
            return False
        except EncryptionKeyError:
            return True
        return True

    async def delete(self, *, version_id: str | None = None, bypass_governance: bool = False) -> None:
        """Delete the object, or one version of it. A missing object is not an error.

        If the bucket has versions, deleting the object adds a delete marker. Deleting a version cannot be undone. Raises
        LockedError if Object Lock protects the version; ``bypass_governance=True`` deletes it in spite of a GOVERNANCE retention.
        """
        check_token("version_id", version_id)
        await self._runtime.s3.delete_object(self._address, version_id, bypasses=bypass_governance)

    async def acl(self, *, version_id: str | None = None) -> Acl:
        """Return the object's ACL: who may do what with it."""
        check_token("version_id", version_id)
        return await self._runtime.s3.get_object_acl(self._address, version_id)

    async def set_acl(self, acl: CannedAcl | Acl, *, version_id: str | None = None) -> None:
        """Replace the object's ACL with a canned ACL or with grants.

        Raises ValueError for an unknown name, UnsupportedByServiceError if objects always have their bucket's ACL.
        """
        if not isinstance(acl, acls.Acl):
            check_canned_acl(acl)
        check_token("version_id", version_id)
        await self._runtime.s3.put_object_acl(self._address, acl, version_id)

    async def tags(self, *, version_id: str | None = None) -> dict[str, str]:
        """Return the object's tags. Raises UnsupportedByServiceError if the service has no tags."""
        check_token("version_id", version_id)
        return await self._runtime.s3.get_object_tags(self._address, version_id)

    async def set_tags(self, tags: Mapping[str, str], *, version_id: str | None = None) -> None:
        """Replace all tags; an empty mapping removes them.

        Raises ValueError for tags that are not text, or that XML cannot carry.
        """
        check_tags(tags)
        check_token("version_id", version_id)
        await self._runtime.s3.put_object_tags(self._address, tags, version_id)

    # URLs

    def url(self, *, scheme: str = "https") -> str:
        """Return the URL of a public object, without a signature. Sends nothing.

        ``scheme="http"`` raises UnsupportedByServiceError if the service does not speak plain http.
        """
        return presigning.object_url(self._runtime.service, self._address, scheme)

    def presign(
        self,
        method: PresignMethod,
        expires_in: Expiry = 3600,
        *,
        version_id: str | None = None,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        signature: Signature | None = None,
    ) -> PresignedUrl:
        """Return a URL for one GET, HEAD, PUT, POST or DELETE of the object, as ``presign_get`` does. Sends nothing.

        ``version_id`` picks the version to read or to delete. The client must send ``headers`` exactly as given here, such
        as ``{"Range": "bytes=0-99"}``. ``presign_get`` and ``presign_put`` have arguments for the usual ones. ``query`` makes
        it another request of S3: ``presign("POST", query={"uploads": ""})`` begins an upload in parts.
        """
        return presigning.presign(
            self._runtime, method, self._address, expires_in, version_id, headers or {}, query or {}, signature
        )

    def presign_get(
        self,
        expires_in: Expiry = 3600,
        *,
        response_headers: Mapping[str, str] | None = None,
        version_id: str | None = None,
        encryption: SseCustomer | None = None,
        signature: Signature | None = None,
    ) -> PresignedUrl:
        """Return a URL with which anyone can read the object until it expires. Sends nothing; the object need not exist.

        ``expires_in`` is seconds, a timedelta or an aware datetime; at most 7 days with SigV4. The URL expires earlier if the
        credentials that signed it do. ``response_headers`` (``content-disposition``, ``content-type`` and so on) replace headers
        of the reply. ``signature="v2"`` is for older clusters; the default suits the service. The result is a ``str`` whose
        ``repr`` hides the signature. ``encryption`` signs the three ``x-amz-server-side-encryption-customer-*`` headers, which the
        reader must send; the URL does not hold the key. Raises ValueError for an expiry that is too late, or in the past.
        """
        query = presigning.response_query(response_headers, version_id)
        headers = ReadOptions(encryption=encryption).sent()
        return presigning.presign_url(
            self._runtime, "GET", self._address, expires_in, query=query, headers=headers, signature=signature
        )

    @shows(ContentArguments)
    def presign_put(
        self,
        expires_in: Expiry = 3600,
        *,
        content_length: int | None = None,
        content_md5: str | None = None,
        signature: Signature | None = None,
        **options: Unpack[ContentArguments],
    ) -> PresignedUrl:
        """Return a URL to which anyone can PUT the object until it expires. Sends nothing.

        The client must send the options that you give here as headers, or the service refuses the signature: ``Content-Type``,
        ``Cache-Control``, ``x-amz-meta-*``, ``If-None-Match: *`` for ``if_absent=True``, and so on. ``content_length`` permits
        only this number of bytes, ``content_md5`` (in base64) only these bytes. Raises ValueError for what ``signature="v2"``
        cannot sign: anything but ``Content-Type``, ``Content-MD5`` and ``x-amz-*``.
        """
        headers = presigning.headers_to_put(
            self._runtime.service, WriteOptions.of(options), content_length, content_md5
        )
        return presigning.presign_url(
            self._runtime, "PUT", self._address, expires_in, query={}, headers=headers, signature=signature
        )

    def presign_post(
        self,
        expires_in: Expiry = 3600,
        *,
        max_bytes: int | None = None,
        conditions: Sequence[PostCondition] = (),
        signature: Signature | None = None,
    ) -> PresignedPost:
        """Return a form with which a browser can upload this object until it expires. Sends nothing.

        ``conditions`` have the shape of S3's POST policy. ``{"acl": "public-read"}`` requires a field, and adds it to the form.
        ``["starts-with", "$Content-Type", "image/"]`` requires a field that you add to the form yourself. Raises
        UnsupportedByServiceError if the service takes no forms.
        """
        return presigning.presign_post(
            self._runtime,
            self._address,
            expires_in,
            max_bytes=max_bytes,
            conditions=conditions,
            signature=signature,
        )
