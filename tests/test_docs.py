"""Every Python sample of the README and the documentation, run in the order of its page."""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import textwrap
import tomllib
import types
from pathlib import Path
from types import ModuleType

import pytest
from conftest import Server, new_name

import aiodreamobjects as dream

ROOT = Path(__file__).parent.parent
PAGES = ["README.md", *(f"docs/{path.name}" for path in sorted(ROOT.glob("docs/*.md")))]
SAMPLE = re.compile(r"^( *)```python\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
WITH_SAMPLES = [page for page in PAGES if SAMPLE.search((ROOT / page).read_text())]


@pytest.mark.skipif(not shutil.which("node"), reason="node is not installed")
async def test_the_script_for_browsers_sends_a_large_file(rgw: Server, tmp_path: Path) -> None:
    """As it is in the page, by node, whose fetch and Blob are a browser's."""
    script = re.findall(r"```js\n(async function send.*?)```", (ROOT / "docs/presigning.md").read_text(), re.DOTALL)[0]
    content, part_size = os.urandom((5 << 20) + 5), 5 << 20
    (tmp_path / "content").write_bytes(content)
    async with rgw.session() as session:
        bucket = await session.create_bucket(new_name())
        upload = await bucket.object("a b").start_upload()
        urls = [upload.presign_part(1, content_length=part_size), upload.presign_part(2, content_length=5)]
        begun = json.dumps({"part_size": part_size, "urls": urls})
        call = f"send(new Blob([require('fs').readFileSync({str(tmp_path / 'content')!r})]), {begun})"
        await asyncio.to_thread(subprocess.run, ["node", "-e", f"{script}\n{call}"], check=True, timeout=60)
        assert [part.size for part in await upload.parts()] == [part_size, 5]
        await upload.complete()
        assert await bucket.object("a b").read() == content
        await bucket.delete(force=True)


def test_most_pages_have_samples() -> None:
    assert {"README.md", "docs/tutorial.md", "docs/objects.md", "docs/sessions.md", "docs/errors.md"} <= set(
        WITH_SAMPLES
    )


def test_links_of_the_readme_work_away_from_the_checkout() -> None:
    """On the page of a package index there are no other files."""
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]
    source = urls["Source"].replace("github.com", "raw.githubusercontent.com")
    known = (urls["Source"], urls["Documentation"], f"{source}/main/docs/pictures/", "https://www.dreamhost.com/")
    links = re.findall(r"\]\(([^)]*)\)", (ROOT / "README.md").read_text())
    assert len(links) > 10
    for link in links:
        assert link.startswith(known)
        page = re.search(r"/(?:en/latest/(\w+)\.html|main/(docs/pictures/\w+\.svg)|blob/main/(\w+\.md))", link)
        assert page is None or (ROOT / (f"docs/{page[1]}.md" if page[1] else page[2] or page[3])).exists(), link


def test_pictures_show_the_tables() -> None:
    path = ROOT / "docs/pictures/draw.py"
    drawn = runpy.run_path(str(path))["drawn"]()
    assert {found.name: found.read_text() for found in path.parent.glob("*.svg")} == {
        found.name: image for found, image in drawn.items()
    }, "run: python docs/pictures/draw.py"


@pytest.mark.parametrize("page", WITH_SAMPLES)
async def test_the_samples_of_a_page_run(
    own_moto: Server, page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DREAMOBJECTS_ENDPOINT_URL", own_moto.service.endpoint)
    monkeypatch.setenv("DREAMOBJECTS_ACCESS_KEY_ID", own_moto.access_key)
    monkeypatch.setenv("DREAMOBJECTS_SECRET_ACCESS_KEY", own_moto.secret_key)
    monkeypatch.setitem(sys.modules, "sample", ModuleType("sample"))  # taskiq looks for the module of a function
    async with own_moto.session() as session:
        bucket = await session.create_bucket(new_name())
        await bucket.object("hello.txt").put("Hello World!")
        module = types.ModuleType("sample")  # frameworks look names up in the module of a handler
        monkeypatch.setitem(sys.modules, "sample", module)
        names: dict[str, object] = module.__dict__
        for match in SAMPLE.finditer((ROOT / page).read_text()):
            source = textwrap.dedent(match[2]).replace("/tmp/", f"{tmp_path}/")
            code = compile(source, f"{page}: {source[:60]!r}", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            names |= {"dream": dream, "session": session, "bucket": bucket}
            if "asyncio.run(" in source:
                await asyncio.to_thread(exec, code, names)
            elif inspect.iscoroutine(running := eval(code, names)):
                await running
        await bucket.delete(force=True)
