"""Requests about one bucket, and the list of buckets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from aiodreamobjects._errors import NotFoundError
from aiodreamobjects._later import Later
from aiodreamobjects._models import BucketInfo, CannedAcl
from aiodreamobjects._s3 import replies, xml
from aiodreamobjects._s3.call import Call, Caller
from aiodreamobjects._s3.errors import refuse_reply
from aiodreamobjects._service import Feature

if TYPE_CHECKING:
    from aiodreamobjects import _acls as acls
    from aiodreamobjects._acls import Acl
    from aiodreamobjects._s3.settings import AsXml, Setting
else:
    acls = Later("aiodreamobjects._acls")

T = TypeVar("T")


class Buckets:
    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def list_buckets(self) -> list[BucketInfo]:
        call = Call("list_buckets", "GET", "", "", self._caller.document, where=self._caller.gate.service.endpoint)
        listed = (await self._caller.document_of(call, "ListAllMyBucketsResult")).find("Buckets")
        return [
            BucketInfo(
                bucket.get("Name") or refuse_reply("a bucket without Name"),
                replies.listed_date(bucket.get("CreationDate")),
            )
            for bucket in (listed.find_all("Bucket") if listed else ())
        ]

    async def create_bucket(self, bucket: str, acl: CannedAcl | None, *, object_lock: bool = False) -> None:
        service = self._caller.gate.service
        call = Call("create_bucket", "PUT", bucket, "", self._caller.document)
        if acl is not None:
            call.headers = {"x-amz-acl": acl}
        if object_lock:
            call.feature = "object_lock"
            call.headers = {**call.headers, "x-amz-bucket-object-lock-enabled": "true"}
        if service.location_constraint and service.region != "us-east-1":
            await self._caller.fill(call, xml.location_document(service.region))
        await self._caller.send_for_effect(call, done_earlier="BucketAlreadyOwnedByYou")

    async def head_bucket(self, bucket: str, *, may_be_missing: bool = False) -> BucketInfo:
        call = Call("head_bucket", "HEAD", bucket, "", self._caller.head, may_be_missing=may_be_missing)
        response = await self._caller.send(call)
        return replies.bucket_info(bucket, response.headers)

    async def delete_bucket(self, bucket: str) -> None:
        call = Call("delete_bucket", "DELETE", bucket, "", self._caller.document)
        await self._caller.send_for_effect(call, done_earlier="NoSuchBucket")

    async def get_bucket_acl(self, bucket: str) -> Acl:
        call = Call("get_bucket_acl", "GET", bucket, "", self._caller.document, {"acl": ""})
        return replies.acl_of(await self._caller.document_of(call, "AccessControlPolicy"))

    async def put_bucket_acl(self, bucket: str, acl: CannedAcl | Acl) -> None:
        call = Call("put_bucket_acl", "PUT", bucket, "", self._caller.document, {"acl": ""}, feature="acl_grants")
        if isinstance(acl, acls.Acl):
            await self._caller.fill(call, xml.acl_document(acl))
        else:
            call.headers = {"x-amz-acl": acl}
        await self._caller.send(call)

    # Settings that are our own XML. ``S3`` hands the others to aioboto3.

    async def get_as_xml(self, bucket: str, setting: Setting[T], form: AsXml[T]) -> T:
        call = self._setting(f"get_bucket_{form.query}", "GET", bucket, setting, form)
        return await value_or_empty(setting, lambda: self._get(call, form))

    async def _get(self, call: Call, form: AsXml[T]) -> T:
        return form.read(await self._caller.document_of(call, form.root))

    async def put_as_xml(self, bucket: str, setting: Setting[T], form: AsXml[T], value: T) -> None:
        call = self._setting(f"put_bucket_{form.query}", "PUT", bucket, setting, form)
        await self._caller.fill(call, form.write(value))
        await self._caller.send(call)

    async def delete_as_xml(self, bucket: str, setting: Setting[T], form: AsXml[T]) -> None:
        if form.deleted_by_putting is not None:
            await self.put_as_xml(bucket, setting, form, form.deleted_by_putting)
            return
        await self.delete_by_query(bucket, form.query, setting.feature)

    async def delete_by_query(self, bucket: str, query: str, feature: Feature | None) -> None:
        call = Call(f"delete_bucket_{query}", "DELETE", bucket, "", self._caller.document, {query: ""}, feature=feature)
        await self._caller.send(call)

    def _setting(self, operation: str, method: str, bucket: str, setting: Setting[T], form: AsXml[T]) -> Call:
        call = Call(operation, method, bucket, "", self._caller.document, {form.query: ""})
        call.feature, call.other_root = setting.feature, form.other_root
        return call


async def value_or_empty(setting: Setting[T], ask: Callable[[], Awaitable[T]]) -> T:
    """Return the answer, or the setting's empty value if the bucket has none."""
    try:
        return await ask()
    except NotFoundError as error:
        if error.code != setting.absent:
            raise
        return setting.empty()
