"""What this command stores, s5cmd, rclone and s3cmd list with the same sizes and MD5s, and the reverse. Names of every kind."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shlex
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


def s3cmd(place: Place, *words: str, cwd: Path) -> str:
    host = place.server.service.endpoint.removeprefix("http://")
    (cwd / "s3cfg").write_text("[default]\n")  # else it asks for one
    where = ["--no-ssl", f"--host={host}", f"--host-bucket={host}", "--config=s3cfg"]
    keys = [f"--access_key={place.server.access_key}", f"--secret_key={place.server.secret_key}"]
    return other_client(place, "s3cmd", *where, *keys, "--no-progress", *words, cwd=cwd)


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


def test_s3cmd_lists_and_reads_what_the_command_stores_and_the_reverse(on_ceph: Place, tmp_path: Path) -> None:
    bucket = on_ceph.make_bucket()
    files = {name: content for name, content in FILES.items() if name != "large"}  # of parts, s3cmd knows no MD5
    write_files(tmp_path / "mine", files)
    assert on_ceph("cp", "-r", "mine", f"s3://{bucket}/p", cwd=tmp_path).status == 0
    listed = s3cmd(on_ceph, "ls", "-r", "--list-md5", f"s3://{bucket}/p/", cwd=tmp_path).splitlines()
    seen = {line.split(f"s3://{bucket}/p/", 1)[1]: line.split()[2:4] for line in listed}
    assert seen == {name: [str(len(content.encode())), md5s(files)[name]] for name, content in files.items()}
    (tmp_path / "by-s3cmd").mkdir()
    s3cmd(on_ceph, "get", "-r", f"s3://{bucket}/p/", "by-s3cmd/", cwd=tmp_path)
    assert md5s(files_below(tmp_path / "by-s3cmd")) == md5s(files)
    s3cmd(on_ceph, "put", "-r", "mine/", f"s3://{bucket}/s3cmd/", cwd=tmp_path)
    assert on_ceph("check", "mine", f"s3://{bucket}/s3cmd", cwd=tmp_path).status == 0
    same = on_ceph("sync", "mine", f"s3://{bucket}/s3cmd", "--json", cwd=tmp_path).records[-1]
    assert (same["done"], same["same"]) == (0, len(files)), "the times that s3cmd stores are read"


PIECES = ("a", "Z", "-", "--", ".", "..", "...", " ", "  ", "%", "%41", "%2F", "+", "&", "=", "?", "*", "[", "]", "[a]", "#", "ü", "u\u0308", "中", "🙂", "\n", "\t", "\x7f", "'", '"', "\\", "~", "$x", "{b}", "\u2028", "s3:")  # fmt: skip


def made_names(count: int, *, seed: int) -> list[str]:
    """Return names of every kind. Each can be a file: no part is empty, ``.`` or ``..``, and none is in the way of another."""
    source, found = random.Random(seed), dict[str, None]()
    while len(found) < count:
        parts = ["".join(source.choices(PIECES, k=source.randint(1, 4))) for _ in range(source.randint(1, 3))]
        if all(part not in (".", "..") and "/" not in part for part in parts):
            found["/".join([*(f"{part}d" for part in parts[:-1]), f"{parts[-1]}f"])] = None
    return list(found)


def test_generated_names_go_up_come_down_are_listed_and_removed(on_ceph: Place, tmp_path: Path) -> None:
    place = on_ceph
    bucket, names = place.make_bucket(), made_names(150, seed=random.randrange(1 << 30))
    files = {name: str(number) for number, name in enumerate(names)}
    write_files(tmp_path / "up", files)
    assert place("cp", "-r", "up", f"s3://{bucket}", "-q", cwd=tmp_path).err == ""
    assert place.objects(bucket) == files
    listed = [one["key"] for one in place("ls", "-r", f"s3://{bucket}", "--json").records[:-1]]
    assert listed == sorted(names, key=lambda name: name.encode())
    assert place("cp", "-r", f"s3://{bucket}", "down", cwd=tmp_path).err == ""
    assert files_below(tmp_path / "down") == files
    one_by_one = [
        f"cp --raw {shlex.quote(f's3://{bucket}/{name}')} {shlex.quote(f'one/{name}')}"
        for name in names
        if "\n" not in name
    ]
    assert place("run", "-", stdin="\n".join(one_by_one).encode(), cwd=tmp_path).err == ""
    assert files_below(tmp_path / "one") == {name: content for name, content in files.items() if "\n" not in name}
    gone, rest = names[:75], names[75:]
    assert place("rm", "--raw", "-q", *(f"s3://{bucket}/{name}" for name in gone)).err == ""
    assert set(place.objects(bucket)) == set(rest)
    assert place("rm", "-r", "--yes", "-q", f"s3://{bucket}").err == ""
    assert place.objects(bucket) == {}
