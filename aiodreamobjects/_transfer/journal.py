"""What a transfer needs to know after a crash. A journal is believed only as far as what it says can be checked.

Somebody else may have put it there. So it is used only if it is a regular file of ours that has no other name, and
nothing in it makes a transfer hold or ask for more than one that starts afresh, within a known factor.
"""

from __future__ import annotations

import errno
import fcntl
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

from aiodreamobjects._concurrency import close_in_thread, finish, in_thread

T = TypeVar("T", "UploadRecord", "DownloadRecord")

FORMAT = 1
MOST_RECORD_BYTES = 64 << 10
"""A record is smaller: a key has 1,024 bytes, which JSON writes with six characters each at most."""
MOST_WORD_CHARACTERS = 4096
"""An ETag or an upload's id is shorter, so that it fits into a request."""
MOST_RANGES = 1 << 20
"""So many ranges a journal notes at most; 5 TiB in ranges of 8 MiB are 655,360."""
LEAST_PART_SIZE, LEAST_SHARE = 64 << 10, 32
"""Ranges of an earlier process are no smaller than this, or than this session's, divided by the second number."""
_LINE = re.compile(rb"^(([1-9][0-9]{0,6}) ([0-9a-f]{8})) ([0-9a-f]{8})$", re.MULTILINE)
_MOST_LINE_BYTES = 26
_MOST_LINES_PER_RANGE = 4
"""A range is noted again when the bytes that an earlier process wrote were wrong."""

_log = logging.getLogger("aiodreamobjects")


@dataclass(frozen=True, slots=True)
class UploadRecord:
    """A multipart upload that was begun for a file. Which parts are there is asked of the service."""

    endpoint: str
    bucket: str
    key: str
    size: int
    mtime_ns: int
    attributes: str
    """A digest of the headers that the object is to have."""
    part_size: int
    upload_id: str = ""
    is_completing: bool = False
    """Whether its completion was sent: it must then not be aborted."""


