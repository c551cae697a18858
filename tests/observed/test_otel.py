"""Spans and metrics of ``aiodreamobjects.otel``, in an exporter that keeps them."""

from __future__ import annotations

import importlib.metadata
from collections.abc import AsyncIterator, Iterator
from functools import partial

import fastapi
import httpx
import pytest
from conftest import Server, new_name
from fastapi.responses import StreamingResponse
from opentelemetry import trace
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, NumberDataPoint
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Span, SpanKind, StatusCode
from servers.scripted import Content, ScriptedServer, error

import aiodreamobjects as dream
from aiodreamobjects import otel
from aiodreamobjects.testing import MemoryService


class Exported:
    """What one test's program has exported."""

    def __init__(self) -> None:
        self.spans, self._reader = InMemorySpanExporter(), InMemoryMetricReader()
        self.tracers, self.meters = TracerProvider(), MeterProvider([self._reader])
        self.tracers.add_span_processor(SimpleSpanProcessor(self.spans))

    def observe(self, *, capture_keys: bool = False) -> dream.Observer:
        return otel.observe(tracer_provider=self.tracers, meter_provider=self.meters, capture_keys=capture_keys)

    def all(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans.get_finished_spans() if span.name == name]

    def metric(self, name: str) -> list[tuple[dict[str, object], float]]:
        """The attributes of each series, and its sum or value."""
        data = self._reader.get_metrics_data()
        return [
            (dict(point.attributes or {}), point.value if isinstance(point, NumberDataPoint) else point.sum)
            for resource in (data.resource_metrics if data is not None else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]


@pytest.fixture
def exported() -> Iterator[Exported]:
    made = Exported()
    yield made
    made.tracers.shutdown()
    made.meters.shutdown()


def attributes_of(span: ReadableSpan) -> dict[str, object]:
    return dict(span.attributes or {})


def id_of(span: ReadableSpan) -> int:
    context = span.get_span_context()
    assert context is not None
    return context.span_id


async def test_three_refusals_are_one_span_with_three_events(scripted: ScriptedServer, exported: Exported) -> None:
    scripted.will(*[error(503, "SlowDown")] * 3, Content(b"xyz", "opaque-1"))
    async with scripted.session(observe=exported.observe()) as session:
        await session.object("s3://bucket/key").read()
    (span,) = exported.spans.get_finished_spans()
    assert (span.name, span.kind, span.status.status_code) == ("S3.GetObject", SpanKind.CLIENT, StatusCode.UNSET)
    assert attributes_of(span) == {
        "rpc.system.name": "aws-api",
        "rpc.service": "S3",
        "rpc.method": "GetObject",
        "aws.s3.bucket": "bucket",
        "http.request.method": "GET",
        "server.address": "127.0.0.1",
        "server.port": scripted.port,
        "http.response.status_code": 200,
        "http.request.resend_count": 3,
    }
    events = [dict(event.attributes or {}) for event in span.events]
    assert [event["error.type"] for event in events] == ["SlowDown"] * 3
    assert [event["http.request.attempt"] for event in events] == [1, 2, 3]
    assert {event["aws.request_id"] for event in events} == {"tx1"}
    assert exported.metric("dreamobjects.client.retries") == [
        ({"rpc.method": "GetObject", "error.type": "SlowDown"}, 3)
    ]
    assert [value for _, value in exported.metric("dreamobjects.client.concurrency_limit")] == [8]
    ((attributes, seconds),) = exported.metric("http.client.request.duration")
    assert attributes["http.response.status_code"] == 200
    assert seconds > 0
    assert [value for _, value in exported.metric("http.client.response.body.size")] == [3]
    assert {attributes["state"] for attributes, _ in exported.metric("dreamobjects.client.wait.duration")} == {
        "connection"
    }
    assert [value for _, value in exported.metric("http.client.open_connections")] == [0]


async def test_an_error_is_one_and_a_missing_key_is_none(exported: Exported) -> None:
    async with MemoryService().session(observe=exported.observe(capture_keys=True)) as session:
        bucket = await session.create_bucket("bucket-1", exist_ok=True)
        exported.spans.clear()
        assert not await bucket.object("k").exists()
        with pytest.raises(dream.NotFoundError):
            await bucket.object("k").read()
    looked, read = exported.spans.get_finished_spans()
    assert looked.status.status_code is StatusCode.UNSET
    assert "error.type" not in attributes_of(looked)
    assert not looked.events
    assert read.status.status_code is StatusCode.ERROR
    assert attributes_of(read)["error.type"] == "NoSuchKey"
    assert attributes_of(read)["aws.s3.key"] == "k"
    assert attributes_of(read)["aws.request_id"]


async def test_without_capture_keys_no_span_has_a_key(exported: Exported) -> None:
    async with MemoryService().session(observe=exported.observe()) as session:
        bucket = await session.create_bucket("bucket-1")
        for verb in (bucket.object("to-jane").read, partial(bucket.object("to-jane").download, "nowhere")):
            with pytest.raises(dream.NotFoundError):
                await verb()
    spans = exported.spans.get_finished_spans()
    assert [span.status.description for span in spans].count("NoSuchKey") == 3
    assert "to-jane" not in "".join(span.to_json() for span in spans)


async def test_a_copied_tree_has_the_right_parents(exported: Exported) -> None:
    """Its span is below the caller's, and all copies are below the tree, whichever worker made them."""
    async with MemoryService().session(observe=exported.observe()) as session:
        bucket = await session.create_bucket("bucket-1")
        for number in range(200):
            await bucket.object(f"a/{number}").put("x")
        exported.spans.clear()
        tracer = trace.get_tracer("test", tracer_provider=exported.tracers)
        with tracer.start_as_current_span("the caller") as caller:
            await bucket.copy_tree(bucket, "a", "b")
    (tree,) = exported.all("aiodreamobjects.copy_tree")
    assert tree.parent is not None
    assert tree.parent.span_id == caller.get_span_context().span_id
    assert attributes_of(tree)["dreamobjects.size"] == 200
    copies = {id_of(span): span for span in exported.all("aiodreamobjects.copy")}
    assert len(copies) == 200
    assert {span.parent.span_id for span in copies.values() if span.parent} == {id_of(tree)}
    calls = exported.all("S3.CopyObject")
    assert sorted(span.parent.span_id for span in calls if span.parent) == sorted(copies)


async def test_under_suppression_nothing_is_recorded(exported: Exported) -> None:
    async with MemoryService().session(observe=exported.observe()) as session:
        with suppress_instrumentation():
            bucket = await session.create_bucket("bucket-1")
            await bucket.object("k").put(b"x" * 300_000)
            await bucket.object("k").copy_to(bucket.object("l"))
    assert not exported.spans.get_finished_spans()
    assert exported.metric("http.client.request.duration") == []


async def test_the_hooks_see_each_call(exported: Exported) -> None:
    def asked(span: Span, event: dream.CallStarted) -> None:
        span.set_attribute("tenant", event.bucket)

    def answered(span: Span, event: dream.CallEnded) -> None:
        span.set_attribute("bytes", event.received)
        raise RuntimeError

    observe = otel.observe(tracer_provider=exported.tracers, request_hook=asked, response_hook=answered)
    async with MemoryService().session(observe=observe) as session:
        await (await session.create_bucket("bucket-1")).object("k").put("x")
    attributes = [attributes_of(span) for span in exported.spans.get_finished_spans()]
    assert len(attributes) >= 2
    assert {(one["tenant"], "bytes" in one) for one in attributes} == {("bucket-1", True)}


async def test_every_session_is_recorded_until_it_is_taken_back(exported: Exported) -> None:
    """As ``opentelemetry-instrument`` does: by the entry point."""
    (point,) = importlib.metadata.entry_points(group="opentelemetry_instrumentor", name="aiodreamobjects")
    instrumentor = point.load()()
    own: list[dream.Event] = []
    instrumentor.instrument(tracer_provider=exported.tracers, meter_provider=exported.meters)
    try:
        async with MemoryService().session(observe=own.append) as session:
            await session.bucket("bucket-1").exists()
    finally:
        instrumentor.uninstrument()
    async with MemoryService().session() as session:
        await session.bucket("bucket-1").exists()
    assert [span.name for span in exported.spans.get_finished_spans()] == ["S3.HeadBucket"]
    assert len(own) == 2


@pytest.mark.parametrize("breaks", [False, True])
async def test_a_streamed_get_is_below_the_request_of_the_web_service(
    memory_served: Server, exported: Exported, breaks: bool
) -> None:
    """It ends when the body has ended, or the response was given up."""
    app = fastapi.FastAPI()
    FastAPIInstrumentor.instrument_app(app, tracer_provider=exported.tracers, exclude_spans=["send", "receive"])
    size = 3_000_000
    async with memory_served.session(observe=exported.observe()) as session:
        bucket = await session.create_bucket(new_name())
        await bucket.object("k").put(b"x" * size)
        exported.spans.clear()

        @app.get("/k")
        async def get() -> StreamingResponse:
            async def chunks() -> AsyncIterator[bytes]:
                async with bucket.object("k").get() as body:
                    async for chunk in body:
                        yield chunk
                        if breaks:
                            raise ConnectionError

            return StreamingResponse(chunks())

        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            response = await client.get("/k")
            assert breaks or len(response.content) == size
        (call,) = exported.all("S3.GetObject")
        (served,) = exported.all("GET /k")
        assert call.parent is not None
        assert call.parent.span_id == id_of(served)
        await bucket.delete(force=True)
