"""Object: one key of one bucket. Each verb is a line that delegates."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager

from aiodreamobjects import _presign
from aiodreamobjects._checks import check_token
from aiodreamobjects._errors import NotFoundError
from aiodreamobjects._models import (
    Acl,
    Address,
    ByteRange,
    CannedAcl,
    ObjectAttributes,
    ObjectInfo,
    PresignedPost,
    check_canned_acl,
)
from aiodreamobjects._presign import Expiry, PostCondition
from aiodreamobjects._progress import ProgressCallback
from aiodreamobjects._runtime import Runtime
from aiodreamobjects._service import Signature
from aiodreamobjects._transfer import download, upload
from aiodreamobjects._transfer.download import Body
from aiodreamobjects._wire.contract import Conditions, WriteConditions


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

    async def put(
        self,
        source: str | bytes | bytearray | memoryview,
        *,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        cache_control: str | None = None,
        content_disposition: str | None = None,
        content_encoding: str | None = None,
        storage_class: str | None = None,
        acl: CannedAcl | None = None,
        if_absent: bool = False,
        if_match: str | None = None,
        progress: ProgressCallback | None = None,
    ) -> ObjectInfo:
        """Store bytes, or text as UTF-8 (as ``text/plain; charset=utf-8`` unless told otherwise), in one request.

        The service checks the content's MD5 on arrival, and its answer is checked against it here. The old object
        stays until the new one is whole. ``if_absent`` raises AlreadyExistsError where there is one; ``if_match``
        raises PreconditionFailedError unless the object there has this ETag. Metadata and the other headers must be
        printable US-ASCII (ValueError). Nothing that was not asked for is set, no ACL either.
        """
        attributes = ObjectAttributes(
            content_type=content_type,
            metadata=metadata,
            cache_control=cache_control,
            content_disposition=content_disposition,
            content_encoding=content_encoding,
            storage_class=storage_class,
            acl=acl,
        )
        conditions = WriteConditions(if_absent=if_absent, if_match=if_match)
        return await upload.put(self._runtime, self._address, source, attributes, conditions, progress)

    async def read(self, range: tuple[int, int | None] | None = None) -> bytes:  # noqa: A002 - the field's word
        """The content, or a part of it: ``(start, stop)``, stop exclusive; ``(start, None)``; ``(-n, None)``, the end.

        One request; as large in memory as what is asked for. A range that begins beyond the end is InvalidRequestError.
        """
        return await download.read(self._runtime, self._address, None if range is None else ByteRange.of(range))

    async def read_text(self, encoding: str = "utf-8") -> str:
        return (await self.read()).decode(encoding)

    def get(
        self,
        *,
        range: tuple[int, int | None] | None = None,  # noqa: A002 - the field's word
        if_match: str | None = None,
        if_none_match: str | None = None,
        version_id: str | None = None,
    ) -> AbstractAsyncContextManager[Body]:
        """The content as a stream: ``async with obj.get() as body: async for chunk in body: ...``.

        Opening sends one request, and raises NotFoundError, or PreconditionFailedError where ``if_match`` is refused
        or ``if_none_match`` holds (its ``status`` is then 304). An open body occupies one of ``Limits.requests`` places
        for bodies: tasks that each hold one and wait for another can wait for each other, unless ``Timeouts.pool`` is set.
        """
        byte_range = None if range is None else ByteRange.of(range)
        conditions = Conditions(if_match=if_match, if_none_match=if_none_match, version_id=version_id)
        return download.open_body(self._runtime, self._address, byte_range, conditions)

    async def download(
        self,
        path: str | os.PathLike[str],
        *,
        overwrite: bool = True,
        progress: ProgressCallback | None = None,
        fsync: bool = False,
    ) -> ObjectInfo:
        """Stream the content to a file that appears when every byte is there, with the object's time as its own.

        Until then a hidden temporary file stands beside it, which a failure or a cancellation removes. An existing
        file is replaced in one step, or with ``overwrite=False`` left alone: FileExistsError. ``fsync`` makes sure of
        the disk before the name appears. A missing or read-only directory and a full disk raise their OSError.
        """
        return await download.download(
            self._runtime, self._address, path, overwrite=overwrite, progress=progress, fsync=fsync
        )

    # The object as a whole

    async def head(self) -> ObjectInfo:
        return await self._runtime.wire.head_object(self._address)

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
        await self._runtime.wire.delete_object(self._address, version_id)

    async def acl(self) -> Acl:
        return await self._runtime.wire.get_object_acl(self._address)

    async def set_acl(self, acl: CannedAcl | Acl) -> None:
        """By a canned name or by grants. UnsupportedByServiceError where objects have their bucket's ACL."""
        if not isinstance(acl, Acl):
            check_canned_acl(acl)
        await self._runtime.wire.put_object_acl(self._address, acl)

    async def tags(self) -> dict[str, str]:
        return await self._runtime.wire.get_object_tags(self._address)

    async def set_tags(self, tags: Mapping[str, str]) -> None:
        """Replace all tags; an empty mapping removes them."""
        await self._runtime.wire.put_object_tags(self._address, tags)

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
        attributes = ObjectAttributes(content_type=content_type, metadata=metadata, acl=acl)
        return _presign.presign_url(
            self._runtime,
            "PUT",
            self._address,
            expires_in,
            query={},
            headers=_presign.put_headers(attributes),
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
