"""Requests that list, and the request that deletes many keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from aiodreamobjects._errors import NotFoundError, ServiceError
from aiodreamobjects._models import CommonPrefix, ObjectInfo, UploadInfo, make_object_info
from aiodreamobjects._s3 import replies, xml
from aiodreamobjects._s3.call import Call, Caller
from aiodreamobjects._s3.errors import error_of_key, failures_of, refuse_reply
from aiodreamobjects._s3.options import BYPASS, NOTHING, unquoted
from aiodreamobjects._s3.replies import listed_date, whole
from aiodreamobjects._s3.values import Cursor, Page, VersionedKey

PAGE_KEYS = 1000
"""The most items that S3 puts on a page, and how many it lists unless asked for fewer."""


class Listings:
    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def list_objects(
        self,
        bucket: str,
        *,
        prefix: str,
        delimiter: str = "",
        start_after: str | None = None,
        cursor: Cursor | None = None,
        max_keys: int = PAGE_KEYS,
    ) -> Page[ObjectInfo | CommonPrefix]:
        """Return a page of objects and common prefixes, in the order of their UTF-8 bytes."""
        gate = self._caller.gate
        is_v2 = gate.service.list_type == 2  # noqa: PLR2004 - S3's own "list-type=2"
        query = {"encoding-type": "url", "max-keys": str(max_keys), "prefix": prefix, "delimiter": delimiter}
        resumed, begin = (cursor[0], cursor[1]) if cursor else ("", start_after or "")
        query |= {"list-type": "2", "start-after": begin, "continuation-token": resumed} if is_v2 else {"marker": begin}
        call = self._page("list_objects_v2" if is_v2 else "list_objects", bucket, prefix, query)
        _, entries, root = await self._caller.reply(call, "ListBucketResult")
        entries = entries or [_entry(element) for element in root.find_all("Contents")]
        prefixes = [element.get("Prefix") or "" for element in root.find_all("CommonPrefixes")]
        names = list(prefixes)
        if root.get("EncodingType") != "url":
            entries = list(entries)
            names += [entry[0] for entry in entries]
        decode = replies.key_decoder(root.get("EncodingType"), names)
        items: list[ObjectInfo | CommonPrefix] = [
            make_object_info(
                bucket,
                decode(key),
                int(size) if size else None,
                etag or None,
                listed_date(modified),
                storage_class=storage_class,
            )
            for key, modified, etag, size, storage_class in entries
        ]
        if prefixes:
            read = replies.prefix_decoder(prefixes, prefix, decode)
            items += [CommonPrefix(bucket, read(name)) for name in prefixes]
            items.sort(key=replies.name_of)
        is_truncated, marker = replies.flag(root, "IsTruncated"), root.get("NextMarker")
        token = root.get("NextContinuationToken") if is_v2 else None
        if is_v2 and not token and (marker or (is_truncated and root.find("Marker") is not None)):
            is_v2 = False  # the service knows only the first version of the list, and answered by that
            gate.service = replace(gate.service, list_type=1)
        if not is_v2:
            return Page(items, replies.marker_cursor(is_truncated, items, marker))
        return Page(items, replies.objects_cursor(replies.next_cursor(is_truncated, [token]), items))

    async def list_versions(
        self, bucket: str, *, prefix: str, cursor: Cursor | None = None, max_keys: int = PAGE_KEYS
    ) -> Page[ObjectInfo]:
        key_marker, version_marker = cursor or ("", "")
        query = {
            "versions": "",
            "encoding-type": "url",
            "prefix": prefix,
            "key-marker": key_marker,
            "version-id-marker": version_marker,
            "max-keys": _fewer(max_keys),
        }
        root = await self._caller.document_of(
            self._page("list_object_versions", bucket, prefix, query), "ListVersionsResult"
        )
        found = list(root.find_all("Version", "DeleteMarker"))
        decode = replies.key_decoder(root.get("EncodingType"), [element.get("Key") or "" for element in found])
        items = [_version(bucket, element, decode) for element in found]
        # moto lists all delete markers after all versions. For others this stable sort changes nothing.
        items.sort(key=lambda item: (item.key, not item.is_latest))
        markers = [root.get("NextKeyMarker"), root.get("NextVersionIdMarker")]
        return Page(items, replies.next_cursor(replies.flag(root, "IsTruncated"), markers, decode, items[-1:]))

    async def list_uploads(
        self, bucket: str, *, prefix: str, cursor: Cursor | None = None, max_uploads: int = PAGE_KEYS
    ) -> Page[UploadInfo]:
        # If asked to encode keys here, Ceph RGW does, but does not say so. Ask only if XML cannot carry a key.
        key_marker, upload_marker = cursor or ("", "")
        query = {"uploads": "", "prefix": prefix, "key-marker": key_marker, "upload-id-marker": upload_marker}
        query["max-uploads"] = _fewer(max_uploads)
        decode: Callable[[str], str] = str
        call = self._page("list_multipart_uploads", bucket, prefix, query)
        try:
            root = await self._caller.document_of(call, "ListMultipartUploadsResult")
        except NotFoundError as error:
            if error.code != "NoSuchUpload":
                raise
            return Page([], None)  # gofakes3 answers so if there are no uploads
        if any(xml.DAMAGED in (element.get("Key") or "") for element in root.find_all("Upload")):
            decode = replies.decoded
            call.query = {**call.query, "encoding-type": "url"}
            root = await self._caller.document_of(call, "ListMultipartUploadsResult")
        items = [_upload(bucket, element, decode) for element in root.find_all("Upload")]
        markers = [root.get("NextKeyMarker"), root.get("NextUploadIdMarker")]
        return Page(items, replies.next_cursor(replies.flag(root, "IsTruncated"), markers, decode, items[-1:]))

    def _page(self, operation: str, bucket: str, prefix: str, query: Mapping[str, str]) -> Call:
        """Return the call. Leave out parameters without a value, except the one that names the listing."""
        given = {name: value for name, value in query.items() if value or name in ("versions", "uploads")}
        call = Call(operation, "GET", bucket, "", self._caller.document, given)
        call.where = f"s3://{bucket}/{prefix}"
        return call

    async def delete_objects(
        self, bucket: str, keys: Sequence[VersionedKey], *, bypasses: bool = False
    ) -> Mapping[VersionedKey, ServiceError]:
        """Delete at most 1,000 keys. Return an error for each key that may still be there."""
        call = Call("delete_objects", "POST", bucket, "", self._caller.document, {"delete": ""})
        call.may_be_empty = True
        call.headers = BYPASS if bypasses else NOTHING
        await self._caller.fill(call, xml.delete_document(keys))
        _, entries, root = await self._caller.reply(call, "DeleteResult")
        deleted = [(name, None) for name, *_ in entries]
        if deleted == keys and root.find("Error") is None:  # the usual reply: every key in order, without a version
            return {}
        outcome: dict[tuple[str | None, str | None], ServiceError | None] = dict.fromkeys(deleted)
        for element in root.find_all("Deleted"):
            outcome[element.get("Key"), element.get("VersionId") or None] = None
        for element in root.find_all("Error"):
            key = element.get("Key")
            context = self._caller.context(f"delete s3://{bucket}/{key or ''}", None)
            error = error_of_key(element.get("Code") or "", element.get("Message") or "", context)
            is_gone = isinstance(error, NotFoundError) and error.code != "NoSuchBucket"
            outcome[key, element.get("VersionId") or None] = None if is_gone else error
        return failures_of(outcome, bucket, keys)


def _fewer(count: int) -> str:
    """Return the limit to send with a request. Nothing for a full page, which is what services send unasked."""
    return str(count) if count < PAGE_KEYS else ""


def _entry(element: xml.Element) -> xml.Entry:
    """Read one object of a page that the fast pattern did not match."""
    key = element.get("Key")
    if key is None:
        refuse_reply("a listed object without Key")
    size = element.get("Size")
    whole(size)
    etag = unquoted((element.get("ETag") or "").strip())
    return key, element.get("LastModified"), etag, size, element.get("StorageClass")


def _version(bucket: str, element: xml.Element, decode: Callable[[str], str]) -> ObjectInfo:
    key, modified, etag, size, storage_class = _entry(element)
    return replace(
        make_object_info(bucket, decode(key), whole(size), etag, listed_date(modified)),
        storage_class=storage_class,
        version_id=element.get("VersionId") or None,
        is_latest=replies.flag(element, "IsLatest"),
        is_delete_marker=element.name == "DeleteMarker",
    )


def _upload(bucket: str, element: xml.Element, decode: Callable[[str], str]) -> UploadInfo:
    key, upload_id = element.get("Key"), element.get("UploadId")
    if key is None or upload_id is None:
        refuse_reply("a listed upload without Key or UploadId")
    return UploadInfo(
        bucket, decode(key), upload_id, listed_date(element.get("Initiated")), element.get("StorageClass")
    )
