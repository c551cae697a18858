"""The page of the web service, and Uppy, in headless Chromium. ``nox -s browser`` installs all that this needs."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from conftest import Server, new_name, put_all
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount, Route
from test_examples import web_service
from web import webdriver
from web.conftest import served
from web.webdriver import Browser

import aiodreamobjects as dream
from aiodreamobjects.asgi import UploadSigner

DOCS = Path(__file__).parents[2] / "docs"
MIB = 1 << 20
ODD = "ü +%'\".txt"
NO_UPPY = "UPPY names no bundle of @uppy/core and @uppy/aws-s3: nox -s browser makes it"
pytestmark = [
    pytest.mark.skipif(not webdriver.is_installed(), reason=webdriver.NO_BROWSER),
    pytest.mark.timeout(300),
]


@pytest_asyncio.fixture(scope="session")
async def browser(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    async with webdriver.running(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


@pytest.fixture(scope="session", params=["memory_served", "rgw"])
def web_server(request: pytest.FixtureRequest) -> Server:
    """Served, because the browser sends to it."""
    found: Server = request.getfixturevalue(request.param)
    return found


class Site:
    """The page, and the bucket behind it."""

    def __init__(self, url: str, bucket: dream.Bucket) -> None:
        self.url, self.bucket = url, bucket


@pytest_asyncio.fixture(scope="session")
async def running_site(web_server: Server) -> AsyncIterator[Site]:
    async with web_server.session() as session:
        bucket = await session.create_bucket(new_name())
        with web_service(web_server, bucket.name) as url:
            yield Site(url, bucket)
        await bucket.delete(force=True)


@pytest_asyncio.fixture
async def site(running_site: Site) -> Site:
    """Empty, with the rules for its own origin."""
    await running_site.bucket.empty()
    await running_site.bucket.set_cors(rules_for(running_site.bucket, running_site.url))
    return running_site


def rules_for(bucket: dream.Bucket, origin: str) -> list[dream.CorsRule]:
    return UploadSigner(bucket, key=str, authorize=lambda *_: True).cors_rules([origin])


def picture(width: int, height: int, color: tuple[int, int, int]) -> bytes:
    """Return a PNG of one color, fading to white."""
    lines = (b"\0" + bytes(c + (255 - c) * x // width for x in range(width) for c in color) for _ in range(height))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(b"".join(lines)))
        + chunk(b"IEND", b"")
    )


def row_of(name: str) -> str:
    return f"#uploads li[data-name={quoted(name)}]"


def quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


async def choose(browser: Browser, *paths: Path) -> None:
    await browser.type("#files", "\n".join(map(str, paths)))


async def state(browser: Browser, name: str, expected: str) -> None:
    await browser.until("document.querySelector(args[0])?.dataset.state === args[1]", row_of(name), expected)


async def test_files_of_all_sizes_and_names(browser: Browser, site: Site, tmp_path: Path) -> None:
    contents = {"empty": b"", "small.txt": os.urandom(1024), "large.bin": os.urandom(12 * MIB), ODD: b"odd"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    await browser.open(f"{site.url}/#a%20b/")
    await browser.until("!document.getElementById('empty').hidden")
    await choose(browser, *(tmp_path / name for name in contents))
    for name in contents:
        await state(browser, name, "done")
    for name, content in contents.items():
        assert await site.bucket.object(f"a b/{name}").read() == content
        await browser.until("document.querySelector(args[0])", f"#list li[data-key={quoted(f'a b/{name}')}]")
    assert (await site.bucket.object("a b/small.txt").head()).content_type == "text/plain"
    assert "-3" in str((await site.bucket.object("a b/large.bin").head()).etag)
    assert await site.bucket.uploads().collect() == []
    link = f"#list li[data-key={quoted(f'a b/{ODD}')}] a[download]"
    told = await browser.run(
        "const reply = await fetch(document.querySelector(args[0]).href); return [reply.headers.get('content-disposition'), await reply.text()]",
        link,
    )
    assert told == ["attachment; filename*=utf-8''%C3%BC%20%2B%25%27%22.txt", "odd"]


async def test_an_upload_that_is_paused_and_one_that_is_cancelled(browser: Browser, site: Site, tmp_path: Path) -> None:
    content = os.urandom(12 * MIB)
    for name in ("paused", "cancelled"):
        (tmp_path / name).write_bytes(content)
    await browser.open(site.url)
    await browser.slow_down(4 * MIB)
    await choose(browser, tmp_path / "paused")
    await browser.until("document.querySelector(args[0])?.value > 100000", f"{row_of('paused')} progress")
    await browser.click(f"{row_of('paused')} button:nth-of-type(1)")
    await state(browser, "paused", "paused")
    assert [one.key for one in await site.bucket.uploads().collect()] == ["paused"]
    await choose(browser, tmp_path / "cancelled")
    await browser.until("document.querySelector(args[0])?.value > 100000", f"{row_of('cancelled')} progress")
    await browser.click(f"{row_of('cancelled')} button:nth-of-type(2)")
    await browser.until("!document.querySelector(args[0])", row_of("cancelled"))
    while [one.key for one in await site.bucket.uploads().collect()] != ["paused"]:
        await browser.run("return 1")
    await browser.slow_down()
    await browser.click(f"{row_of('paused')} button:nth-of-type(1)")
    await state(browser, "paused", "done")
    assert await site.bucket.object("paused").read() == content
    assert [info.key async for info in site.bucket.list()] == ["paused"]
    assert await site.bucket.uploads().collect() == []


async def test_an_upload_that_is_cancelled_while_it_begins(browser: Browser, site: Site, tmp_path: Path) -> None:
    (tmp_path / "late").write_bytes(bytes(12 * MIB))
    await browser.open(site.url)
    await browser.run(
        """
        const ask = window.fetch
        window.said = []
        new MutationObserver(() => said.push(document.getElementById("status").textContent))
            .observe(document.getElementById("status"), {childList: true})
        window.fetch = async (url, options) => {
            const reply = await ask(url, options)
            if (options?.method === "POST") await new Promise(go => window.go = go)
            if (options?.method === "DELETE") window.isAborted = true
            return reply
        }
        """
    )
    await choose(browser, tmp_path / "late")
    await browser.until("!!window.go")
    await browser.click(f"{row_of('late')} button:nth-of-type(2)")
    await browser.run("window.go()")
    await browser.until("window.isAborted")
    await browser.run("await (await fetch('/folders/')).json()")
    assert await browser.run("return window.said") == []
    assert await site.bucket.uploads().collect() == []


async def test_dropping_previewing_and_deleting_by_keyboard(browser: Browser, site: Site) -> None:
    await browser.open(site.url)
    await browser.run(
        """
        const transfer = new DataTransfer()
        transfer.items.add(new File([new Uint8Array(args[0])], "sky.png", {type: "image/png"}))
        for (const kind of ["dragenter", "dragover", "drop"])
            document.body.dispatchEvent(new DragEvent(kind, {dataTransfer: transfer, bubbles: true, cancelable: true}))
        """,
        list(picture(32, 16, (90, 150, 230))),
    )
    await state(browser, "sky.png", "done")
    row = "#list li[data-key='sky.png']"
    await browser.until("document.querySelector(args[0])", row)
    await browser.run("document.querySelector(args[0]).focus()", f"{row} .name")
    await browser.press("Enter")
    await browser.until(
        "document.getElementById('preview').open && document.querySelector('#preview img').naturalWidth === 32"
    )
    await browser.press("Escape")
    await browser.until("!document.getElementById('preview').open")
    for keys, is_there in ((("Enter",), True), (("Tab", "Enter"), False)):  # Keep has the focus, Delete is next
        await browser.run("document.querySelector(args[0]).focus()", f"{row} .danger")
        await browser.press("Enter")
        await browser.until("document.getElementById('confirm').open")
        await browser.press(*keys)
        await browser.until("!document.getElementById('confirm').open")
        if not is_there:
            await browser.until("!document.querySelector(args[0])", row)
        assert await site.bucket.object("sky.png").exists() is is_there


async def test_a_long_folder_page_by_page(browser: Browser, site: Site) -> None:
    await put_all(site.bucket, [f"many/{number:03}" for number in range(60)] + ["many/deep/x", "<b>&amp;.txt"])
    await browser.open(site.url)
    await browser.until("document.querySelectorAll('#list li').length === 2")
    assert await browser.run("return document.querySelector('#list b')") is None
    await browser.click("#list a.name[href='#many/']")
    await browser.until("document.querySelectorAll('#list li').length === 50")
    await browser.click("#more")
    await browser.until("document.querySelectorAll('#list li').length === 61")
    assert await browser.run("return document.getElementById('more').hidden")
    await browser.click("#list a[href='#many/deep/']")
    await browser.until("document.querySelector('[data-key=\"many/deep/x\"]')")
    await browser.click("#path a")
    await browser.until("document.querySelectorAll('#list li').length === 2")


async def test_a_page_of_another_origin_is_refused(browser: Browser, site: Site, tmp_path: Path) -> None:
    await site.bucket.set_cors(rules_for(site.bucket, "https://other.example"))
    (tmp_path / "refused").write_bytes(b"1")
    await browser.open(site.url)
    await choose(browser, tmp_path / "refused")
    await state(browser, "refused", "failed")
    assert "does not let this page in" in await browser.run(
        "return document.querySelector('#uploads .facts').textContent"
    )


async def test_an_upload_while_the_network_is_gone(browser: Browser, site: Site, tmp_path: Path) -> None:
    content = os.urandom(12 * MIB)
    (tmp_path / "late").write_bytes(content)
    await browser.looks(390, 844, "light")
    await browser.open(site.url)
    await browser.until("!document.getElementById('empty').hidden")
    await browser.slow_down(is_offline=True)
    await choose(browser, tmp_path / "late")
    await state(browser, "late", "failed")
    told, width, whole = await browser.run(
        """
        const [facts, progress] = [".facts", "progress"].map(one => document.querySelector(`#uploads ${one}`))
        return [facts.textContent, facts.offsetWidth, progress.offsetWidth]
        """
    )
    assert told == "Not stored: the web service cannot be reached"
    assert width == whole  # not squeezed into the column of the name
    await browser.slow_down()
    await browser.click("#uploads button:nth-of-type(1)")
    await state(browser, "late", "done")
    assert await site.bucket.object("late").read() == content
    await browser.devtools("Emulation.clearDeviceMetricsOverride")


async def test_how_it_looks(browser: Browser, site: Site, tmp_path: Path) -> None:
    """A narrow window shows no bar to scroll sideways. With SCREENSHOTS, the pictures of the docs are made anew."""
    for name, color in (("lake", (60, 120, 170)), ("meadow", (90, 150, 70)), ("sunset", (220, 110, 60))):
        await site.bucket.object(f"{name}.png").put(picture(160, 120, color), content_type="image/png")
    await put_all(site.bucket, ["2025/x", "2026/x"])
    await site.bucket.object("report.pdf").put(bytes(348_000))
    await site.bucket.object("notes from Tuesday.txt").put(b"a" * 2100)
    (tmp_path / "video.mkv").write_bytes(bytes(12 * MIB))
    for name, width, height, scheme in (("light", 1000, 640, "light"), ("phone", 390, 844, "dark")):
        await browser.looks(width, height, scheme)
        await browser.open(site.url)
        await browser.until("document.querySelectorAll('#list li').length === 7")
        await browser.slow_down(MIB)  # so that a busy machine has the time to pause it
        await choose(browser, tmp_path / "video.mkv")
        await browser.until("document.querySelector('#uploads progress').value > 3000000")
        await browser.click("#uploads button")
        await state(browser, "video.mkv", "paused")
        assert await browser.run("return document.documentElement.scrollWidth <= innerWidth")
        picture_of_page = await browser.screenshot()
        if os.environ.get("SCREENSHOTS"):
            (DOCS / f"web-{name}.png").write_bytes(picture_of_page)
        await browser.click("#uploads button:nth-of-type(2)")
        await browser.slow_down()
    await browser.devtools("Emulation.clearDeviceMetricsOverride")


@pytest.mark.skipif(not os.environ.get("UPPY"), reason=NO_UPPY)
async def test_uppy_uploads_through_the_signer(browser: Browser, web_bucket: dream.Bucket) -> None:
    """As npm has it, in each of its modes: a form, parts, and signRequest for both."""
    signer = UploadSigner(
        web_bucket,
        key=lambda asked: f"up/{asked.filename}",
        authorize=lambda _, key: key.startswith("up/"),
        sign_requests=True,
    )
    bundle = Path(os.environ["UPPY"]).read_bytes()

    async def script(_: Request) -> Response:
        return Response(bundle, media_type="text/javascript")

    async def page(_: Request) -> Response:
        return HTMLResponse("<!doctype html><title>Uppy</title>")

    app = Starlette(routes=[Route("/", page), Route("/uppy.js", script), Mount("/uppy", signer)])
    async with served(app) as url:
        await web_bucket.set_cors(signer.cors_rules([url]))
        await browser.open(url)
        for mode in ("companion", "sign"):
            told = await browser.run(
                """
                const {Uppy, AwsS3} = await import("/uppy.js"), [mode, odd] = args
                const signRequest = async request =>
                    (await fetch("/uppy/s3/sign", {method: "POST", body: JSON.stringify(request)})).json()
                const how = mode === "sign" ? {signRequest, generateObjectKey: file => `up/${mode}/${file.name}`} : {companionEndpoint: "/uppy"}
                const uppy = new Uppy().use(AwsS3, {...how, shouldUseMultipart: file => file.size > 6e6})
                for (const [name, size] of [["empty", 0], ["small", 1024], ["large", 12 * 1024 * 1024], [odd, 3]])
                    uppy.addFile({name: mode === "sign" ? name : `${mode}/${name}`, type: "text/plain", data: new Blob([new Uint8Array(size).fill(7)])})
                const {successful, failed} = await uppy.upload()
                return [successful.map(file => file.response.body.key), failed.map(file => file.error)]
                """,
                mode,
                ODD,
            )
            assert told == [[f"up/{mode}/{name}" for name in ("empty", "small", "large", ODD)], []]
            for name, size in (("empty", 0), ("small", 1024), ("large", 12 * MIB), (ODD, 3)):
                obj = web_bucket.object(f"up/{mode}/{name}")
                assert await obj.read() == b"\7" * size
                assert (await obj.head()).content_type == "text/plain"
        told = await browser.run(
            """
            const {Uppy, AwsS3} = await import("/uppy.js")
            const uppy = new Uppy().use(AwsS3, {companionEndpoint: "/uppy", shouldUseMultipart: true})
            uppy.addFile({name: "cancelled", data: new Blob([new Uint8Array(12 * 1024 * 1024)])})
            uppy.on("s3-multipart:part-uploaded", () => uppy.cancelAll())
            await uppy.upload()
            return uppy.getFiles().length
            """
        )
        assert told == 0
        while await web_bucket.uploads().collect():
            await browser.run("return 1")
        assert not await web_bucket.object("up/cancelled").exists()
