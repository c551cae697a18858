"""Collects the events of one call for the session's observer. Imported only if the session has one."""

from __future__ import annotations

import time
from typing import Protocol

from aiodreamobjects._errors import DreamObjectsError, NotFoundError
from aiodreamobjects._http.transport import Body, Request, Response, Waits
from aiodreamobjects._s3.retry import facts_of
from aiodreamobjects._trace import AttemptFailed, Observer, Told, Watch

_PORTS = {"http": 80, "https": 443}


class Observed(Told, Protocol):
    """What a record needs to know of its call."""

    body: Body
    may_be_missing: bool


class CallWatch(Watch):
    """A watch that tells of calls, too."""

    def __init__(self, observe: Observer) -> None:
        super().__init__(observe)
        self._places: dict[str, tuple[str, int]] = {}
        """Name and port of each host."""

    def begin(self, call: Observed, scheme: str, host: str) -> Record:
        place = self._places.get(host)
        if place is None:
            name, _, port = host.rpartition(":") if ":" in host and not host.endswith("]") else (host, "", "")
            place = self._places[host] = name, int(port) if port else _PORTS[scheme]
        return Record(self, call, self.call_started(call, place))


class Record(Waits):
    """One call, from its start to the end of its answer."""

    __slots__ = ("_attempts", "_call", "_has_ended", "_id", "_is_streamed", "_response", "_started", "_watch")

    def __init__(self, watch: CallWatch, call: Observed, number: int) -> None:
        self.waited_place = self.waited_connection = 0.0
        self._watch, self._call, self._id = watch, call, number
        self._started = time.monotonic()
        self._attempts, self._has_ended, self._is_streamed = 0, False, False
        self._response: Response | None = None

    def leaves(self, request: Request) -> None:
        """Note that an attempt is sent."""
        self._attempts += 1
        self._response = None
        request.waits = self

    def answered(self, response: Response) -> Response:
        """Note the answer to an attempt. Return it, or what tells when its streamed body has ended."""
        self._response = response
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
        answer: tuple[int | None, str | None, str | None] = None, None, None
        moved = 0, 0
        if response is not None:
            headers, content = response.headers, response.content
            answer = int(response.status), _text(headers.get(b"x-amz-request-id")), _text(headers.get(b"x-amz-id-2"))
            moved = len(call.body), response.taken if content is None else len(content)
        if error is not None and self._is_expected(error):
            error = None
        waits = time.monotonic() - self._started, self.waited_place, self.waited_connection
        self._watch.call_ended(self._id, call, self._attempts, answer, moved, waits, error)

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
