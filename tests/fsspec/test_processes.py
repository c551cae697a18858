"""Forks, other processes, other event loops, and the end of the interpreter."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Server
from servers.served import ServedService

from aiodreamobjects.testing import MemoryService

FORKS, OPENS = (100, 1000) if os.environ.get("SOAK") else (5, 100)
LIMIT_SECONDS = 60 + 4 * FORKS
ROOT = Path(__file__).parents[2]
BEGIN = """
import asyncio, logging, multiprocessing, os, pickle, sys, threading, warnings
from aiodreamobjects.fsspec import DreamObjectsFileSystem
# A filesystem has a thread for its event loop. Since 3.12 Python warns before it forks a process with threads, whatever they do.
warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
logging.getLogger("asyncio").setLevel(logging.ERROR)  # of a busy machine, -X dev says that it is slow
OPTIONS = dict(endpoint=os.environ["ENDPOINT"], key=os.environ["KEY"], secret=os.environ["SECRET"])

def read(fs):
    return fs.cat_file("processes/a")

def use(fs):
    fs.makedirs("processes", exist_ok=True)
    fs.pipe_file("processes/a", b"hello")
    assert read(fs) == b"hello"
"""


Run = Callable[..., str]


@pytest.fixture
def run(memory_served: Server, tmp_path: Path) -> Run:
    """Return a function that runs a script in a process of its own, as developers do. Nothing may be on its stderr."""
    environment = {
        **os.environ,
        "ENDPOINT": memory_served.service.endpoint,
        "KEY": memory_served.access_key,
        "SECRET": memory_served.secret_key,
        "PYTHONPATH": str(ROOT),
    }

    def run(script: str, *arguments: str) -> str:
        path = tmp_path / "script.py"
        path.write_text(BEGIN + textwrap.dedent(script))
        command = [sys.executable, "-X", "dev", str(path), *arguments]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False
        )
        assert (done.stderr, done.returncode) == ("", 0)
        return done.stdout

    return run


def test_importing_it_imports_neither_the_rest_of_the_library_nor_boto(run: Run) -> None:
    script = """
    heavy = {"aiodreamobjects._public", "aioboto3", "botocore", "anyio", "httptools"}
    print(sorted(heavy & set(sys.modules)))
    """
    assert run(script) == "[]\n"


def test_what_was_not_stored_goes_away_in_silence(run: Run) -> None:
    script = """
    import gc
    fs = DreamObjectsFileSystem(**OPTIONS)
    use(fs)
    for size in (1, 1 << 20, 6 << 20):
        file = fs.open("processes/taken", "xb")
        file.write(bytes(size))
        fs.pipe_file("processes/taken", b"was quicker")
        try:
            file.close()
        except FileExistsError as error:
            kept = error.__traceback__
        del file
        del kept
        gc.collect()
        fs.rm("processes/taken")
    """
    assert run(script) == ""


def test_children_of_a_fork_read_and_write_one_after_another(run: Run) -> None:
    script = """
    fs = DreamObjectsFileSystem(**OPTIONS)
    use(fs)
    file = fs.open("processes/a", "rb")
    for n in range(int(sys.argv[1])):
        child = os.fork()
        if not child:
            assert file.read() == read(fs) == b"hello"
            fs.pipe_file(f"processes/of-child-{n}", b"x")
            sys.exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert read(fs) == b"hello"
    print(len(fs.find("processes", prefix="of-child-")))
    """
    assert run(script, str(FORKS)) == f"{FORKS}\n"


def test_a_fork_while_other_threads_use_the_filesystem(run: Run) -> None:
    script = """
    fs = DreamObjectsFileSystem(**OPTIONS)
    use(fs)
    is_over = threading.Event()
    def keep_reading():
        while not is_over.is_set():
            assert read(fs) == b"hello"
    threads = [threading.Thread(target=keep_reading) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(int(sys.argv[1])):
        child = os.fork()
        if not child:
            ok = read(fs) == b"hello" and read(DreamObjectsFileSystem(**OPTIONS)) == b"hello"
            os._exit(0 if ok else 1)
        assert os.waitpid(child, 0)[1] == 0
    is_over.set()
    for thread in threads:
        thread.join()
    """
    run(script, str(FORKS))


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_pool_of_processes_gets_the_filesystem_and_open_files(run: Run, method: str) -> None:
    script = """
    def work(fs, file):
        return read(fs), file.read()

    if __name__ == "__main__":
        fs = DreamObjectsFileSystem(**OPTIONS)
        use(fs)
        with fs.open("processes/a") as file, multiprocessing.get_context(sys.argv[1]).Pool(2) as pool:
            file.seek(2)
            assert pool.starmap(work, [(fs, file)] * 4) == [(b"hello", b"llo")] * 4
            pool.close()
            pool.join()
        assert read(fs) == b"hello"
    """
    run(script, method)


def test_nothing_is_said_at_the_end_without_a_close(run: Run) -> None:
    run(
        """
        fs = DreamObjectsFileSystem(**OPTIONS)
        use(fs)
        file = fs.open("processes/a")
        assert file.read(2) == b"he"
        thread = threading.Thread(target=read, args=(fs,))
        thread.start()
        thread.join()
        """,
    )


def test_memory_and_descriptors_do_not_grow_with_the_files_that_were_opened(run: Run) -> None:
    script = """
    import gc
    fs = DreamObjectsFileSystem(**OPTIONS)
    use(fs)

    def work(count):
        for n in range(count):
            with fs.open("processes/a") as file, fs.open(f"processes/w{n % 10}", "wb") as target:
                target.write(file.read())
            fs.open("processes/a").read(1)  # and is dropped
        gc.collect()
        with open("/proc/self/statm") as status:
            pages = int(status.read().split()[1])
        return pages >> 8, len(os.listdir("/proc/self/fd")), threading.active_count()

    work(50)
    before, after = work(50), work(int(sys.argv[1]))
    assert after[0] <= before[0] + 1 and after[1:] == before[1:], (before, after)
    """
    run(script, str(OPENS))


@pytest.mark.parametrize("policy", ["asyncio.DefaultEventLoopPolicy", "__import__('uvloop').EventLoopPolicy"])
def test_each_event_loop_has_a_session_that_ends_with_it(run: Run, policy: str) -> None:
    script = """
    asyncio.set_event_loop_policy(eval(sys.argv[1])())
    use(DreamObjectsFileSystem(**OPTIONS))
    fs = DreamObjectsFileSystem(**OPTIONS, asynchronous=True)
    other = DreamObjectsFileSystem(**OPTIONS, asynchronous=True, skip_instance_cache=True)
    seen = set()

    async def main():
        assert set(await asyncio.gather(*[fs._cat_file("processes/a") for _ in range(20)])) == {b"hello"}
        session = await fs.session()
        assert session is await other.session()
        seen.add(repr(id(asyncio.get_running_loop())))
        return session

    first, second = asyncio.run(main()), asyncio.run(main())
    assert first is not second
    assert "closed" in repr(first) and "closed" in repr(second)

    async def closing():
        session = await fs.session()
        await fs.aclose()
        assert "closed" in repr(session)
        assert await fs._cat_file("processes/a") == b"hello"
        assert await fs.session() is not session
        await fs.aclose()
        await fs.aclose()

    asyncio.run(closing())
    """
    run(script, policy)


@pytest.mark.parametrize("thread", ["main_thread", "current_thread"])  # the first waits, but may not get the signal
def test_an_interruption_ends_the_call_and_leaves_nothing(tmp_path: Path, thread: str) -> None:
    (tmp_path / "large").write_bytes(bytes(20 << 20))
    script = """
    import signal
    def interrupt():
        sys.stdin.read()
        signal.pthread_kill(getattr(threading, sys.argv[2])().ident, signal.SIGINT)
    threading.Thread(target=interrupt).start()
    fs = DreamObjectsFileSystem(**OPTIONS)
    fs.mkdir("processes")
    try:
        fs.put_file(sys.argv[1], "processes/interrupted")
    except KeyboardInterrupt:
        print("interrupted", fs.exists("processes/interrupted"))
    """
    with ServedService(MemoryService()) as running:
        found, service = running.served, running.service
        service.delay("put_part", 600, times=None)
        environment = {
            **os.environ,
            "ENDPOINT": found.endpoint,
            "KEY": found.access_key,
            "SECRET": found.secret_key,
            "PYTHONPATH": str(ROOT),
        }
        command = [sys.executable, "-X", "dev", "-c", BEGIN + textwrap.dedent(script), str(tmp_path / "large"), thread]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
            while not any(request.verb == "put_part" for request in service.requests):
                time.sleep(0.01)
            assert process.communicate(timeout=LIMIT_SECONDS) == ("interrupted False\n", "")
        assert [request.verb for request in service.requests].count("abort_upload") == 1


def test_the_sample_of_a_forked_pool_in_the_docs_works(run: Run) -> None:
    text = (ROOT / "docs" / "data.md").read_text()
    (sample,) = [block for block in re.findall(r"```py\n(.*?)```", text, re.DOTALL) if "get_context" in block]
    begin = """
    fs = DreamObjectsFileSystem(**OPTIONS)
    fs.mkdir("bucket")
    fs.pipe({"bucket/data/a": b"1", "bucket/data/b": b"22"})
    """
    assert run(textwrap.dedent(begin) + sample + "print(sizes)\n") == "[1, 2]\n"
