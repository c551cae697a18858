"""What only a process shows: what it imports, pipes that close, signals, and a terminal."""

from __future__ import annotations

import contextlib
import os
import pty
import random
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cli.conftest import LIMIT_SECONDS, Place, files_below, write_files

import aiodreamobjects as dream
from aiodreamobjects.cli.options import ACLS, CHECKSUMS

HEAVY = {"aioboto3", "botocore", "aiobotocore", "rich", "click.testing", "uvloop"}
OF_THE_LIBRARY = re.compile(r"aiodreamobjects\.(?!cli\b)")
FOR_FILES = {"aiofiles", "pathlib", "tempfile"}
FOR_TASK_GROUPS = {"anyio._backends._asyncio", "typing_extensions"}
FOR_RETRIES = {"random"}
FOR_RARE_REPLIES = {"email", "html", "json"}
UNUSED = {*HEAVY, *FOR_FILES, *FOR_RARE_REPLIES, *FOR_TASK_GROUPS, *FOR_RETRIES}
OF_OTHER_VERBS = re.compile(
    r"aiodreamobjects\.(?:_acls|_apply|_bucket_settings|_bulk|_heads|_memory|_presign|_reports|_trace|_transfer|_tree|_versions"
    r"|_http\.tls|_listing\.(?:parallel|split|usage)|_remote\.(?:engine|host|journal)|_s3\.(?:boto_session|cold|record|settings))\b"
)
"""What ``Session``, and the listing of a bucket over http, must not import. A start takes as long as its imports."""
LISTING = """
import asyncio, sys
from aiodreamobjects import Session

async def main() -> None:
    async with Session() as session:
        print(len(await session.bucket(sys.argv[1]).list().collect()))

asyncio.run(main())
"""


def imported(cli: Place, *words: str, cwd: Path | None = None) -> set[str]:
    """Return the modules that a run of the command imports."""
    found = imported_by(cli, "-m", "aiodreamobjects", *words, cwd=cwd)
    assert "aiodreamobjects.cli.main" in found
    return found


