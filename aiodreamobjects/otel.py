"""OpenTelemetry spans and metrics for sessions. The extra ``otel`` installs what this needs.

For one session: ``Session(observe=otel.observe())``. For all sessions of a program, also by ``opentelemetry-instrument``:
``DreamObjectsInstrumentor().instrument()``. The names of attributes and metrics are OpenTelemetry's semantic conventions
(HTTP, and AWS SDK spans) where they have one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

try:
    from opentelemetry import context as otel_context
    from opentelemetry import metrics, trace
    from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]  # it turns its types off
    from opentelemetry.instrumentation.utils import is_instrumentation_enabled
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import Span, SpanKind, Status, StatusCode, TracerProvider
    from opentelemetry.util.types import AttributeValue
except ModuleNotFoundError as error:
    message = "aiodreamobjects.otel needs an extra: pip install 'aiodreamobjects[otel]'"
    raise ModuleNotFoundError(message, name=error.name) from error

from aiodreamobjects import (
    AttemptFailed,
    CallEnded,
    CallStarted,
    ConnectionClosed,
    ConnectionOpened,
    Event,
    Observer,
    ServiceError,
    Session,
    Throttled,
    TransferEnded,
    TransferStarted,
    __version__,
)

__all__ = ["DreamObjectsInstrumentor", "RequestHook", "ResponseHook", "observe"]

RequestHook = Callable[[Span, CallStarted], object]
ResponseHook = Callable[[Span, CallEnded], object]
Attributes = dict[str, AttributeValue]

_NAME = "aiodreamobjects"
# What the semantic conventions advise for http.client.request.duration.
_SECONDS = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10]


def observe(
    *,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    capture_keys: bool = False,
    request_hook: RequestHook | None = None,
    response_hook: ResponseHook | None = None,
) -> Observer:
    """Return an observer for ``Session(observe=...)``, which makes spans and metrics.

    Each call is a span of kind CLIENT, such as ``S3.GetObject``: with all its attempts, and open until a streamed body has
    ended. A transfer, tree verb or bulk verb is a span around its calls. Its parent is the span that is current where the
    verb is awaited. Without providers, the global ones are used. Without ``capture_keys`` no span has a key, and the status of a
    failed one has the type of the error, whose message names the key: keys may be personal, and they are many. The hooks are called with each span of a call, at its start and before its end.

    Under ``suppress_instrumentation`` nothing is recorded.
    """
    return _Recorder(
        trace.get_tracer(_NAME, __version__, tracer_provider),
        metrics.get_meter(_NAME, __version__, meter_provider),
        request_hook,
        response_hook,
        captures_keys=capture_keys,
    ).take


class _Recorder:
    """Makes spans and metrics of events."""

    def __init__(
        self,
        tracer: trace.Tracer,
        meter: metrics.Meter,
        request_hook: RequestHook | None,
        response_hook: ResponseHook | None,
        *,
        captures_keys: bool,
    ) -> None:
        self._tracer, self._captures_keys = tracer, captures_keys
        self._request_hook, self._response_hook = request_hook, response_hook
        self._calls: dict[int, tuple[Span, CallStarted]] = {}
        self._transfers: dict[int, Span] = {}
        """The spans under way. A call or transfer under ``suppress_instrumentation`` has none."""
        self._duration = meter.create_histogram(
            "http.client.request.duration",
            "s",
            "Duration of calls, with all attempts and waits",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._sent = meter.create_histogram("http.client.request.body.size", "By", "Size of request bodies")
        self._received = meter.create_histogram("http.client.response.body.size", "By", "Size of response bodies")
        self._connections = meter.create_up_down_counter(
            "http.client.open_connections", "{connection}", "Open connections"
        )
        self._retries = meter.create_counter("dreamobjects.client.retries", "{retry}", "Attempts that were repeated")
        self._waits = meter.create_histogram(
            "dreamobjects.client.wait.duration",
            "s",
            "Waits of calls for a place or a connection",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._limit = meter.create_gauge(
            "dreamobjects.client.concurrency_limit", "{request}", "Requests that may be under way, after a change"
        )

    def take(self, event: Event) -> None:
        match event:
            case CallStarted():
                self._start_call(event)
            case CallEnded():
                self._end_call(event)
            case AttemptFailed():
                self._fail(event)
            case TransferStarted():
                self._start_transfer(event)
            case TransferEnded():
                self._end_transfer(event)
            case ConnectionOpened():
                self._connections.add(1, {"server.address": event.host})
            case ConnectionClosed():
                self._connections.add(-1, {"server.address": event.host})
            case Throttled():
                self._limit.set(event.after)

    def _start_call(self, event: CallStarted) -> None:
        if not is_instrumentation_enabled():
            return
        attributes: Attributes = {
            "rpc.system.name": "aws-api",
            "rpc.service": "S3",
            "rpc.method": _method_of(event.operation),
            **self._place(event.bucket, event.key),
            **_of_server(event),
        }
        if event.upload_id is not None:
            attributes["aws.s3.upload_id"] = event.upload_id
        if event.part_number is not None:
            attributes["aws.s3.part_number"] = event.part_number
        name = f"S3.{_method_of(event.operation)}"
        span = self._tracer.start_span(name, self._context(event.parent), SpanKind.CLIENT, attributes)
        self._calls[event.id] = span, event
        if self._request_hook is not None:
            self._request_hook(span, event)

    def _fail(self, event: AttemptFailed) -> None:
        call = self._calls.get(event.id)
        if call is None:
            return
        attributes: Attributes = {"http.request.attempt": event.number, "error.type": event.code or event.error_type}
        if event.status is not None:
            attributes["http.response.status_code"] = event.status
        if event.request_id is not None:
            attributes["aws.request_id"] = event.request_id
        if event.wait is not None:
            attributes["dreamobjects.wait"] = event.wait
            self._retries.add(1, {"rpc.method": _method_of(call[1].operation), "error.type": attributes["error.type"]})
        call[0].add_event("dreamobjects.attempt_failed", attributes)

    def _end_call(self, event: CallEnded) -> None:
        call = self._calls.pop(event.id, None)
        if call is None:
            return
        span, started = call
        attributes: Attributes = {}
        if event.status is not None:
            attributes["http.response.status_code"] = event.status
        if event.error is not None:
            attributes["error.type"] = self._fail_span(span, event.error)
        self._measure(event, _of_server(started) | attributes)
        if event.attempts > 1:
            attributes["http.request.resend_count"] = event.attempts - 1
        if event.request_id is not None:
            attributes["aws.request_id"] = event.request_id
        if event.extended_request_id is not None:
            attributes["aws.extended_request_id"] = event.extended_request_id
        span.set_attributes(attributes)
        try:
            if self._response_hook is not None:
                self._response_hook(span, event)
        finally:
            span.end()

    def _measure(self, event: CallEnded, attributes: Attributes) -> None:
        self._duration.record(event.seconds, attributes)
        self._sent.record(event.sent, attributes)
        self._received.record(event.received, attributes)
        for state, seconds in (("place", event.waited_place), ("connection", event.waited_connection)):
            if seconds:
                self._waits.record(seconds, {"state": state})

    def _start_transfer(self, event: TransferStarted) -> None:
        if is_instrumentation_enabled():
            attributes = self._place(event.bucket, event.key)
            name, context = f"{_NAME}.{event.verb}", self._context(event.parent)
            self._transfers[event.id] = self._tracer.start_span(name, context, attributes=attributes)

    def _end_transfer(self, event: TransferEnded) -> None:
        span = self._transfers.pop(event.id, None)
        if span is None:
            return
        told = {"size": event.size, "parts": event.parts, "resumed": event.resumed, "verified": event.verified}
        span.set_attributes({f"dreamobjects.{name}": value for name, value in told.items() if value is not None})
        if event.error is not None:
            span.set_attribute("error.type", self._fail_span(span, event.error))
        span.end()

    def _fail_span(self, span: Span, error: BaseException) -> str:
        """Give the span the status of an error, and return the error's type. Messages name the key."""
        kind = _type_of(error)
        span.set_status(Status(StatusCode.ERROR, str(error) if self._captures_keys else kind))
        return kind

    def _context(self, parent: int | None) -> otel_context.Context | None:
        """Return the context of the transfer that a call belongs to. None means the current one."""
        span = self._transfers.get(parent) if parent is not None else None
        return None if span is None else trace.set_span_in_context(span)

    def _place(self, bucket: str, key: str) -> Attributes:
        found: Attributes = {"aws.s3.bucket": bucket} if bucket else {}
        if key and self._captures_keys:
            found["aws.s3.key"] = key
        return found


def _of_server(event: CallStarted) -> Attributes:
    return {"http.request.method": event.method, "server.address": event.host, "server.port": event.port}


def _method_of(operation: str) -> str:
    """Return the name as the S3 API reference writes it: ``GetObject``."""
    return "".join([word.capitalize() for word in operation.split("_")])


def _type_of(error: BaseException) -> str:
    return (error.code if isinstance(error, ServiceError) else "") or type(error).__name__


class DreamObjectsInstrumentor(BaseInstrumentor):  # type: ignore[misc]  # its base is untyped
    """Records all sessions that are made after ``instrument()``, until ``uninstrument()``.

    ``instrument`` takes the arguments of ``observe``. A session with an observer of its own keeps that as well.
    """

    def instrumentation_dependencies(self) -> Collection[str]:
        return ()

    def _instrument(self, **arguments: Any) -> None:
        known = ("tracer_provider", "meter_provider", "capture_keys", "request_hook", "response_hook")
        self._observer = observe(**{name: arguments[name] for name in known if name in arguments})
        Session._observers.append(self._observer)  # noqa: SLF001 - its place for this

    def _uninstrument(self, **_: Any) -> None:
        Session._observers.remove(self._observer)  # noqa: SLF001 - its place for this
