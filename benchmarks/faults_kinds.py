"""The kinds of faults, as data: what the client does, what breaks, and what must hold afterwards."""

from __future__ import annotations

import base64
import gzip
import os
import signal
import zlib
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from servers.faulty import FaultyServer
from servers.rules import (
    Action,
    Blanks,
    Cut,
    Drip,
    Early,
    Flip,
    Meanwhile,
    Pause,
    Refuse,
    Replace,
    Rule,
    Say,
    Shorten,
    SlowRead,
)

from aiodreamobjects._memory.calls import md5_hex
from aiodreamobjects._memory.store import Content
from benchmarks.faults_jobs import PREFIX, QUICK, SLOW, TORN_AFTER_BYTES, UNDER_WAY, Told

KIB, MIB = 1 << 10, 1 << 20
SMALL, LARGE, LONG, HUGE = 3 * MIB, 20 * MIB, 96 * MIB, 300 * MIB
PART_BYTES, TINY_PART_BYTES = 5 * MIB, 256 * KIB
HALF_WAY = 500_000
BUCKET, KEY, CONTROL_KEY = "bucket", "key", "a\x07b"
ABC = ("a", "b", "c")
FILE, TREE_DIRECTORY = "file", "tree"
OLD, FOREIGN = b"what was there before", b"what somebody else answers"
RETRY_AFTER_SECONDS = 2
DESCRIPTORS, DOWNLOADS = 128, 300
MOST_MIB = 128
TORN_MIB = TORN_AFTER_BYTES // MIB
LONGEST_SECONDS = 15.0
ABORTED = "an Abort of what was complete"
PRECIOUS = "precious"
IN_CHUNKS = Blanks(0, 0.0)
"""No blanks: a body in chunks, without a length."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the process of a client ended, and what it printed."""

    told: Told
    is_hung: bool = False
    seconds: float = 0
    peak_bytes: int = 0

    @property
    def is_ok(self) -> bool:
        return self.told.error is None and not self.is_hung


@dataclass(frozen=True, slots=True)
class Scene:
    """Two servers, the second one with another origin, and an empty directory."""

    server: FaultyServer
    other: FaultyServer
    home: Path
    key: str
    new: bytes
    """The content to move."""

    @property
    def source(self) -> Path:
        return self.home / "source"

    @property
    def there(self) -> Path:
        """Files arrive in this directory."""
        return self.home / "there"

    @property
    def target(self) -> Path:
        return self.there / FILE

    @property
    def stored(self) -> bytes | None:
        return self.server.content(BUCKET, self.key)

    def files(self) -> dict[str, bytes]:
        """Return the files that arrived, by their paths."""
        return {str(path.relative_to(self.there)): path.read_bytes() for path in _files_below(self.there)}

    def put(self, *keys: str) -> None:
        for key in keys:
            self.server.put(BUCKET, key, key.encode())


Make = Callable[[Scene], Sequence[Rule]]
Judge = Callable[[Scene, Outcome], str | None]
"""Returns None if the client survived, else what was seen."""


@dataclass(frozen=True, slots=True)
class Kind:
    number: int
    words: str
    verb: str
    make: Make
    judge: Judge
    size: int = LARGE
    key: str = KEY
    keys: tuple[str, ...] = ()
    part_bytes: int = PART_BYTES
    descriptors: int | None = None
    has_small_disk: bool = False
    signal: signal.Signals | None = None
    is_due: Callable[[FaultyServer], bool] = lambda _: True
    """When the signal is sent."""
    is_measured: bool = False
    """Whether the result includes the peak of memory."""
    session_token: str | None = None
    longest_seconds: float = LONGEST_SECONDS


# What must hold afterwards


def hang(scene: Scene, outcome: Outcome) -> str:
    return f"not done after {outcome.seconds:.0f} s and {len(scene.server.log):,} requests"