@dataclass(frozen=True, slots=True)
class DownloadRecord:
    """A download that was begun, of one state of an object."""

    endpoint: str
    bucket: str
    key: str
    etag: str
    size: int
    part_size: int

    @property
    def count(self) -> int:
        """How many ranges there are."""
        return -(-self.size // self.part_size)

    def fits(self, part_size: int, memory: int) -> bool:
        """Whether a session with these limits can use such ranges: neither too many of them, nor too large ones."""
        least = min(LEAST_PART_SIZE, part_size // LEAST_SHARE)
        return self.part_size == part_size or least <= self.part_size <= max(part_size, memory)


class UploadJournal:
    """One small file for each pair of a file and an object, under ``$XDG_STATE_HOME/aiodreamobjects/uploads``."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    async def of(cls, source: str, *names: str) -> Self:
        """The one of this pair; finding the file's real name looks at the disk."""
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
            _check_word("upload ID", record.upload_id)
        except FileNotFoundError:
            return None
        except ValueError as error:
            _log.warning("%s is no journal, the upload starts afresh: %s", self._path, error)
            return None
        return record

    def _write(self, record: UploadRecord) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = self._path.with_suffix(f".{secrets.token_hex(4)}")
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(_serialise(record))
                file.flush()
                os.fsync(descriptor)
            temporary.replace(self._path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


class DownloadJournal:
    """Which ranges of a partial file are there: a line for the object, and one for each range with its CRC-32.

    Held locked while it is open: BlockingIOError where another process downloads the same to the same place. A range
    is believed only if the partial file's bytes have its CRC, so that nothing has to reach the disk in any order.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path, self._descriptor = path, descriptor
        self.record: DownloadRecord | None = None
        self.held: dict[int, int] = {}
        """By their numbers, from 1, the CRCs of the ranges that were written."""

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
        """Of another object, or anew: nothing is held."""
        self.record, self.held = record, {}
        await finish(in_thread(self._start, record))

    async def add(self, number: int, data: memoryview) -> None:
        """This range was written."""
        await finish(in_thread(self._add, number, data))

    async def matches(self, number: int, data: memoryview) -> bool:
        """Whether this is what was written as that range."""
        return await finish(in_thread(zlib.crc32, data)) == self.held[number]

    async def close(self, *, remove: bool) -> None:
        await close_in_thread(self._close, remove)

    @classmethod
    def _open(cls, path: Path) -> Self:
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
            try:
                require_regular(descriptor, path)
                _lock(descriptor, path)
                if not _is_file(descriptor, path):
                    pass  # whoever had it removed it when done: the lock was on nothing
                elif not is_own(descriptor):
                    _log.warning("%s is another file as well, or another user's: a new one takes its place", path)
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
        first, _, _ = os.pread(self._descriptor, MOST_RECORD_BYTES, 0).partition(b"\n")
        if not first and not os.fstat(self._descriptor).st_size:
            return
        try:
            record = _parse(DownloadRecord, first)
            _check_ranges(record)
            content = self._content(len(first) + record.count * _MOST_LINE_BYTES * _MOST_LINES_PER_RANGE)
        except ValueError as error:
            _log.warning("%s is no journal, the download starts afresh: %s", self._path, error)
            return
        self.record = record
        for line in _LINE.finditer(content, len(first)):
            number = int(line[2])
            if number <= record.count and _check_of(line[1]) == line[4]:
                self.held[number] = int(line[3], 16)

    def _content(self, most: int) -> bytes:
        """All of it. ValueError where there are more bytes than that."""
        content = b""
        while chunk := os.pread(self._descriptor, most + 1 - len(content), len(content)):
            content += chunk
        if len(content) > most:
            msg = f"it is larger than {most:,} bytes, as no journal of such a download is"
            raise ValueError(msg)
        return content

    def _start(self, record: DownloadRecord) -> None:
        os.ftruncate(self._descriptor, 0)
        os.write(self._descriptor, _serialise(record) + b"\n")

    def _add(self, number: int, data: memoryview) -> None:
        crc = zlib.crc32(data)
        words = f"{number}".encode(), f"{crc:08x}".encode()
        os.write(self._descriptor, b"%s %s %s\n" % (*words, _check_of(*words)))
        self.held[number] = crc

    def _close(self, remove: bool) -> None:  # noqa: FBT001 - private
        try:
            if remove:
                self._path.unlink(missing_ok=True)
        finally:
            os.close(self._descriptor)


def _lock(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise
        msg = "another process downloads the same object to the same place"
        raise BlockingIOError(errno.EAGAIN, msg, str(path)) from None


def _is_file(descriptor: int, path: Path) -> bool:
    """Whether this is what the path names."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


def require_regular(descriptor: int, path: str | Path) -> None:
    """FileExistsError where it is a FIFO, a device or a directory: nothing of that is ours to use or to remove."""
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise FileExistsError(errno.EEXIST, "not a regular file", str(path))


def is_own(descriptor: int) -> bool:
    """Whether this file is ours alone. Under a second name it may be any file of this user's, put here by a hard link."""
    found = os.fstat(descriptor)
    return found.st_nlink == 1 and found.st_uid == os.geteuid()


def _read_own(path: Path) -> bytes:
    """What a file of our own says. ValueError where it is anything else, or too long."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)  # else a FIFO would be waited for
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        msg = "it is a symbolic link"
        raise ValueError(msg) from error
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            msg = "it is no regular file"
            raise ValueError(msg)
        if not is_own(descriptor):
            msg = "it is another file as well, or another user's"
            raise ValueError(msg)
        content = file.read(MOST_RECORD_BYTES + 1)
    if len(content) > MOST_RECORD_BYTES:
        msg = "it is too large"
        raise ValueError(msg)
    return content


def _check_ranges(record: DownloadRecord) -> None:
    _check_word("ETag", record.etag)
    if record.size < 0 or record.part_size < 1 or record.count > MOST_RANGES:
        msg = "no download has such ranges"
        raise ValueError(msg)


def _check_word(name: str, word: str) -> None:
    """ValueError where this cannot stand in a request."""
    if not 0 < len(word) <= MOST_WORD_CHARACTERS or not (word.isascii() and word.isprintable()):
        msg = f"its {name} cannot be one"
        raise ValueError(msg)


def _path_of(source: str, *names: str) -> Path:
    word = hashlib.sha256("\0".join((os.path.realpath(source), *names)).encode("utf-8", "surrogatepass")).hexdigest()
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(state).expanduser() / "aiodreamobjects" / "uploads" / f"{word[:32]}.json"


def digest_of(values: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()[:32]


def _check_of(*words: bytes) -> bytes:
    return b"%08x" % zlib.crc32(b" ".join(words))


def _serialise(record: UploadRecord | DownloadRecord) -> bytes:
    document = json.dumps({"format": FORMAT, **asdict(record)}).encode()
    return document[:-1] + b', "check": "%s"}' % _check_of(document)


def _parse(kind: type[T], line: bytes) -> T:
    """ValueError unless it is a whole record of this kind and format."""
    document, separator, _ = line.rpartition(b', "check": ')
    document += b"}"
    if not separator or line != document[:-1] + b', "check": "%s"}' % _check_of(document):
        msg = "it is damaged"
        raise ValueError(msg)
    try:
        found = json.loads(document)
    except RecursionError:
        found = None  # what is nested so deep is no record
    types = get_type_hints(kind)
    if not isinstance(found, dict) or found.pop("format", None) != FORMAT or found.keys() != types.keys():
        msg = "it is of another format"
        raise ValueError(msg)
    if not all(type(found[name]) is wanted for name, wanted in types.items()):
        msg = "it holds other types"
        raise ValueError(msg)
    return kind(**found)
