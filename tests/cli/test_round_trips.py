"""What this command stores, s5cmd and rclone list with the same sizes and MD5s, and the reverse."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from cli.conftest import LIMIT_SECONDS, Place, files_below, write_files

FILES = {"a.txt": "1", "ünï/中文 %41+&.txt": "22", "deep/er/b": "333", "empty": "", "large": "0123456789" * 2_000_000}


def other_client(place: Place, *words: str, cwd: Path) -> str:
    settings = {
        "AWS_ACCESS_KEY_ID": place.server.access_key,
        "AWS_SECRET_ACCESS_KEY": place.server.secret_key,
        "AWS_REGION": place.server.service.region,
        "S3_ENDPOINT_URL": place.server.service.endpoint,
        "RCLONE_CONFIG_IT_TYPE": "s3",
        "RCLONE_CONFIG_IT_PROVIDER": "Ceph",
        "RCLONE_CONFIG_IT_ENV_AUTH": "true",
        "RCLONE_CONFIG_IT_ENDPOINT": place.server.service.endpoint,
        "HOME": str(cwd),
        "PATH": os.environ["PATH"],
    }
    done = subprocess.run(
        words, cwd=cwd, env=settings, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def md5s(files: Mapping[str, str]) -> dict[str, str]:
    return {name: hashlib.md5(content.encode(), usedforsecurity=False).hexdigest() for name, content in files.items()}


def test_others_read_what_the_command_stores(on_ceph: Place, tmp_path: Path) -> None:
    bucket = on_ceph.make_bucket()
    write_files(tmp_path / "mine", FILES)
    assert on_ceph("cp", "-r", "mine", f"s3://{bucket}/p", cwd=tmp_path).status == 0
    listed = json.loads(
        other_client(on_ceph, "rclone", "lsjson", "-R", "--files-only", "--hash", f"it:{bucket}/p", cwd=tmp_path)
    )
    assert {one["Path"]: one["Size"] for one in listed} == {
        name: len(content.encode()) for name, content in FILES.items()
    }
    other_client(on_ceph, "s5cmd", "cp", f"s3://{bucket}/p/*", "by-s5cmd/", cwd=tmp_path)
    other_client(on_ceph, "rclone", "copy", f"it:{bucket}/p", "by-rclone", cwd=tmp_path)
    assert md5s(files_below(tmp_path / "by-s5cmd")) == md5s(FILES) == md5s(files_below(tmp_path / "by-rclone"))


def test_the_command_reads_what_others_store(on_ceph: Place, tmp_path: Path) -> None:
    bucket = on_ceph.make_bucket()
    write_files(tmp_path / "theirs", FILES)
    other_client(on_ceph, "s5cmd", "cp", "theirs/", f"s3://{bucket}/s5cmd/", cwd=tmp_path)
    other_client(on_ceph, "rclone", "copy", "theirs", f"it:{bucket}/rclone", cwd=tmp_path)
    lines = (
        f"check theirs s3://{bucket}/rclone\ncheck theirs s3://{bucket}/s5cmd --by content\ncp -r s3://{bucket} back\n"
    )
    assert on_ceph("run", "-", stdin=lines.encode(), cwd=tmp_path).status == 0
    assert md5s(files_below(tmp_path / "back/rclone")) == md5s(FILES) == md5s(files_below(tmp_path / "back/s5cmd"))