def downloaded(scene: Scene, outcome: Outcome) -> str | None:
    """The new file, or an error and the old one; and nothing beside it."""
    found = scene.target.read_bytes() if scene.target.exists() else None
    if outcome.is_ok:
        seen = "success reported, " + wrong if (wrong := _difference(found, scene.new)) else None
    else:
        how = hang(scene, outcome) if outcome.is_hung else None if found == OLD else "error"
        seen = ", ".join(filter(None, (how, None if found == OLD else _instead(found)))) or None
    strangers = scene.files().keys() - {FILE}
    return seen or (f"files left behind: {len(strangers)}" if strangers else None)


def downloaded_of_one_state(scene: Scene, outcome: Outcome) -> str | None:
    """The same, but the whole new state of the object is right too."""
    if outcome.is_ok and scene.target.exists() and scene.target.read_bytes() == scene.server.content(BUCKET, KEY):
        return None
    return downloaded(scene, outcome)


def kept(scene: Scene, _: Outcome) -> str | None:
    """After a kill, the file is old or new. Files beside it do not matter."""
    found = scene.target.read_bytes() if scene.target.exists() else None
    return None if found in (OLD, scene.new) else _instead(found)


def uploaded(scene: Scene, outcome: Outcome) -> str | None:
    """The new object, or an error and the old one; and no open upload."""
    seen = [
        hang(scene, outcome) if outcome.is_hung else None,
        _committed(scene, outcome),
        _left_open(scene, outcome),
        f"tasks still running: {outcome.told.tasks}" if outcome.told.tasks else None,
    ]
    return ", ".join(filter(None, seen)) or None


def _left_open(scene: Scene, outcome: Outcome) -> str | None:
    if not (count := len(scene.server.uploads(BUCKET))):
        return None
    return f"uploads left open: {count}" + (
        ", and the error says that it is in doubt" if outcome.told.is_in_doubt else ""
    )


def _committed(scene: Scene, outcome: Outcome) -> str | None:
    stored = scene.stored
    if outcome.is_ok:
        return None if stored == scene.new else f"success reported, {_difference(stored, scene.new, 'object')}"
    if stored in (OLD, None):
        return None
    if stored == scene.new:
        return None if outcome.told.is_in_doubt else "error, although the object is stored"
    return "a torn object is stored"


def completed(scene: Scene, outcome: Outcome) -> str | None:
    """As ``uploaded``, and without an Abort of a complete upload."""
    seen = [uploaded(scene, outcome), ABORTED if "AbortMultipartUpload" in scene.server.ops else None]
    return ", ".join(filter(None, seen)) or None


def rewritten(scene: Scene, outcome: Outcome) -> str | None:
    """As ``uploaded``, but the whole new content of the file is right too."""
    is_later = outcome.is_ok and scene.stored == scene.source.read_bytes()
    if outcome.is_ok and not is_later and scene.stored not in (scene.new, None):
        return "success reported, a torn object is stored"
    return None if is_later and not scene.server.uploads(BUCKET) else uploaded(scene, outcome)


def patient(scene: Scene, outcome: Outcome) -> str | None:
    """The second request comes after the time that the server asked for."""
    first, second, *_ = [*(asked.at for asked in scene.server.asked("GetObject")), 0.0, 0.0]
    if (waited := second - first) < 0.95 * RETRY_AFTER_SECONDS:
        return f"asked again after {max(0, waited):.1f} s" if waited > 0 else "not asked again"
    return downloaded(scene, outcome)


def in_time(scene: Scene, outcome: Outcome) -> str | None:
    """The clock is corrected, without an error."""
    return downloaded(scene, outcome) or (None if outcome.is_ok else "not corrected, error")


def at_home(scene: Scene, outcome: Outcome) -> str | None:
    """The other host got no request."""
    asked = scene.other.asked()
    if any("x-amz-security-token" in one.headers for one in asked):
        return "the session token is sent to the other host" + (", whose body is accepted" if outcome.is_ok else "")
    if asked:
        return "the other host is asked" + (", and its body accepted" if outcome.is_ok else "")
    if outcome.told.error and outcome.told.error.startswith("RecursionError"):
        return "no request to the other host, but a RecursionError"
    return downloaded(scene, outcome)


