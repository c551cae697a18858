"""The content type that a file's name stands for is the same on every machine."""

from __future__ import annotations

import mimetypes
from pathlib import Path

import pytest

from aiodreamobjects.testing import MemoryService, dreamobjects

__all__ = ["dreamobjects"]

TYPES = {
    "index.html": "text/html",
    "a.htm": "text/html",
    "site.css": "text/css",
    "app.js": "text/javascript",  # RFC 9239
    "app.mjs": "text/javascript",
    "app.js.map": "application/json",
    "data.json": "application/json",
    "data.jsonld": "application/ld+json",
    "map.geojson": "application/geo+json",
    "app.webmanifest": "application/manifest+json",
    "code.wasm": "application/wasm",
    "a.svg": "image/svg+xml",
    "a.webp": "image/webp",
    "a.avif": "image/avif",
    "a.JPG": "image/jpeg",
    "favicon.ico": "image/vnd.microsoft.icon",
    "a.woff": "font/woff",
    "a.woff2": "font/woff2",
    "a.ttf": "font/ttf",
    "README.md": "text/markdown",
    "a.txt": "text/plain",
    "a.csv": "text/csv",
    "a.vtt": "text/vtt",
    "a.yaml": "application/yaml",
    "a.pdf": "application/pdf",
    "a.epub": "application/epub+zip",
    "a.docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "a.xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "a.mp4": "video/mp4",
    "a.webm": "video/webm",
    "a.flac": "audio/flac",
    "a.opus": "audio/ogg",
    "a.tar": "application/x-tar",
    "a.tar.gz": "application/gzip",
    "a.tgz": "application/gzip",
    "a.html.gz": "application/gzip",
    "a.tar.xz": "application/x-xz",
    "a.zst": "application/zstd",
    "d.x/no ending": "binary/octet-stream",
    ".html": "binary/octet-stream",
    "a.": "binary/octet-stream",
    "a.unheard-of": "binary/octet-stream",
}


async def test_the_table_of_this_machine_does_not_count(
    dreamobjects: MemoryService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mimetypes.init()
    for name, kind in {".webp": "text/wrong", ".js": "application/javascript", ".unheard-of": "text/heard-of"}.items():
        monkeypatch.setitem(mimetypes.types_map, name, kind)
    for name in TYPES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    async with dreamobjects.session() as session:
        bucket = await session.create_bucket("bucket")
        await bucket.upload_tree(tmp_path, "tree")
        for name in TYPES:
            await bucket.object(f"file/{name}").upload(tmp_path / name)
        for prefix in ("tree", "file"):
            found = {name: (await bucket.object(f"{prefix}/{name}").head()).content_type for name in TYPES}
            assert found == TYPES
