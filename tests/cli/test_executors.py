"""``--processes`` does in other processes what the command does in its own."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from cli.conftest import Place, files_below, write_files

FILES = {f"{number % 3}/{number:02}": "x" * number for number in range(40)}


def test_processes_do_the_work(cli: Place, tmp_path: Path) -> None:
    bucket = cli.make_bucket()
    write_files(tmp_path / "mine", FILES)
    two = ("--processes", "2")
    assert cli("cp", "-r", *two, "mine", f"s3://{bucket}/p", cwd=tmp_path).status == 0
    assert cli("check", *two, "mine", f"s3://{bucket}/p", cwd=tmp_path).status == 0
    assert cli("sync", *two, f"s3://{bucket}/p", "back", cwd=tmp_path).status == 0
    assert files_below(tmp_path / "back") == FILES
    assert cli("rm", "-r", *two, f"s3://{bucket}/p/", cwd=tmp_path).status == 0
    assert cli("ls", f"s3://{bucket}", cwd=tmp_path).out == b""


def test_both_kinds_at_once_are_refused(cli: Place, tmp_path: Path) -> None:
    write_files(tmp_path / "mine", {"a": "a"})
    done = cli("cp", "-r", "--processes", "2", "--dask", "tcp://127.0.0.1:1", "mine", "s3://photos/p", cwd=tmp_path)
    assert done.status == 2
    assert "exclude each other" in done.err


def test_the_processes_of_a_command_that_is_killed_end_too(cli: Place, tmp_path: Path) -> None:
    bucket = cli.make_bucket()
    write_files(tmp_path / "mine", {"large": "x" * 20_000_000})
    words = ("cp", "-r", "--processes", "2", "--bwlimit", "200K", "mine", f"s3://{bucket}/p")
    with cli.start(*words, cwd=tmp_path) as process:
        while not cli.boto.list_multipart_uploads(Bucket=bucket).get("Uploads"):
            assert process.poll() is None
        process.kill()
        assert process.stdout
        process.stdout.read()  # the end comes when no process has it open any more
    assert "Uploads" not in cli.boto.list_multipart_uploads(Bucket=bucket)
    assert len(files_below(tmp_path / "mine")) == 2  # the other tells workers that they see the same directory
    assert cli("cp", "-r", "--processes", "1", "mine", f"s3://{bucket}/p", cwd=tmp_path).status == 0
    assert [*files_below(tmp_path / "mine")] == ["large"]
    assert [one["Key"] for one in cli.boto.list_objects_v2(Bucket=bucket)["Contents"]] == ["p/large"]


@pytest.mark.skipif("SOAK" not in os.environ, reason="a batch that runs is waited for, for 20 seconds")
@pytest.mark.timeout(180)
def test_an_interrupted_command_does_not_wait_for_a_large_file(cli: Place, tmp_path: Path) -> None:
    bucket = cli.make_bucket()
    write_files(tmp_path / "mine", {"large": "x" * 60_000_000})
    words = ("cp", "-r", "--processes", "1", "--bwlimit", "200K", "mine", f"s3://{bucket}/p")
    with cli.start(*words, cwd=tmp_path) as process:
        while not cli.boto.list_multipart_uploads(Bucket=bucket).get("Uploads"):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        try:
            assert process.wait(90) == 130
        finally:
            process.kill()
    assert "Uploads" not in cli.boto.list_multipart_uploads(Bucket=bucket)
