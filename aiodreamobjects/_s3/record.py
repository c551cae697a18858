"""Make the events of calls for the session's observer. Imported only if the session has one."""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic
from typing import Any, Protocol

from aiodreamobjects._errors import DreamObjectsError, NotFoundError
from aiodreamobjects._http.transport import Body, Response
from aiodreamobjects._s3.retry import facts_of
from aiodreamobjects._trace import (
    IDS,
    TRANSFER,
    AttemptFailed,
    CallEnded,
    CallStarted,
    Observer,
    Record,
    Started,
    Watch,
)


class Ending(Protocol):
    """What must be known of a call, or a streamed body, when it ends."""

    record: Record | None
    may_be_missing: bool


class Observed(Ending, Protocol):
    """What must be known of a call."""

    operation: str
    method: str
    bucket: str
    key: str
    body: Body

    @property
    def query(self) -> Mapping[str, str]: ...


class CallWatch(Watch):
    """A watch that tells of calls, too."""

    def __init__(self, observe: Observer, scheme: str) -> None:
        super().__init__(observe)
        self._places = _Places(scheme)

    def begin(self, call: Observed, host: str) -> None:
        """Tell that a call begins, and give it a record."""
        started: Any = Started()
        call.record = record = Record()
        started.id = record.id = next(IDS)
        started.parent = TRANSFER.get()
        started.operation = record.operation = call.operation
        started.method = call.method
        started.host, started.port = self._places[host]
        started.bucket = record.bucket = call.bucket
        started.key = record.key = call.key
        started.upload_id = started.part_number = None
        if call.query:
            started.upload_id, part = call.query.get("uploadId"), call.query.get("partNumber")
            started.part_number = int(part) if part else None
        record.status = None
        record.attempts = 0
        record.waited_place = record.waited_connection = 0.0
        record.seconds = monotonic()
        started.__class__ = CallStarted
        self.tell(started)

    def answered(self, call: Observed, response: Response) -> Response:
        """Note the answer to an attempt. Return it, or what tells when its streamed body has ended."""
        record = call.record
        assert record is not None
        headers, content = response.headers, response.content
        record.status, record.sent = response.status, len(call.body)
        text = headers.get(b"x-amz-request-id")
        record.request_id = None if text is None else text.decode("latin-1")
        text = headers.get(b"x-amz-id-2")
        record.extended_request_id = None if text is None else text.decode("latin-1")
        if content is None:
            call.record = None
            return _Streamed(response, record, self)
        record.received = len(content)
        return response

    def failed(self, call: Observed, number: int, error: DreamObjectsError, wait: float | None) -> None:
        """Tell that an attempt failed. ``wait``: the seconds until the next one. None if there will be none."""
        record = call.record
        assert record is not None
        if not _is_expected(call, error):
            status, code, request_id = facts_of(error)
            self.tell(AttemptFailed(record.id, number, status, code, type(error).__name__, request_id, wait))
        if wait is not None:  # the next attempt has an answer of its own
            record.status = None

    def end(self, call: Ending, error: BaseException | None) -> None:
        """Tell that a call has ended, unless its streamed body tells that later, or told it before."""
        record, call.record = call.record, None
        if record is None:
            return
        if record.status is None:
            record.request_id = record.extended_request_id = None
            record.sent = record.received = 0
        record.error = None if error is None or _is_expected(call, error) else error
        record.seconds = monotonic() - record.seconds
        ended: Any = record
        ended.__class__ = CallEnded
        self.tell(ended)


class _Places(dict[str, tuple[str, int]]):
    """Name and port of each host."""

    def __init__(self, scheme: str) -> None:
        super().__init__()
        self._default = 443 if scheme == "https" else 80

    def __missing__(self, host: str) -> tuple[str, int]:
        name, _, port = host.rpartition(":") if ":" in host and not host.endswith("]") else (host, "", "")
        place = self[host] = name, int(port) if port else self._default
        return place


def _is_expected(call: Ending, error: BaseException) -> bool:
    return call.may_be_missing and isinstance(error, NotFoundError)


class _Streamed:
    """A response whose body is read as a stream. Its end is the end of the call."""

    __slots__ = ("_error", "_response", "_watch", "content", "headers", "may_be_missing", "record", "status")

    def __init__(self, response: Response, record: Record, watch: CallWatch) -> None:
        self._response, self._watch = response, watch
        self.record: Record | None = record
        self.may_be_missing = False
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
        if self.record is not None:
            self.record.received = self._response.taken
            self._watch.end(self, error)
