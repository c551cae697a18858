"""Every Python sample of the README and the documentation, run in the order of its page."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import textwrap
from pathlib import Path

import pytest
from conftest import Server, new_name

import aiodreamobjects as dream

ROOT = Path(__file__).parent.parent
PAGES = ["README.md", *(f"docs/{path.name}" for path in sorted(ROOT.glob("docs/*.md")))]
SAMPLE = re.compile(r"^( *)```python\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
WITH_SAMPLES = [page for page in PAGES if SAMPLE.search((ROOT / page).read_text())]


def test_most_pages_have_samples() -> None:
    assert {"README.md", "docs/guide.md", "docs/services.md", "docs/errors.md"} <= set(WITH_SAMPLES)


@pytest.mark.parametrize("page", WITH_SAMPLES)
async def test_the_samples_of_a_page_run(
    moto: Server, page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DREAMOBJECTS_ENDPOINT_URL", moto.service.endpoint)
    monkeypatch.setenv("DREAMOBJECTS_ACCESS_KEY_ID", moto.access_key)
    monkeypatch.setenv("DREAMOBJECTS_SECRET_ACCESS_KEY", moto.secret_key)
    async with moto.session() as session:
        bucket = await session.create_bucket(new_name())
        await bucket.object("hello.txt").put("Hello World!")
        names: dict[str, object] = {"__name__": "sample"}
        for match in SAMPLE.finditer((ROOT / page).read_text()):
            source = textwrap.dedent(match[2]).replace("/tmp/", f"{tmp_path}/")
            code = compile(source, f"{page}: {source[:60]!r}", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            names |= {"dream": dream, "session": session, "bucket": bucket}
            if "asyncio.run(" in source:
                await asyncio.to_thread(exec, code, names)
            elif inspect.iscoroutine(running := eval(code, names)):
                await running
        await bucket.delete(force=True)
