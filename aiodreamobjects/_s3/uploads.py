"""Requests about one multipart upload."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from aiodreamobjects._checksums import element_of, header_of, kind_of, value_of_parts
from aiodreamobjects._errors import ChecksumMismatchError
from aiodreamobjects._http.transport import Buffer
from aiodreamobjects._models import Address, ByteRange, Checksum, ObjectInfo
from aiodreamobjects._progress import Gauge
from aiodreamobjects._s3 import replies, xml
from aiodreamobjects._s3.call import Call, Caller
from aiodreamobjects._s3.errors import refuse_reply, refused_as_existing
from aiodreamobjects._s3.options import ANY, PLAIN, ReadOptions, WriteOptions, unquoted
from aiodreamobjects._s3.values import CreatedUpload, Cursor, Page, Part

CHECKSUM_TYPE = "x-amz-checksum-type"


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
        if options.checksum is not None:
            kind = {CHECKSUM_TYPE: kind_of(options.checksum)}
            call.headers = {**call.headers, **options.checksum_headers(), **kind}
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
        digest = await caller.fill(call, body, verify=options.verify == "auto", checksum=options.checksum)
        response = await caller.send(call)
        gate = caller.gate
        gate.bytes_sent += len(body)
        etag = replies.etag_of_stored(response.headers)
        obstacle = replies.obstacle(response.headers, gate.service, options.encryption)
        checksum = replies.check_checksum(call, options.checksum, call.headers, response.headers)
        try:
            verified = replies.check_etag(call, etag, obstacle, digest)
        except ChecksumMismatchError as error:
            await self._explain_etag_of_part(error, address)
            verified = False
        gate.has_seen_md5 |= verified
        return Part(number, etag, len(body), etag if verified else None, checksum, is_checked=checksum is not None)

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
        checksum = root.get(element_of(options.checksum)) if options.checksum is not None else None
        return Part(number, unquoted(root.get("ETag")) or refuse_reply("a reply without ETag"), checksum=checksum)

    async def complete_upload(
        self, address: Address, upload_id: str, parts: Sequence[Part], options: WriteOptions
    ) -> ObjectInfo:
        """Make the object appear. Return its ETag and version, and whether its checksum is that of the parts.

        Raises ServiceError for a 200 without an ETag, ChecksumMismatchError for another checksum.
        """
        call = Call("complete_multipart_upload", "POST", address.bucket, address.key, self._caller.slow_document)
        call.query = {"uploadId": upload_id}
        call.headers = options.condition_headers()
        if options.checksum is not None:  # then S3 demands the customer's key here too (API reference)
            call.headers = {**call.headers, **options.part_headers()}
        call.is_conditional = True
        algorithm, whole = options.checksum, _checksum_of(parts, options.checksum)
        # Other services may compare it with a checksum of the parts' checksums, which older ones know alone.
        keeps = self._caller.gate.service.keeps_checksums
        if keeps and algorithm is not None and whole is not None and kind_of(algorithm) == "FULL_OBJECT":
            call.headers = {**call.headers, header_of(algorithm): whole, CHECKSUM_TYPE: kind_of(algorithm)}
        await self._caller.fill(call, xml.complete_document(parts, algorithm))
        with refused_as_existing(options):
            response, _, root = await self._caller.reply(call, "CompleteMultipartUploadResult")
        info = replies.assembled_object(address, root.get("ETag"), None, response.headers)
        told = root.get(element_of(algorithm)) if algorithm is not None and whole is not None else None
        if not told or whole is None or ("-" in told) != ("-" in whole):  # none, or of another kind
            return info
        if told != whole:
            msg = f"{call}: the service combined other parts than were sent: its {algorithm} is {told}, the parts make {whole}"
            raise ChecksumMismatchError(msg)
        return replace(info, verified="checksum") if all(part.is_checked for part in parts) else info

    async def list_parts(
        self,
        address: Address,
        upload_id: str,
        cursor: Cursor | None = None,
        options: WriteOptions = PLAIN,
        *,
        may_be_gone: bool = False,
    ) -> Page[Part]:
        """Raise NotFoundError if there is no such upload. With ``may_be_gone``, the observer sees a call without an error."""
        query = {"uploadId": upload_id} | ({"part-number-marker": cursor[0]} if cursor else {})
        call = Call("list_parts", "GET", address.bucket, address.key, self._caller.document, query)
        call.may_be_missing = may_be_gone
        if options.checksum is not None:  # as for a completion
            call.headers = options.part_headers()
        root = await self._caller.document_of(call, "ListParts")
        parts = [replies.listed_part(part) for part in root.find_all("Part")]
        is_truncated, marker = replies.flag(root, "IsTruncated"), root.get("NextPartNumberMarker")
        # Without IsTruncated, a marker of 0 marks nothing (gofakes3).
        return Page(parts, replies.next_cursor(is_truncated, ["" if marker == "0" else marker]))

    async def abort_upload(self, address: Address, upload_id: str) -> None:
        query = {"uploadId": upload_id}
        call = Call("abort_multipart_upload", "DELETE", address.bucket, address.key, self._caller.document, query)
        call.may_be_missing = True
        await self._caller.send(call)


def _checksum_of(parts: Sequence[Part], algorithm: Checksum | None) -> str | None:
    """Return the checksum of the object that these parts make. None if the service does not keep those of all parts."""
    if algorithm is None:
        return None
    known = [(part.checksum, part.size) for part in parts if part.checksum is not None and part.size is not None]
    return value_of_parts(algorithm, known) if len(known) == len(parts) else None