def all_there(scene: Scene, outcome: Outcome) -> str | None:
    files = scene.files()
    right = sum(files.get(key) == key.encode() for key in keys_of_many())
    if right == DOWNLOADS and len(files) == right and outcome.is_ok:
        return None
    return f"{right} of {DOWNLOADS} files are right" + (", success reported" if outcome.is_ok else "")


def deleted(scene: Scene, outcome: Outcome) -> str | None:
    left = scene.server.keys(BUCKET)
    if outcome.is_ok:
        return f"success reported, {', '.join(left)} is not deleted" if left else None
    return hang(scene, outcome) if outcome.is_hung else None


def deleted_at_last(scene: Scene, outcome: Outcome) -> str | None:
    return deleted(scene, outcome) or (None if outcome.is_ok else "not tried again, error")


def listed(scene: Scene, outcome: Outcome) -> str | None:
    if outcome.is_ok:
        return None if outcome.told.keys == tuple(scene.server.keys(BUCKET)) else f"listed: {outcome.told.keys}"
    return hang(scene, outcome) if outcome.is_hung else "nothing is listed, error"


def untouched(scene: Scene, outcome: Outcome) -> str | None:
    lost = 3 - len(scene.files())
    told = ", success reported" if outcome.is_ok else ""
    return f"{lost} of 3 local files deleted{told}" if lost else told.removeprefix(", ") or None


def inside(scene: Scene, outcome: Outcome) -> str | None:
    """No file is outside the directory, the others are in it, and an error names what is not downloaded."""
    told = ", success reported" if outcome.is_ok else ""
    strays = [name for name in scene.files() if not name.startswith(f"{TREE_DIRECTORY}/")]
    outside = [*strays, *(path for path in scene.home.iterdir() if path != scene.there)]
    if outside:
        return f"files outside the directory: {len(outside)}{told}"
    if f"{TREE_DIRECTORY}/plain" not in scene.files():
        return f"no file is downloaded{told}"
    return told.removeprefix(", ") or None


def answered(scene: Scene, outcome: Outcome) -> str | None:
    return None if outcome.is_ok else hang(scene, outcome) if outcome.is_hung else f"error: {outcome.told.error}"


def in_little_memory(scene: Scene, outcome: Outcome) -> str | None:
    peak = outcome.peak_bytes >> 20
    return uploaded(scene, outcome) or (f"{peak} MiB" if peak > MOST_MIB else None)


def spared(scene: Scene, outcome: Outcome) -> str | None:
    """The object outside of the prefix is there. After a success, the listed ones are deleted."""
    left = scene.server.keys(BUCKET)
    told = ", success reported" if outcome.is_ok else ""
    if PRECIOUS not in left:
        return f"an object outside of the prefix is deleted{told}"
    if outcome.is_hung:
        return hang(scene, outcome)
    return f"nothing is deleted{told}" if outcome.is_ok and f"{PREFIX}a" in left else None


def followed(scene: Scene, outcome: Outcome) -> str | None:
    """The copy equals the source, or the call raised an error."""
    copy, source = scene.other.content(BUCKET, KEY), scene.server.content(BUCKET, KEY)
    if outcome.is_ok:
        is_old = copy == scene.new and copy != source
        return "success reported, the copy stays the old one" if is_old else _difference(copy, source or b"", "copy")
    if outcome.is_hung:
        return hang(scene, outcome)
    return None if copy in (None, scene.new, source) else "a torn copy is stored"


def _instead(found: bytes | None) -> str:
    if found is None:
        return "the old file is gone"
    return f"the old file is gone, {f'{len(found):,} bytes' if found else 'an empty one'} in its place"


