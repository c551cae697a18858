"""What the observer of a session is told of one call. Imported only where there is an observer."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Protocol

from aiodreamobjects._errors import DreamObjectsError, NotFoundError
from aiodreamobjects._http.transport import Body, Request, Response, Transport, Waits
from aiodreamobjects._s3.retry import facts_of
from aiodreamobjects._trace import TRANSFER, AttemptFailed, CallEnded, CallStarted, Watch, new_id

_PORTS = {"http": 80, "https": 443}


class Told(Protocol):
    """What is told of a call."""

    operation: str
    method: str
    bucket: str
    key: str
    query: Mapping[str, str]
    body: Body
    may_be_missing: bool


class CallWatch(Watch):
    """A watch that tells of calls, too."""

    def begin(self, call: Told, scheme: str, host: str) -> Record:
        return Record(self, call, scheme, host)


class Record(Waits):
    """One call, from its start to the end of its answer."""

    __slots__ = (
        "_attempts",
        "_call",
        "_has_ended",
        "_id",
        "_is_streamed",
        "_response",
        "_started",
        "_watch",
    )

    def __init__(self, watch: CallWatch, call: Told, scheme: str, host: str) -> None:
        super().__init__()
        self._watch, self._call, self._id = watch, call, new_id()
        self._started = time.monotonic()
        self._attempts, self._has_ended, self._is_streamed = 0, False, False
        self._response: Response | None = None
        query = call.query
        name, _, port = host.rpartition(":") if ":" in host and not host.endswith("]") else (host, "", "")
        part = query.get("partNumber") if query else None
        watch.tell(
            CallStarted(
                self._id,
                TRANSFER.get(),
                call.operation,
                call.method,
                name,
                int(port) if port else _PORTS[scheme],
                call.bucket,
                call.key,
                query.get("uploadId") if query else None,
                int(part) if part else None,
            )
        )

    async def sending(self, transport: Transport, request: Request) -> Response:
        """Send one attempt. Return its response, which tells when a streamed body has ended."""
        self._attempts += 1
        self._response = None
        request.waits = self
        self._response = response = await transport.send(request)
        if response.content is None:
            self._is_streamed = True
            return _Streamed(response, self)
        return response

    def failed(self, number: int, error: DreamObjectsError, wait: float | None) -> None:
        if self._is_expected(error):
            return
        status, code, request_id = facts_of(error)
        self._watch.tell(AttemptFailed(self._id, number, status, code, type(error).__name__, request_id, wait))

    def end_unless_streamed(self) -> None:
        """End a call that succeeded. A streamed body ends it later."""
        if not self._is_streamed:
            self.end(None)

    def end(self, error: BaseException | None) -> None:
        """Tell that the call has ended. A second end does nothing."""
        if self._has_ended:
            return
        self._has_ended = True
        call, response = self._call, self._response
        status = request_id = extended = None
        sent = received = 0
        if response is not None:
            headers, content = response.headers, response.content
            status, sent = int(response.status), len(call.body)
            received = response.taken if content is None else len(content)
            request_id, extended = _text(headers.get(b"x-amz-request-id")), _text(headers.get(b"x-amz-id-2"))
        if error is not None and self._is_expected(error):
            error = None
        self._watch.tell(
            CallEnded(
                self._id,
                call.operation,
                call.bucket,
                call.key,
                status,
                self._attempts,
                request_id,
                extended,
                sent,
                received,
                time.monotonic() - self._started,
                self.waited_place,
                self.waited_connection,
                error,
            )
        )

    def _is_expected(self, error: BaseException) -> bool:
        return self._call.may_be_missing and isinstance(error, NotFoundError)


class _Streamed:
    """A response whose body is read as a stream. Its end is the end of the call."""

    __slots__ = ("_error", "_record", "_response", "content", "headers", "status")

    def __init__(self, response: Response, record: Record) -> None:
        self._response, self._record = response, record
        self.status, self.headers, self.content = response.status, response.headers, response.content
        self._error: Exception | None = None

    @property
    def taken(self) -> int:
        return self._response.taken

    async def read_chunk(self) -> bytes:
        try:
            return await self._response.read_chunk()
        except Exception as error:
            self._error = error
            raise

    async def read_into(self, memory: memoryview) -> int:
        try:
            return await self._response.read_into(memory)
        except Exception as error:
            self._error = error
            raise

    def close(self) -> None:
        self._response.close()
        error, self._error = self._error, None
        self._record.end(error)


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")