def imported_by(cli: Place, *arguments: str, cwd: Path | None = None) -> set[str]:
    """Return the modules that a run of Python imports."""
    arguments = (sys.executable, "-X", "importtime", *arguments)
    done = subprocess.run(
        arguments, env=cli.environment, cwd=cwd, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr[-500:]
    return set(re.findall(r"\| +(\S+)$", done.stderr, re.MULTILINE))


def test_the_package_alone_imports_nothing_of_the_library(cli: Place) -> None:
    found = imported_by(cli, "-c", "import aiodreamobjects")
    assert "aiodreamobjects" in found
    assert not {name for name in found if OF_THE_LIBRARY.match(name)} | found & {"asyncio", "dataclasses", "logging"}


def test_one_listing_imports_nothing_that_only_other_verbs_need(cli: Place, name: str) -> None:
    found = imported_by(cli, "-c", LISTING, name)
    assert "aiodreamobjects._session" in found
    assert not {name for name in found if OF_OTHER_VERBS.match(name)} | found & {"click", *UNUSED}


def test_ls_imports_nothing_that_only_other_commands_need(cli: Place, name: str) -> None:
    found = imported(cli, "ls", f"s3://{name}")
    assert "aiodreamobjects._session" in found
    assert not {name for name in found if OF_OTHER_VERBS.match(name)} | found & UNUSED


@pytest.mark.parametrize("words", [("--help",), ("version",), ("cp", "--help"), ("completion", "zsh")])
def test_help_and_version_import_neither_the_library_nor_asyncio(cli: Place, words: tuple[str, ...]) -> None:
    found = imported(cli, *words)
    assert not {name for name in found if OF_THE_LIBRARY.match(name)} | found & {"asyncio", "ssl", "logging", *HEAVY}


def test_a_command_with_keys_in_the_environment_imports_no_botocore_and_no_rich(cli: Place, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    lines = "mb s3://imports-little\nls\ncp a s3://imports-little/\nls s3://imports-little\nrb --force --yes s3://imports-little\n"
    (tmp_path / "lines").write_text(lines)
    found = imported(cli, "run", "lines", "-j", "1", cwd=tmp_path)
    assert "aiodreamobjects._public" in found
    assert not found & HEAVY


def test_choices_are_those_of_the_library() -> None:
    assert set(ACLS) < set(dream.CannedAcl.__args__)  # type: ignore[attr-defined]  # a Literal has them
    assert set(CHECKSUMS) == set(dream.Checksum.__args__)  # type: ignore[attr-defined]


def test_a_closed_pipe_ends_quietly(cli: Place, name: str) -> None:
    cli.boto.put_object(Bucket=name, Key="big", Body=b"x" * 20_000_000)
    with cli.start("cat", f"s3://{name}/big") as process:
        assert process.stdout is not None
        assert process.stdout.read(10) == b"x" * 10
        process.stdout.close()
        assert process.stderr is not None
        assert (process.wait(LIMIT_SECONDS), process.stderr.read()) == (141, b"")
    reading, writing = os.pipe()
    os.close(reading)
    with cli.start("ls", f"s3://{name}", stdout=writing) as process:
        os.close(writing)
        assert process.stderr is not None
        assert (process.wait(LIMIT_SECONDS), process.stderr.read()) == (141, b"")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_no_upload_and_no_file(
    cli: Place, name: str, number: signal.Signals, status: int, tmp_path: Path
) -> None:
    cli.boto.put_object(Bucket=name, Key="big", Body=b"x" * 20_000_000)
    upload = cli.start("put", f"s3://{name}/new", stdin=subprocess.PIPE)
    download = cli.start("cp", f"s3://{name}/big", "big", "--bwlimit", "1M", cwd=tmp_path)
    try:
        assert upload.stdin is not None
        upload.stdin.write(b"x" * 20_000_000)
        upload.stdin.flush()
        while not cli.boto.list_multipart_uploads(Bucket=name).get("Uploads"):
            assert upload.poll() is None
        while not any(tmp_path.iterdir()):
            assert download.poll() is None
        for process in (upload, download):
            process.send_signal(number)
            assert process.wait(LIMIT_SECONDS) == status
            assert process.stderr is not None
            assert b"Traceback" not in process.stderr.read()
    finally:
        for process in (upload, download):
            process.kill()
            process.communicate()
    assert "Uploads" not in cli.boto.list_multipart_uploads(Bucket=name)
    assert files_below(tmp_path) == {}
    assert set(cli.objects(name)) == {"big"}


KINDS = (
    ("cp", "-r", "up", "s3://{b}/new"),
    ("cp", "-r", "s3://{b}/old", "down"),
    ("cp", "s3://{b}/old/*", "down/"),
    ("mv", "-r", "s3://{b}/new", "s3://{b}/moved"),
)


def test_a_signal_at_any_moment_leaves_no_upload_and_no_temporary_file(on_ceph: Place, tmp_path: Path) -> None:
    bucket, source = on_ceph.make_bucket(), random.Random()
    files = {**{f"{number:02}": "small" for number in range(20)}, "large": "x" * 20_000_000}
    write_files(tmp_path / "up", files)
    for name, content in files.items():
        on_ceph.boto.put_object(Bucket=bucket, Key=f"old/{name}", Body=content.encode())
    for number in range(int((os.environ.get("SOAK") and 100) or 4)):
        words = [word.format(b=bucket) for word in KINDS[number % len(KINDS)]]
        on_ceph.boto.put_object(Bucket=bucket, Key="new/00", Body=b"small")  # something to move, in any case
        with on_ceph.start(*words, "--bwlimit", "20M", cwd=tmp_path) as process:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(source.uniform(0.3, 2.5))  # the moment, not what the test waits for
            process.send_signal(signal.SIGINT)
            assert process.stderr is not None
            status, said = process.wait(LIMIT_SECONDS), process.stderr.read()
            if status == -signal.SIGINT:  # on a busy machine Python itself was still starting
                assert b"run_forever" not in said
            else:
                assert status in (0, 130), said
                assert b"Traceback" not in said
        assert "Uploads" not in on_ceph.boto.list_multipart_uploads(Bucket=bucket)
        for place in (tmp_path / "up", tmp_path / "down"):
            assert files_below(place).items() <= files.items(), "whole files, under their own names"
        assert all(content == files[key.rpartition("/")[2]] for key, content in on_ceph.objects(bucket).items())


def test_a_full_disk_is_one_line_with_the_name(cli: Place, name: str, tmp_path: Path) -> None:
    cli.boto.put_object(Bucket=name, Key="d/big", Body=b"x" * 3_000_000)
    with Path("/dev/full").open("wb") as full:
        process = cli.start("cat", f"s3://{name}/d/big", stdout=full)
        assert process.communicate()[1] == b"dreamobjects: No space left on device; make room, and run this again\n"
        assert process.returncode == 1

    def allow_little() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # EFBIG instead

    process = cli.start("cp", "-r", f"s3://{name}", "new", cwd=tmp_path, preexec_fn=allow_little)
    said = process.communicate()[1].decode()
    assert (process.returncode, files_below(tmp_path)) == (1, {})
    assert said == f"dreamobjects: s3://{name}/d/big: new/d/big: File too large\n"


class Terminal:
    """A terminal for one run of the command."""

    def __init__(self, cli: Place, *words: str, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> None:
        self._main, other = pty.openpty()
        environment = {"TERM": "xterm", **(env or {})}
        self.process = cli.start(*words, cwd=cwd, env=environment, stdin=other, stdout=other, stderr=other)
        os.close(other)
        self.text = ""

    def read_until(self, end: str) -> None:
        while end not in self.text:
            self.text += os.read(self._main, 65536).decode()

    def type(self, text: str) -> None:
        os.write(self._main, text.encode())

    def end(self) -> int:
        try:
            while chunk := os.read(self._main, 65536):
                self.text += chunk.decode(errors="replace")
        except OSError:  # EIO: the other side is closed
            pass
        os.close(self._main)
        return self.process.wait(LIMIT_SECONDS)


@pytest.mark.parametrize(("answer", "status", "left"), [("y", 0, {}), ("n", 2, {"a": "1"})])
def test_a_terminal_is_asked_before_everything_is_deleted(
    cli: Place, name: str, answer: str, status: int, left: Any
) -> None:
    cli.put(name, {"a": "1"})
    terminal = Terminal(cli, "rm", "-r", f"s3://{name}")
    terminal.read_until("[y/N] ")
    assert cli.objects(name) == {"a": "1"}
    terminal.type(f"{answer}\n")
    assert (terminal.end(), cli.objects(name)) == (status, left)


def test_a_terminal_sees_progress_and_no_control_characters(cli: Place, name: str, tmp_path: Path) -> None:
    cli.boto.put_object(Bucket=name, Key="a\x1b[31m\nb", Body=b"x" * 3_000_000)
    terminal = Terminal(cli, "ls", f"s3://{name}")
    assert terminal.end() == 0
    assert "a\\x1b[31m\\nb" in terminal.text
    cli.put(name, {"small": "1"})
    terminal = Terminal(cli, "cp", "-r", f"s3://{name}", "new", "--bwlimit", "1M", cwd=tmp_path)
    assert terminal.end() == 0
    assert "/2 objects" in terminal.text
    assert terminal.text.count("a\\x1b[31m\\nb") > 2, "the line of the slowest, and the one that says it is done"
    assert re.search(r"cp: 2 done, 2\.9MiB in \d+\.\d s, \d+\.\dK?M?iB/s\r\n$", terminal.text)


def test_progress_of_objects_that_move_one_by_one_is_drawn_once(cli: Place, name: str, tmp_path: Path) -> None:
    for key in "abc":
        cli.boto.put_object(Bucket=name, Key=f"{key}.bin", Body=b"x" * 1_000_000)
    terminal = Terminal(cli, "cp", f"s3://{name}/*.bin", "new/", "--bwlimit", "1M", cwd=tmp_path)
    assert terminal.end() == 0
    assert "objects" in terminal.text
    assert "cp: 3 done, 2.9MiB in " in terminal.text
    quiet = cli("cp", "-r", f"s3://{name}", "again", cwd=tmp_path)
    assert (quiet.status, quiet.err, len(quiet.lines)) == (0, "", 3), "no terminal, no progress, no sum"


def test_a_shell_completes_buckets_keys_and_files(cli: Place, name: str) -> None:
    cli.put(name, {"dir/a": "1", "dirt": "2", "other": "3"})

    def completed(shell: str, line: str, endpoint: str | None = None) -> list[str]:
        words = {
            "COMP_WORDS": line,
            "COMP_CWORD": line.rpartition(" ")[2],
            "_DREAMOBJECTS_COMPLETE": f"{shell}_complete",
        }
        found = cli(env=words | ({} if endpoint is None else {"DREAMOBJECTS_ENDPOINT_URL": endpoint}))
        assert found.err == ""
        return found.lines

    assert completed("bash", f"dreamobjects cp s3://{name}/d") == [f"plain,//{name}/dir/", f"plain,//{name}/dirt"]
    assert f"plain,//{name}/" in completed("bash", f"dreamobjects ls -r s3://{name[:8]}")
    assert completed("bash", "dreamobjects cp s") == ["plain,s3://", "file,s"]
    assert f"plain,s3://{name}/other" in completed("fish", f"dreamobjects rm s3://{name}/o")
    assert completed("bash", "dreamobjects ls s3://x", "http://127.0.0.1:9") == [""]
    assert "compopt -o nospace" in cli("completion", "bash").out.decode()


def test_keys_are_written_to_a_profile_for_its_owner_only(cli: Place, tmp_path: Path) -> None:
    files = {
        "AWS_CONFIG_FILE": str(tmp_path / "aws/config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "aws/credentials"),
    }
    (tmp_path / "aws").mkdir()
    (tmp_path / "aws/config").write_text("# mine\n[profile old]\nregion = here\ns3 =\n  addressing_style = path\n")
    words = (
        "config",
        "set",
        "--profile",
        "work",
        "--access-key",
        cli.server.access_key,
        "--endpoint-url",
        cli.server.service.endpoint,
    )
    assert cli(*words, stdin=f"{cli.server.secret_key}\n".encode(), env=files).status == 0
    assert (tmp_path / "aws/credentials").stat().st_mode & 0o777 == 0o600
    assert (
        (tmp_path / "aws/config")
        .read_text()
        .startswith("# mine\n[profile old]\nregion = here\ns3 =\n  addressing_style = path\n")
    )
    alone = {**files, **{name: "" for name in cli.environment if name.startswith("DREAMOBJECTS_")}}
    warns = {**alone, "PYTHONWARNINGS": "always::ResourceWarning"}
    listed = cli("run", "-", "--profile", "work", stdin=b"ls\n" * 8, env=warns)
    assert (listed.status, listed.err) == (0, ""), "one session for all lines, and it is closed"
    shown = cli("config", "show", "--profile", "work", env=alone).out.decode()
    assert cli.server.secret_key not in shown
    assert str(tmp_path / "aws/credentials") in shown


def test_a_terminal_is_asked_for_a_profile(cli: Place, tmp_path: Path) -> None:
    files = {"AWS_CONFIG_FILE": str(tmp_path / "config"), "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials")}
    terminal = Terminal(cli, "config", env=files)
    answers = (
        "work",
        cli.server.service.endpoint,
        cli.server.service.region,
        cli.server.access_key,
        cli.server.secret_key,
    )
    for question, answer in zip(("Profile", "Endpoint", "Region", "Access key", "Secret key"), answers, strict=True):
        terminal.read_until(question)
        terminal.type(f"{answer}\n")
    assert terminal.end() == 0
    assert cli.server.secret_key not in terminal.text
    alone = {**files, **{name: "" for name in cli.environment if name.startswith("DREAMOBJECTS_")}}
    assert cli("ls", "--profile", "work", env=alone).status == 0


def test_a_report_has_versions_and_no_secrets(cli: Place, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("[default]\nendpoint_url = https://me:p4ssword@host.example/path\n")
    settings = {
        "AWS_CONFIG_FILE": str(config),
        "https_proxy": "http://me:p4ssword@proxy.example",
        "DREAMOBJECTS_ENDPOINT_URL": "",
    }
    for env, endpoint in (({}, "127.0.0.1: DREAMOBJECTS_ENDPOINT_URL"), (settings, "host.example: a file")):
        result = cli("version", "--report", env=env)
        assert (result.status, result.err) == (0, "")
        assert result.lines[0] == f"dreamobjects {dream.__version__}"
        assert f"endpoint {endpoint}" in result.lines
        assert "secret key: DREAMOBJECTS_SECRET_ACCESS_KEY" in result.lines
        assert re.search(r"^aioboto3 \d", result.out.decode(), re.MULTILINE)
        for secret in (cli.server.access_key, cli.server.secret_key, "p4ssword", "proxy.example", str(tmp_path)):
            assert secret not in result.out.decode()


def test_serve_is_a_service_until_it_is_stopped(cli: Place, tmp_path: Path) -> None:
    with cli.start("serve", "--data", str(tmp_path / "data")) as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, b"ready\n")
        variables = dict(line.decode().strip().split("=", 1) for line in lines)
        alone = {**variables, **{name: "" for name in cli.environment if name.startswith("DREAMOBJECTS_")}}
        assert cli("mb", "s3://kept", env=alone).status == 0
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT_SECONDS) == 0
