"""An object's bytes on their way up, in one request."""

from __future__ import annotations

from dataclasses import replace

from aiodreamobjects._checks import encode_utf8
from aiodreamobjects._models import Address, ObjectAttributes, ObjectInfo
from aiodreamobjects._progress import Meter, ProgressCallback
from aiodreamobjects._runtime import Runtime
from aiodreamobjects._wire.contract import WriteConditions


async def put(
    runtime: Runtime,
    address: Address,
    source: str | bytes | bytearray | memoryview,
    attributes: ObjectAttributes,
    conditions: WriteConditions,
    progress: ProgressCallback | None,
) -> ObjectInfo:
    if isinstance(source, str):
        body = encode_utf8("text", source)
        attributes = replace(attributes, content_type=attributes.content_type or "text/plain; charset=utf-8")
    elif isinstance(source, bytes | bytearray | memoryview):
        body = bytes(source)
    else:
        msg = f"put takes str, bytes, bytearray or memoryview, not {type(source).__name__}"
        raise TypeError(msg)
    info = await runtime.wire.put_object(address, body, attributes, conditions)
    meter = Meter(progress, total_bytes=len(body), key=address.key)
    await meter.finish(len(body))
    return info
