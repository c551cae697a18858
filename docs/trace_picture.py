"""Draw the trace of one upload_tree, from the spans that were exported: ``python docs/trace_picture.py`` writes docs/trace.svg."""

from __future__ import annotations

import asyncio
import tempfile
from html import escape
from pathlib import Path

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import aiodreamobjects as dream
from aiodreamobjects import otel
from aiodreamobjects.testing import MemoryService

ROW, LEFT, WIDTH = 22, 260, 560
COLOURS = {"aiodreamobjects": "#4c78a8", "S3": "#54a24b"}


async def spans() -> list[ReadableSpan]:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    service = MemoryService()
    limits = dream.Limits(part_size=5 << 20)
    async with service.serve() as served:
        access = {"endpoint": served.endpoint, "access_key": served.access_key, "secret_key": served.secret_key}
        async with dream.Session(**access, limits=limits, observe=otel.observe(tracer_provider=provider)) as session:
            bucket = await session.create_bucket("site")
            await bucket.exists()
            exporter.clear()
            service.fail("put_object", "SlowDown")
            with tempfile.TemporaryDirectory() as directory:
                for name, size in (("index.html", 300_000), ("style.css", 280_000), ("film.mp4", 12 << 20)):
                    (Path(directory) / name).write_bytes(b"x" * size)
                await bucket.upload_tree(directory, "www")
    return list(exporter.get_finished_spans())


def in_order(found: list[ReadableSpan], parent: int | None = None, depth: int = 0) -> list[tuple[int, ReadableSpan]]:
    rows: list[tuple[int, ReadableSpan]] = []
    for span in sorted(found, key=lambda span: span.start_time or 0):
        if (span.parent.span_id if span.parent else None) == parent:
            assert span.context is not None
            rows += [(depth, span), *in_order(found, span.context.span_id, depth + 1)]
    return rows


def drawn(rows: list[tuple[int, ReadableSpan]]) -> str:
    first = min(span.start_time or 0 for _, span in rows)
    whole = max(span.end_time or 0 for _, span in rows) - first
    size = f'width="{LEFT + WIDTH + 80}" height="{ROW * (len(rows) + 1)}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for number, (depth, span) in enumerate(rows):
        start, end = ((moment or 0) - first for moment in (span.start_time, span.end_time))
        x, width = LEFT + WIDTH * start / whole, max(2.0, WIDTH * (end - start) / whole)
        y, colour = ROW * number + 8, COLOURS[span.name.split(".")[0]]
        part = dict(span.attributes or {}).get("aws.s3.part_number")
        label = escape(span.name + (f", part {part}" if part else ""))
        lines += [
            f'<text x="{8 + 14 * depth}" y="{y + 12}">{label}</text>',
            f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{ROW - 6}" fill="{colour}"/>',
            f'<text x="{x + width + 4:.1f}" y="{y + 12}" fill="#555">{(end - start) / 1e6:.1f} ms</text>',
        ]
        lines += [
            f'<circle cx="{LEFT + WIDTH * (event.timestamp - first) / whole:.1f}" cy="{y + ROW / 2 - 3}" r="4" fill="#e45756">'
            f"<title>{escape(str(dict(event.attributes or {}).get('error.type')))}</title></circle>"
            for event in span.events
        ]
    return "\n".join([*lines, "</svg>\n"])


if __name__ == "__main__":
    Path(__file__).with_name("trace.svg").write_text(drawn(in_order(asyncio.run(spans()))))