def _difference(found: bytes | None, wanted: bytes, what: str = "file") -> str | None:
    if found == wanted:
        return None
    if found is None:
        return f"no {what}"
    if len(found) != len(wanted):
        return f"{len(found):,} bytes instead of {len(wanted):,}" if found else f"an empty {what}"
    return "wrong bytes"


# The state before, and what breaks


def breaks(*rules: Rule) -> Make:
    """An object and a file of the old state."""

    def make(scene: Scene) -> Sequence[Rule]:
        scene.server.put(BUCKET, scene.key, scene.new)
        scene.target.write_bytes(OLD)
        return [copy(rule) for rule in rules]

    return make


def takes(*rules: Rule | Callable[[Scene], Rule]) -> Make:
    """A file of the new state and an object of the old one."""

    def make(scene: Scene) -> Sequence[Rule]:
        scene.source.write_bytes(scene.new)
        scene.server.put(BUCKET, scene.key, OLD)
        return [copy(rule) if isinstance(rule, Rule) else rule(scene) for rule in rules]

    return make


def _replaced(scene: Scene) -> Sequence[Rule]:
    changed = _content(LARGE, seed=1)
    replace = Meanwhile(lambda bucket: bucket.add(KEY, Content(changed, md5_hex(changed), {})))
    return [*breaks()(scene), Rule("GetObject", replace, nth=2)]


def _skewed(scene: Scene) -> Sequence[Rule]:
    scene.server.dialect.clock_offset = timedelta(hours=1)
    return breaks()(scene)


def _redirected(scene: Scene) -> Sequence[Rule]:
    scene.other.will(Rule("*", Say(status=200, headers={"ETag": '"0"'}, body=FOREIGN), times=None))
    away = f"http://localhost:{scene.other.port}/{BUCKET}/{KEY}"
    return [*breaks()(scene), Rule("*Object", Say(status=307, headers={"Location": away}, body=b""), times=None)]


def _many(scene: Scene) -> Sequence[Rule]:
    scene.put(*keys_of_many())
    return [Rule("GetObject", Pause(0.02), times=None)]


def keys_of_many() -> tuple[str, ...]:
    return tuple(f"{number:03}" for number in range(DOWNLOADS))


