"""Write down what a transfer needs to resume after a crash.

Another user may have planted a journal. So a journal counts only if it is a regular file, owned by this user, without a
second name. Every field is checked and bounded: a planted journal must not make a transfer use much more memory or many
more requests than a new one.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import re
import secrets
import stat
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self, TypeVar, get_type_hints

from aiodreamobjects._concurrency import close_in_thread, compute_in_thread, finish, in_thread
from aiodreamobjects._system import NON_BLOCKING, is_mine, lock, open_no_link, read_at

T = TypeVar("T", "UploadRecord", "DownloadRecord")

FORMAT = 1
MOST_RECORD_BYTES = 64 << 10
"""A record is always smaller. A key has up to 1,024 bytes, and JSON writes each with at most six characters."""
MOST_VALUE_CHARACTERS = 4096
"""An ETag or an upload id must be shorter, because it goes into a request."""
MOST_RANGES = 1 << 20
"""A journal has at most this many ranges. 5 TiB in ranges of 8 MiB are 655,360."""
LEAST_PART_SIZE, LEAST_SHARE = 64 << 10, 32
"""The smallest range of an earlier process: this size, or this session's part size divided by the second number."""
_LINE = re.compile(rb"^(([1-9][0-9]{0,6}) ([0-9a-f]{8})) ([0-9a-f]{8})$", re.MULTILINE)
_MOST_LINE_BYTES = 26
_MOST_LINES_PER_RANGE = 4
"""A range gets another line when its bytes on disk were wrong and it was downloaded again."""

_log = logging.getLogger("aiodreamobjects")


@dataclass(frozen=True, slots=True)
class UploadRecord:
    """An unfinished multipart upload of a file. The service knows which parts it has."""

    endpoint: str
    bucket: str
    key: str
    size: int
    mtime_ns: int
    attributes: str
    """A digest of the headers that the object will have."""
    part_size: int
    upload_id: str = ""
    is_completing: bool = False
    """Whether the completion was sent. Then the upload must not be aborted."""


