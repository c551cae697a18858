"""Requests about one multipart upload."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from aiodreamobjects._errors import ChecksumMismatchError
from aiodreamobjects._http.transport import Buffer
from aiodreamobjects._models import Address, ByteRange, ObjectInfo
from aiodreamobjects._progress import Gauge
from aiodreamobjects._s3 import replies, xml
from aiodreamobjects._s3.call import Call, Caller
from aiodreamobjects._s3.errors import refuse_reply, refused_as_existing
from aiodreamobjects._s3.options import ANY, PLAIN, ReadOptions, WriteOptions, unquoted
from aiodreamobjects._s3.values import CreatedUpload, Cursor, Page, Part


class Uploads:
    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def create_upload(
        self, address: Address, options: WriteOptions, on_doubt: Callable[[], None] | None = None
    ) -> CreatedUpload:
        """Begin an upload. A lost reply may leave an upload whose id is unknown: ``on_doubt`` is called for each."""
        call = Call(
            "create_multipart_upload", "POST", address.bucket, address.key, self._caller.document, {"uploads": ""}
        )
        call.headers = options.content_headers()
        call.feature = options.feature
        call.on_doubt = on_doubt
        response, _, root = await self._caller.reply(call, "InitiateMultipartUploadResult")
        upload_id = root.get("UploadId") or refuse_reply("a reply without UploadId")
        is_encrypted = options.encryption is None or replies.is_encrypted(response.headers, options.encryption)
        return CreatedUpload(upload_id, replies.time_of_reply(response.headers), is_encrypted=is_encrypted)

    async def put_part(
        self,
        address: Address,
        upload_id: str,
        number: int,
        body: Buffer,
        options: WriteOptions = PLAIN,
        *,
        sent: Gauge | None = None,
    ) -> Part:
        """Store part ``number``, from 1 to 10,000. Raises ChecksumMismatchError if the ETag is not the MD5 of the body."""
        query = {"partNumber": str(number), "uploadId": upload_id}
        caller = self._caller
        call = Call("upload_part", "PUT", address.bucket, address.key, caller.document, query, options.part_headers())
        call.sent = sent
        digest = await caller.fill(call, body, verify=options.verify == "auto")
        response = await caller.send(call)
        gate = caller.gate
        gate.bytes_sent += len(body)
        etag = replies.etag_of_stored(response.headers)
        obstacle = replies.obstacle(response.headers, gate.service, options.encryption)
        try:
            verified = replies.check_etag(str(call), etag, obstacle, digest)
        except ChecksumMismatchError as error:
            await self._explain_etag_of_part(error, address)
            verified = False
        gate.has_seen_md5 |= verified
        return Part(number, etag, len(body), etag if verified else None)

    async def _explain_etag_of_part(
        self,
        error: ChecksumMismatchError,
        address: Address,  # noqa: ARG002 - Abilities stores a small object beside it
    ) -> None:
        """Raise the error, unless the service's ETags turn out not to be digests."""
        raise error

    async def copy_part(
        self,
        source: Address,
        to: Address,
        upload_id: str,
        number: int,
        byte_range: ByteRange | None,
        options: WriteOptions = PLAIN,
        reads: ReadOptions = ANY,
    ) -> Part:
        headers = {**replies.headers_of_source(source, reads), **options.part_headers()}
        if byte_range is not None:
            headers["x-amz-copy-source-range"] = str(byte_range)
        query = {"partNumber": str(number), "uploadId": upload_id}
        call = Call("upload_part_copy", "PUT", to.bucket, to.key, self._caller.slow_document, query, headers)
        root = await self._caller.document_of(call, "CopyPartResult")
        return Part(number, unquoted(root.get("ETag")) or refuse_reply("a reply without ETag"))

    async def complete_upload(
        self, address: Address, upload_id: str, parts: Sequence[Part], options: WriteOptions
    ) -> ObjectInfo:
        """Make the object appear. Return its ETag and version. Raises ServiceError for a 200 without an ETag."""
        call = Call("complete_multipart_upload", "POST", address.bucket, address.key, self._caller.slow_document)
        call.query = {"uploadId": upload_id}
        call.headers = options.condition_headers()
        call.is_conditional = True
        await self._caller.fill(call, xml.complete_document(parts))
        with refused_as_existing(options):
            response, _, root = await self._caller.reply(call, "CompleteMultipartUploadResult")
        return replies.assembled_object(address, root.get("ETag"), None, response.headers)

    async def list_parts(self, address: Address, upload_id: str, cursor: Cursor | None = None) -> Page[Part]:
        query = {"uploadId": upload_id} | ({"part-number-marker": cursor[0]} if cursor else {})
        call = Call("list_parts", "GET", address.bucket, address.key, self._caller.document, query)
        root = await self._caller.document_of(call, "ListParts")
        parts = [
            replies.listed_part(part.get("PartNumber"), part.get("ETag"), part.get("Size"))
            for part in root.find_all("Part")
        ]
        is_truncated, marker = replies.flag(root, "IsTruncated"), root.get("NextPartNumberMarker")
        # Without IsTruncated, a marker of 0 marks nothing (gofakes3).
        return Page(parts, replies.next_cursor(is_truncated, ["" if marker == "0" else marker]))

    async def abort_upload(self, address: Address, upload_id: str) -> None:
        query = {"uploadId": upload_id}
        await self._caller.send(
            Call("abort_multipart_upload", "DELETE", address.bucket, address.key, self._caller.document, query)
        )