def _shrinking(scene: Scene) -> Rule:
    return Rule("UploadPart", Meanwhile(lambda _: os.truncate(scene.source, LONG * 2 // 3)))


def _rewritten(*, first: bool) -> Callable[[Scene], Rule]:
    """Rewrite the end of the file, not yet read, with the first part; and the rest with the completion."""

    def make(scene: Scene) -> Rule:
        start, stop = (LONG * 2 // 3, LONG) if first else (0, LONG * 2 // 3)

        def rewrite(_: object) -> None:
            with scene.source.open("r+b") as file:
                file.seek(start)
                file.write(_content(LONG, seed=1)[start:stop])

        return Rule("UploadPart" if first else "CompleteMultipartUpload", Meanwhile(rewrite))

    return make


def _bulk(error: str, times: int | None) -> Make:
    """Of three keys, the second one is not deleted."""
    reply = (
        "<DeleteResult><Deleted><Key>a</Key></Deleted><Deleted><Key>c</Key></Deleted>"
        f"<Error><Key>b</Key><Code>{error}</Code><Message>No.</Message></Error></DeleteResult>"
    )

    def make(scene: Scene) -> Sequence[Rule]:
        scene.put(*ABC)
        both = (Meanwhile(lambda bucket: bucket.drop("a")), Meanwhile(lambda bucket: bucket.drop("c")))
        said = Say(status=200, headers={"Content-Type": "application/xml"}, body=reply.encode(), is_done=False)
        return [Rule("DeleteObjects", *both, said, times=times)]

    return make


def _listing(scene: Scene) -> Sequence[Rule]:
    scene.put(CONTROL_KEY, "plain")
    return []


def _lost_listing(scene: Scene) -> Sequence[Rule]:
    for name in ABC:
        scene.put(name)
        (scene.there / name).write_text("local")
    return [Rule("ListObjects*", Refuse(500, "InternalError"), times=None)]


def _climbing(scene: Scene) -> Sequence[Rule]:
    (scene.there / TREE_DIRECTORY).mkdir()
    scene.put("../escaped", "sub/../../climbed", "plain")
    return []


def _silent(scene: Scene) -> Sequence[Rule]:
    scene.server.put(BUCKET, SLOW, _content(SMALL))
    scene.put(QUICK)
    return [Rule("GetObject", Cut(64 * KIB, "silence"), key=SLOW, times=None)]


def _with_a_stranger(scene: Scene) -> Sequence[Rule]:
    scene.put(PRECIOUS, *(f"{PREFIX}{name}" for name in "abc"))
    stranger = Replace(f"<Key>{PREFIX}b</Key>".encode(), f"<Key>{PRECIOUS}</Key>".encode())
    return [Rule("ListObjects*", stranger, times=None)]


def _gzipped(scene: Scene) -> Sequence[Rule]:
    takes()(scene)
    scene.source.write_bytes(gzip.compress(scene.new, 1) + b"\n")
    return []


def _changing(scene: Scene) -> Sequence[Rule]:
    """Change the source after it was read, before the copy is stored."""
    scene.server.put(BUCKET, KEY, scene.new)
    change = Meanwhile(lambda _: scene.server.put(BUCKET, KEY, _content(SMALL, seed=1)))
    scene.other.will(Rule("PutObject", change))
    no_tags = Say(200, {"Content-Type": "application/xml"}, b"<Tagging><TagSet/></Tagging>")
    return [Rule("GetObjectTagging", no_tags, times=None, may_be_idle=True)]


def _asked(op: str, count: int) -> Callable[[FaultyServer], bool]:
    return lambda server: len(server.asked(op)) >= count


def _answered(op: str, count: int) -> Callable[[FaultyServer], bool]:
    return lambda server: sum(asked.status is not None for asked in server.asked(op)) >= count


@cache
def _content(size: int, seed: int = 0) -> bytes:
    """No two pieces of it are alike, up to 32 MiB."""
    return (Random(seed).randbytes(min(size, 32 * MIB)) * (size // (32 * MIB) + 1))[:size]


def _summed(data: bytes) -> Mapping[str, str]:
    """Return the checksum headers that S3 sends on request."""
    return {"x-amz-checksum-crc32": base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()}


def _get(number: int, words: str, *actions: Action, times: int | None = 1, **more: Any) -> Kind:
    """Make a kind with a download, where something happens to so many of its requests."""
    rule = Rule("GetObject", *actions, times=times)
    return Kind(number, words, **{"verb": "download", "make": breaks(rule), "judge": downloaded, **more})


def _put(number: int, words: str, *rules: Rule | Callable[[Scene], Rule], **more: Any) -> Kind:
    return Kind(number, words, **{"verb": "upload", "make": takes(*rules), "judge": uploaded, **more})


def _delete(number: int, words: str, make: Make, judge: Judge) -> Kind:
    return Kind(number, words, "delete_many", make, judge, keys=ABC)


def _part(*actions: Action, part: int | None = None) -> Rule:
    return Rule("UploadPart", *actions, part=part, times=None)


def _completion(*actions: Action, times: int | None = 1) -> Rule:
    return Rule("CompleteMultipartUpload", *actions, times=times)


CRC = Say(headers=_summed(_content(SMALL)))
WHOLE = Say(200, {"Content-Range": None}, _content(LARGE))
BUSY = Refuse(503, "SlowDown", {"Retry-After": str(RETRY_AFTER_SECONDS)})
EXPIRED = Rule("GetObject", Refuse(400, "ExpiredToken"), covers=LARGE - 1, times=None)
FORBIDDEN, FAILS = Refuse(403, "AccessDenied"), Refuse(500, "InternalError")
FAILS_WITH_200, LOST = Refuse(200, "InternalError"), Cut(None)
NOT_DONE = Say(body=b"", status=200, is_done=False)
EARLY = Rule("PutObject", Early({"ETag": '"opaque"'}), SlowRead(MIB, 0.02))
SLOW_BODY, SLOW_PEER, SLOWEST_PEER = Drip(256 * KIB, 0.1), SlowRead(512 * KIB, 0.1), SlowRead(256 * KIB, 0.1)
GETTING: dict[str, Any] = {"times": None, "is_due": _asked("GetObject", 1)}
SENDING: dict[str, Any] = {"is_due": _asked("UploadPart", 2)}
TORN: dict[str, Any] = {"verb": "put_torn", "signal": UNDER_WAY, "is_due": _answered("UploadPart", 2)}
CLOSING: dict[str, Any] = {"verb": "close_under_way", "signal": UNDER_WAY, **SENDING, "longest_seconds": 40}
MANY_PARTS: dict[str, Any] = {"verb": "upload_open", "size": LONG, "part_bytes": TINY_PART_BYTES}
SMALL_FETCH: dict[str, Any] = {"verb": "fetch", "size": SMALL}
MEASURED: dict[str, Any] = {"size": HUGE, "is_measured": True, "longest_seconds": 60}
DOWNLOAD, UPLOAD = "during a download: the old file is kept", "during an upload"
COMPLETION = "the completion is answered 200"

ALL = (
    _get(1, "reset in the middle of a body, once", Cut(HALF_WAY)),
    _get(2, "connection closed in the middle of a body, once", Cut(HALF_WAY, "close")),
    _get(3, "closed after 1,000 bytes, for ever: the old file is kept", Cut(1000, "close"), times=None),
    _get(4, "a short body with a length that fits", Shorten(HALF_WAY)),
    _get(5, "`Range` ignored", WHOLE, times=None),
    _get(6, "the object is replaced during the download", make=_replaced, judge=downloaded_of_one_state),
    _get(7, "a flipped bit in 3 MiB, and a CRC-32 beside it", CRC, Flip(HALF_WAY), size=SMALL),
    _get(8, "a flipped bit in 20 MiB, whose ETag is their MD5", Flip(HALF_WAY)),
    _get(9, "silence in the middle of a body, once", Cut(HALF_WAY, "silence")),
    _get(10, "1 KiB a second, for ever", Drip(KIB, 1.0), times=None, longest_seconds=20),
    _get(11, "503 `SlowDown`, three times", Refuse(503, "SlowDown"), times=3),
    _get(12, "429, twice", Refuse(429, "TooManyRequests"), times=2),
    _get(13, f"503 with `Retry-After: {RETRY_AFTER_SECONDS}` is honoured", BUSY, judge=patient, size=SMALL),
    _get(14, "500 for ever: the old file is kept", FAILS, times=None),
    _get(15, "a clock that is an hour off is corrected", make=_skewed, judge=in_time),
    _get(16, "`ExpiredToken` for whatever has the last byte in it: the old file is kept", make=breaks(EXPIRED)),
    _get(17, "307 to another host is not followed", make=_redirected, judge=at_home, session_token="a-token-of-nobody"),
    _get(18, f"cancelled {DOWNLOAD}", SLOW_BODY, **GETTING, signal=signal.SIGINT),
    _get(19, f"`kill -9` {DOWNLOAD}", SLOW_BODY, **GETTING, judge=kept, signal=signal.SIGKILL),
    _get(20, "disk full: the old file is kept", make=breaks(), has_small_disk=True),
    Kind(
        21,
        f"{DOWNLOADS} downloads with `ulimit -n {DESCRIPTORS}`",
        "download_all",
        _many,
        all_there,
        keys=keys_of_many(),
        descriptors=DESCRIPTORS,
    ),
    _put(22, "a part is refused with 403: the upload is aborted", _part(FORBIDDEN, part=2)),
    _put(23, "a part is answered with 500, for ever: the upload is aborted", _part(FAILS, part=2)),
    _put(24, f"{COMPLETION} with an error, once", _completion(FAILS_WITH_200)),
    _put(25, f"{COMPLETION} with an error, for ever", _completion(FAILS_WITH_200, times=None)),
    _put(26, f"{COMPLETION} and nothing, and not done", _completion(NOT_DONE)),
    _put(
        27,
        "the reply to the completion is lost: it says success or doubt, and aborts nothing",
        _completion(LOST),
        judge=completed,
    ),
    _put(28, f"cancelled {UPLOAD}: it is aborted", _part(SLOWEST_PEER), **SENDING, signal=signal.SIGINT),
    _put(29, f"the file shrinks {UPLOAD}", _shrinking, size=LONG, longest_seconds=40),
    _put(
        30,
        f"the file is rewritten in place {UPLOAD}, its end first",
        _rewritten(first=True),
        _rewritten(first=False),
        judge=rewritten,
        size=LONG,
    ),
    _put(31, "every part is refused while hundreds wait for their turn", _part(Pause(1.0), FORBIDDEN), **MANY_PARTS),
    _delete(32, "a bulk deletion refuses one key: an error is raised", _bulk("AccessDenied", None), deleted),
    _delete(
        33, "a bulk deletion fails for one key, once: it is tried again", _bulk("InternalError", 1), deleted_at_last
    ),
    _put(34, "a large upload to a key with a control character leaves nothing open", key=CONTROL_KEY),
    Kind(35, "a key with a control character is listed", "keys", _listing, listed),
    Kind(36, "a sync that deletes; its source cannot be listed", "sync", _lost_listing, untouched),
    Kind(37, "a tree download of keys with `..`", "download_tree", _climbing, inside),
    Kind(38, "ten reads are cancelled; then one request", "after_cancel", _silent, answered),
    _put(
        39,
        f"300 MiB to a slow peer with less than {MOST_MIB} MiB of memory",
        _part(SlowRead(512 * KIB, 0.05)),
        judge=in_little_memory,
        **MEASURED,
    ),
    _put(40, f"the producer of a source is cancelled after {TORN_MIB} MiB: the old object is kept", **TORN),
    _put(41, "a source that fills one buffer again and again, and yields it", verb="put_refilled"),
    _get(
        42, "a flipped bit in a body without a length, whose ETag is its MD5", Flip(HALF_WAY), IN_CHUNKS, **SMALL_FETCH
    ),
    _get(
        43,
        "a body without a length is cut short, and its ETag is the MD5 of the whole",
        Shorten(HALF_WAY),
        IN_CHUNKS,
        **SMALL_FETCH,
    ),
    Kind(
        44,
        "a listing has a key from outside of its prefix, and what it has is deleted",
        "delete_prefix",
        _with_a_stranger,
        spared,
    ),
    _put(45, "200 before the body of a `PUT` was sent; only a whole body is stored", EARLY, part_bytes=64 * MIB),
    _put(
        46,
        "a source that decompresses a gzip file with a newline behind it",
        verb="put_gzip",
        make=_gzipped,
        size=SMALL,
    ),
    Kind(
        47,
        "the source changes while it is copied to another service; then a sync by time",
        "copy_and_sync",
        _changing,
        followed,
        size=SMALL,
    ),
    _put(48, "the client is closed during an upload in parts: nothing stays open", _part(SLOW_PEER), **CLOSING),
    _put(49, "a client is used from a second `asyncio.run`: it works, or does nothing", verb="second_loop", size=SMALL),
    _put(50, "a client is used in a forked child: it works, or does nothing", verb="forked", size=SMALL),
)
KINDS = {kind.number: kind for kind in ALL}


def _files_below(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if path.is_file())


def content_of(kind: Kind) -> bytes:
    return _content(kind.size)