@dataclass(frozen=True, slots=True)
class DownloadRecord:
    """An unfinished download of one state of an object."""

    endpoint: str
    bucket: str
    key: str
    etag: str
    size: int
    part_size: int

    @property
    def count(self) -> int:
        """Return how many ranges the object has."""
        return -(-self.size // self.part_size)

    def fits(self, part_size: int, memory: int) -> bool:
        """Return whether a session with these limits can use these ranges: not too many, and not too large."""
        least = min(LEAST_PART_SIZE, part_size // LEAST_SHARE)
        return self.part_size == part_size or least <= self.part_size <= max(part_size, memory)


class UploadJournal:
    """A small file per pair of local file and object, under ``$XDG_STATE_HOME/aiodreamobjects/uploads``."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    async def of(cls, source: str, *names: str) -> Self:
        """Return the journal of this pair. Runs in a thread: finding the file's real path reads the disk."""
        return cls(await in_thread(_path_of, source, *names))

    async def read(self) -> UploadRecord | None:
        return await in_thread(self._read)

    async def write(self, record: UploadRecord) -> None:
        await finish(in_thread(self._write, record))

    async def remove(self) -> None:
        await finish(in_thread(lambda: self._path.unlink(missing_ok=True)))

    def _read(self) -> UploadRecord | None:
        try:
            record = _parse(UploadRecord, _read_own(self._path))
            _check_value("upload ID", record.upload_id)
        except FileNotFoundError:
            return None
        except ValueError as error:
            _log.warning("%s is not a usable journal, so the upload starts again: %s", self._path, error)
            return None
        return record

    def _write(self, record: UploadRecord) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = self._path.with_suffix(f".{secrets.token_hex(4)}")
        try:
            descriptor = open_no_link(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(_serialise(record))
                file.flush()
                os.fsync(descriptor)
            temporary.replace(self._path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


class DownloadJournal:
    """The ranges that a partial file has. The first line describes the object, each other line a range with its CRC-32.

    The file is locked while it is open. ``open`` raises BlockingIOError if another process downloads the same object to
    the same place. A range counts only if the bytes in the partial file have its CRC. So the order in which journal and
    bytes reach the disk does not matter.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path, self._descriptor = path, descriptor
        self.record: DownloadRecord | None = None
        self.held: dict[int, int] = {}
        """The CRCs of the written ranges, by range number, counted from 1."""

    @classmethod
    async def open(cls, path: Path) -> Self:
        opened: list[Self] = []
        try:
            await finish(in_thread(lambda: opened.append(cls._open(path))))
        except BaseException:
            for journal in opened:
                await journal.close(remove=journal.record is None)
            raise
        return opened[0]

    async def start(self, record: DownloadRecord) -> None:
        """Start an empty journal for this download."""
        self.record, self.held = record, {}
        await finish(in_thread(self._start, record))

    async def add(self, number: int, data: memoryview) -> None:
        """Record that this range was written."""
        await finish(in_thread(self._add, number, data))

    async def matches(self, number: int, data: memoryview) -> bool:
        """Return whether these bytes have the CRC of that range."""
        return await compute_in_thread(zlib.crc32, data) == self.held[number]

    async def close(self, *, remove: bool) -> None:
        await close_in_thread(self._close, remove)

    @classmethod
    def _open(cls, path: Path) -> Self:
        while True:
            descriptor = open_no_link(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | NON_BLOCKING, 0o600)
            try:
                require_regular(descriptor, path)
                _lock(descriptor, path)
                if not _is_file(descriptor, path):
                    pass  # its last owner removed it after we opened it, so the lock protects nothing: open it again
                elif not is_own(descriptor):
                    _log.warning("%s has a second name or belongs to another user; a new journal replaces it", path)
                    path.unlink()
                else:
                    self = cls(path, descriptor)
                    self._read()
                    return self
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)

    def _read(self) -> None:
        first, _, _ = read_at(self._descriptor, MOST_RECORD_BYTES, 0).partition(b"\n")
        if not first and not os.fstat(self._descriptor).st_size:
            return
        try:
            record = _parse(DownloadRecord, first)
            _check_ranges(record)
            content = self._content(len(first) + record.count * _MOST_LINE_BYTES * _MOST_LINES_PER_RANGE)
        except ValueError as error:
            _log.warning("%s is not a usable journal, so the download starts again: %s", self._path, error)
            return
        self.record = record
        for line in _LINE.finditer(content, len(first)):
            number = int(line[2])
            if number <= record.count and _check_sum(line[1]) == line[4]:
                self.held[number] = int(line[3], 16)

    def _content(self, most: int) -> bytes:
        """Return the whole content. Raise ValueError if it has more than ``most`` bytes."""
        content = b""
        while chunk := read_at(self._descriptor, most + 1 - len(content), len(content)):
            content += chunk
        if len(content) > most:
            msg = f"it has more than {most:,} bytes, too many for a journal of this download"
            raise ValueError(msg)
        return content

    def _start(self, record: DownloadRecord) -> None:
        os.ftruncate(self._descriptor, 0)
        os.write(self._descriptor, _serialise(record) + b"\n")

    def _add(self, number: int, data: memoryview) -> None:
        crc = zlib.crc32(data)
        fields = f"{number}".encode(), f"{crc:08x}".encode()
        os.write(self._descriptor, b"%s %s %s\n" % (*fields, _check_sum(*fields)))
        self.held[number] = crc

    def _close(self, remove: bool) -> None:  # noqa: FBT001 - private
        try:
            if remove:
                self._path.unlink(missing_ok=True)
                remove = False
        except PermissionError:  # Windows removes no open file
            pass
        finally:
            os.close(self._descriptor)
        if remove:
            self._path.unlink(missing_ok=True)


def _lock(descriptor: int, path: Path) -> None:
    try:
        lock(descriptor)
    except BlockingIOError:
        msg = "another process is downloading the same object to the same place; wait for it"
        raise BlockingIOError(errno.EAGAIN, msg, str(path)) from None


def _is_file(descriptor: int, path: Path) -> bool:
    """Return whether the path still names this open file."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


def require_regular(descriptor: int, path: str | Path) -> None:
    """Raise FileExistsError for a FIFO, a device or a directory. Such a file is not ours to use or to remove."""
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise FileExistsError(errno.EEXIST, "not a regular file", str(path))


def is_own(descriptor: int) -> bool:
    """Return whether this file is ours alone. With a second name, it may be a hard link to any file of this user."""
    found = os.fstat(descriptor)
    return found.st_nlink == 1 and is_mine(found)


def _read_own(path: Path) -> bytes:
    """Read a file of our own. Raise ValueError for any other file, or one that is too long."""
    try:
        descriptor = open_no_link(path, os.O_RDONLY | NON_BLOCKING)  # opening a FIFO must not block
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        msg = "it is a symbolic link"
        raise ValueError(msg) from error
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            msg = "it is not a regular file"
            raise ValueError(msg)
        if not is_own(descriptor):
            msg = "it has a second name or belongs to another user"
            raise ValueError(msg)
        content = file.read(MOST_RECORD_BYTES + 1)
    if len(content) > MOST_RECORD_BYTES:
        msg = f"it has more than {MOST_RECORD_BYTES:,} bytes"
        raise ValueError(msg)
    return content


def _check_ranges(record: DownloadRecord) -> None:
    _check_value("ETag", record.etag)
    if record.size < 0 or record.part_size < 1 or record.count > MOST_RANGES:
        msg = "its sizes are impossible for a download"
        raise ValueError(msg)


def _check_value(name: str, value: str) -> None:
    """Raise ValueError if a request cannot carry this value."""
    if not 0 < len(value) <= MOST_VALUE_CHARACTERS or not (value.isascii() and value.isprintable()):
        msg = f"its {name} is not a valid one"
        raise ValueError(msg)


def _path_of(source: str, *names: str) -> Path:
    pair = "\0".join((os.path.realpath(source), *names))
    digest = hashlib.sha256(pair.encode("utf-8", "surrogatepass")).hexdigest()
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(state).expanduser() / "aiodreamobjects" / "uploads" / f"{digest[:32]}.json"


def digest_of(values: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()[:32]


def _check_sum(*fields: bytes) -> bytes:
    return b"%08x" % zlib.crc32(b" ".join(fields))


def _serialise(record: UploadRecord | DownloadRecord) -> bytes:
    document = json.dumps({"format": FORMAT, **asdict(record)}).encode()
    return document[:-1] + b', "check": "%s"}' % _check_sum(document)


def _parse(kind: type[T], line: bytes) -> T:
    """Return the record on this line. Raise ValueError if it is damaged, or not of this kind and format."""
    document, separator, _ = line.rpartition(b', "check": ')
    document += b"}"
    if not separator or line != document[:-1] + b', "check": "%s"}' % _check_sum(document):
        msg = "it is damaged"
        raise ValueError(msg)
    try:
        found = json.loads(document)
    except RecursionError:
        found = None  # a record is never nested this deep
    types = get_type_hints(kind)
    if not isinstance(found, dict) or found.pop("format", None) != FORMAT or found.keys() != types.keys():
        msg = "it has another format"
        raise ValueError(msg)
    if not all(type(found[name]) is wanted for name, wanted in types.items()):
        msg = "it has values of wrong types"
        raise ValueError(msg)
    return kind(**found)
