"""The pages of every listing, one after the other. Each page is checked before any of its items is used.

The caller may delete, overwrite or abort whatever is listed. So every item must start with the given prefix, the items
must be in the order that S3 promises, and the listing must advance. A page that breaks a rule raises an error, and none
of its items is handed out.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Final, NamedTuple, NoReturn, Protocol, TypeVar, cast

from aiodreamobjects._checks import KEY_BYTES
from aiodreamobjects._errors import ServiceError
from aiodreamobjects._models import Address, CommonPrefix, ObjectInfo, UploadInfo, printable
from aiodreamobjects._s3.errors import UNREADABLE
from aiodreamobjects._s3.listings import PAGE_KEYS
from aiodreamobjects._s3.options import WriteOptions
from aiodreamobjects._s3.replies import end_of, name_of
from aiodreamobjects._s3.s3 import S3
from aiodreamobjects._s3.values import Cursor, Page, Part

S_contra = TypeVar("S_contra", contravariant=True)
S = TypeVar("S")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

DELIMITER = "/"
MOST_EMPTY_PAGES = 1000
"""The most empty pages in a row. A service sends them while it skips what it does not list, such as delete markers: about
1,000 in a request, so this allows a million of them. A listing that never ends looks the same.
"""
MOST_REMEMBERED = 10_000
"""The most versions or uploads of one key to remember. They take about 2 MB."""

Fetch = Callable[[Cursor | None, int], Awaitable[Page[S]]]
"""Fetches the page at this cursor, with at most this number of items."""
Id = tuple[str, str | None]


class Check(Protocol[S_contra, T_co]):
    """Checks the pages of one listing. It remembers what it needs to know of earlier pages."""

    where: str
    """The listing, for error messages."""

    def take(self, page: Page[S_contra]) -> Sequence[T_co]:
        """Return the items of the next page to use. Raises ServiceError for a page that breaks a rule."""
        ...


def objects(
    s3: S3, bucket: str, prefix: str, start_after: str | None, limit: int | None
) -> AsyncGenerator[Page[ObjectInfo], None]:
    async def fetch(cursor: Cursor | None, count: int) -> Page[ObjectInfo | CommonPrefix]:
        return await s3.list_objects(bucket, prefix=prefix, start_after=start_after, cursor=cursor, max_keys=count)

    return _one_after_the_other(fetch, Objects(bucket, prefix, start_after), limit)


async def objects_behind(s3: S3, bucket: str, prefix: str, after: str | None, count: int) -> Page[ObjectInfo]:
    """Return one page of the keys after this one."""
    page = await s3.list_objects(bucket, prefix=prefix, start_after=after, max_keys=count)
    return Page(Objects(bucket, prefix, after).take(page), page.next)


def directory(
    s3: S3, bucket: str, prefix: str, start_after: str | None, limit: int | None
) -> AsyncGenerator[Page[ObjectInfo | CommonPrefix], None]:
    begin = _behind_directory(prefix, start_after)

    async def fetch(cursor: Cursor | None, count: int) -> Page[ObjectInfo | CommonPrefix]:
        return await s3.list_objects(
            bucket, prefix=prefix, delimiter=DELIMITER, start_after=begin, cursor=cursor, max_keys=count
        )

    return _one_after_the_other(fetch, Directory(bucket, prefix, start_after), limit)


def _behind_directory(prefix: str, start_after: str | None) -> str | None:
    """Return where to start a listing of one level, so that it skips the common prefix in which ``start_after`` lies.

    Its keys can follow ``start_after``, but its name does not. Amazon S3 would list it; Ceph RGW and moto do not.
    """
    if start_after is None or not start_after.startswith(prefix):
        return start_after
    name, delimiter, _ = start_after[len(prefix) :].partition(DELIMITER)
    behind = end_of(f"{prefix}{name}{delimiter}")
    return behind if delimiter and len(behind.encode()) <= KEY_BYTES else start_after


class VersionMark(NamedTuple):
    """The last version of an earlier page, and how many versions of its key that page and those before it had."""

    key: str
    version_id: str | None
    modified: datetime | None
    seen: int


def versions(
    s3: S3, bucket: str, prefix: str, after: VersionMark | None, limit: int | None
) -> AsyncGenerator[Page[ObjectInfo], None]:
    """Yield the versions after the marked one, which may have been deleted.

    Ask for all versions of its key, and drop those before it: if the service is given the ID of a deleted version, Ceph RGW skips
    the rest of the key, and moto the rest of the bucket.
    """

    async def fetch(cursor: Cursor | None, count: int) -> Page[ObjectInfo]:
        if cursor is None and after is not None:
            cursor, count = (_just_before(after.key), ""), min(PAGE_KEYS, count + after.seen)
        return await s3.list_versions(bucket, prefix=prefix, cursor=cursor, max_keys=count)

    return _one_after_the_other(fetch, Versions(bucket, prefix, after), limit)


def _just_before(key: str) -> str:
    """Return a text before the key, after which hardly any other key comes before it."""
    last = ord(key[-1]) - 1
    if last < 0 or len(key.encode()) > KEY_BYTES - 8:
        return key[:-1]
    return end_of(key[:-1] + chr(0xD7FF if last == 0xDFFF else last))  # noqa: PLR2004 - UTF-8 has no surrogates


def uploads(
    s3: S3, bucket: str, prefix: str, after: Cursor | None = None, limit: int | None = None
) -> AsyncGenerator[Page[UploadInfo], None]:
    """Yield the uploads after the one with this key and upload ID."""

    async def fetch(cursor: Cursor | None, count: int) -> Page[UploadInfo]:
        return await s3.list_uploads(bucket, prefix=prefix, cursor=cursor or after, max_uploads=count)

    return _one_after_the_other(fetch, Uploads(bucket, prefix, after), limit)


def parts(
    s3: S3, address: Address, upload_id: str, most_parts: int, options: WriteOptions, *, may_be_gone: bool = False
) -> AsyncGenerator[Page[Part], None]:
    async def fetch(cursor: Cursor | None, _: int) -> Page[Part]:
        return await s3.list_parts(address, upload_id, cursor, options, may_be_gone=may_be_gone)

    return _one_after_the_other(fetch, Parts(address, upload_id, most_parts))


async def _one_after_the_other(
    fetch: Fetch[S], check: Check[S, T], limit: int | None = None
) -> AsyncGenerator[Page[T], None]:
    """Yield the pages that have items. ``next`` of the last one is None, unless more than ``limit`` items follow."""
    left, cursor, empty = limit, None, 0
    while left is None or left > 0:
        page = await fetch(cursor, PAGE_KEYS if left is None else min(PAGE_KEYS, left))
        if page.next is not None and page.next == cursor:
            _refuse(check.where, f"the listing does not advance: the service repeats the marker {page.next!r}")
        items, following = check.take(page), page.next
        if left is not None:
            if len(items) > left:  # some services list more than they were asked for
                items, following = items[:left], following or _CUT
            left -= len(items)
        empty = 0 if items else empty + 1
        if page.next is not None and empty > MOST_EMPTY_PAGES:
            _refuse(check.where, f"the listing does not advance: {empty:,} pages in a row are empty, and more follow")
        if items:
            yield Page(items, following)
        if page.next is None:
            return
        cursor = page.next


class Objects:
    """Require keys that start with the prefix and grow strictly. The order of UTF-8 bytes is that of ``str``.

    Drop keys up to ``start_after``: some services ignore it.
    """

    def __init__(self, bucket: str, prefix: str, start_after: str | None) -> None:
        self.where = _where("objects", bucket, prefix)
        self._prefix, self._start_after = prefix, start_after
        self._last: str | None = None

    def take(self, page: Page[ObjectInfo | CommonPrefix]) -> Sequence[ObjectInfo]:
        items = cast("Sequence[ObjectInfo]", page.items)  # the next lines check this
        keys = [item.key for item in items if type(item) is ObjectInfo]
        if len(keys) < len(items):
            odd = next(item for item in page.items if isinstance(item, CommonPrefix))
            _refuse(self.where, f"the service lists the common prefix {odd.prefix!r} although no delimiter was given")
        if not keys:
            return items
        _check_growth(self.where, keys, self._last)
        _check_ends(self.where, keys, self._prefix)
        if self._last is None and self._start_after and keys[0] <= self._start_after:
            items = items[bisect_right(keys, self._start_after) :]
            if not items:
                _refuse_start(self.where, keys, self._start_after)
        self._last = keys[-1]
        return items


class Directory:
    """Require the same of one level, with its objects and common prefixes together.

    A common prefix at the end of a page may come again at the beginning of the next page. Drop it.
    """

    def __init__(self, bucket: str, prefix: str, start_after: str | None) -> None:
        self.where = _where("one level of objects", bucket, prefix)
        self._prefix, self._start_after = prefix, start_after or ""
        self._last: str | None = None

    def take(self, page: Page[ObjectInfo | CommonPrefix]) -> Sequence[ObjectInfo | CommonPrefix]:
        items = page.items
        if items and isinstance(items[0], CommonPrefix) and items[0].prefix == self._last:
            items = items[1:]
        if not items:
            return items
        names = [name_of(item) for item in items]
        _check_growth(self.where, names, self._last)
        _check_ends(self.where, names, self._prefix)
        begin = len(self._prefix)
        for name, item in zip(names, items, strict=True):
            end = name.find(DELIMITER, begin)
            if (end != len(name) - 1) if isinstance(item, CommonPrefix) else (end >= 0):
                _refuse(self.where, f"the service lists {name!r}, which is not on this level")
        self._last = names[-1]
        if names[0] <= self._start_after:
            items = items[bisect_right(names, self._start_after) :]
            if not items and not self._start_after.startswith(
                names[-1]
            ):  # else it is the prefix that holds start_after
                _refuse_start(self.where, names, self._start_after)
        return items


class _Unique:
    """Notices versions or uploads that come twice, in bounded memory.

    One key may have any number of them, and only their ids tell them apart. Remember those of a page's last key, up to a
    bound. Also remember one item at a distance that doubles (Brent's algorithm): this detects a circle of pages of any
    length.
    """

    def __init__(self, where: str, *, is_sorted: bool) -> None:
        """With ``is_sorted``, an earlier key cannot come again, so only the ids of the last key are remembered."""
        self._where, self._is_sorted = where, is_sorted
        self._ids: set[Id] = set()
        self._key: str | None = None
        self._milestone: Id | None = None
        self._pages, self._next_milestone = 0, 1

    def check(self, ids: Sequence[Id]) -> None:
        found = set(ids)
        if len(found) < len(ids) or self._milestone in found or not found.isdisjoint(self._ids):
            again = Counter([*found.intersection({*self._ids, self._milestone}), *ids]).most_common(1)[0][0]
            what = f"the service lists {again[0]!r} with the id {again[1]!r} twice"
            _refuse(self._where, f"the listing does not advance: {what}")
        if ids:
            self._remember(ids)

    def _remember(self, ids: Sequence[Id]) -> None:
        last = ids[-1]
        if self._is_sorted and last[0] != self._key:
            self._ids, self._key = set(), last[0]
        if len(self._ids) < MOST_REMEMBERED:
            self._ids.update(one for one in ids if not self._is_sorted or one[0] == last[0])
        self._pages += 1
        if self._pages == self._next_milestone:
            self._milestone, self._next_milestone = last, 2 * self._next_milestone


class Versions:
    """Require keys that start with the prefix and never go back, and no version twice. Drop those up to ``after``."""

    def __init__(self, bucket: str, prefix: str, after: VersionMark | None) -> None:
        self.where = _where("versions", bucket, prefix)
        self._prefix, self._last, self._after = prefix, "", after
        self._unique = _Unique(self.where, is_sorted=True)

    def take(self, page: Page[ObjectInfo]) -> Sequence[ObjectInfo]:
        keys = [item.key for item in page.items]
        if keys:
            if (back := _first_back([self._last, *keys])) is not None:
                _refuse(self.where, f"the service lists {back[1]!r} after {back[0]!r}: {_ORDER}")
            _check_ends(self.where, keys, self._prefix)
            self._unique.check([(item.key, item.version_id) for item in page.items])
            self._last = keys[-1]
        return page.items if self._after is None else self._behind(page.items, keys, self._after)

    def _behind(self, items: Sequence[ObjectInfo], keys: list[str], after: VersionMark) -> Sequence[ObjectInfo]:
        """Drop what comes before the mark, and the marked version. If it is gone, drop the versions that are newer."""
        begin, end = bisect_left(keys, after.key), bisect_right(keys, after.key)
        if end < len(keys):
            self._after = None
        newer = 0
        for number, item in enumerate(items[begin:end], 1):
            if item.version_id == after.version_id and item.last_modified == after.modified:
                self._after = None
                return items[begin + number :]
            if item.last_modified is not None and after.modified is not None and item.last_modified > after.modified:
                newer = number
        return items[begin + newer :]


class Uploads:
    """Require keys that start with the prefix, and no upload twice.

    Do not check their order: services do not agree on it. Ceph RGW sorts by the key, a dot and the id, so ``a-b`` comes
    before ``a``. moto keeps the order in which uploads began, and lists them all, whatever the marker and the limit are.
    """

    def __init__(self, bucket: str, prefix: str, after: Cursor | None) -> None:
        self.where = _where("uploads", bucket, prefix)
        self._prefix, self._after = prefix, after
        self._unique = _Unique(self.where, is_sorted=False)

    def take(self, page: Page[UploadInfo]) -> Sequence[UploadInfo]:
        for item in page.items:
            if not item.key.startswith(self._prefix):
                _refuse(self.where, f"the service lists {item.key!r}, which does not start with {self._prefix!r}")
        ids = [(item.key, item.upload_id) for item in page.items]
        self._unique.check(ids)
        return page.items[ids.index(self._after) + 1 :] if self._after in ids else page.items


class Parts:
    """Require numbers that grow strictly, up to the highest that the service has."""

    def __init__(self, address: Address, upload_id: str, most_parts: int) -> None:
        self.where = f"list the parts of the upload {printable(upload_id)} of {address}"
        self._most, self._last = most_parts, 0

    def take(self, page: Page[Part]) -> Sequence[Part]:
        for part in page.items:
            if not self._last < part.number <= self._most:
                what = f"part {part.number} after part {self._last}; numbers must grow, up to {self._most:,}"
                _refuse(self.where, f"the service lists {what}")
            self._last = part.number
        return page.items


_CUT: Final = ("",)
"""The cursor of a page that was cut. Nobody continues there."""
_ORDER: Final = "not in the order of their UTF-8 bytes"


def _where(what: str, bucket: str, prefix: str) -> str:
    return f"list {what} of s3://{bucket} with the prefix {prefix!r}"


def _check_growth(where: str, names: list[str], last: str | None) -> None:
    """Require names that grow strictly. Sorting sorted names, and a set, take half the time of comparing each pair."""
    is_growing = (last is None or names[0] > last) and sorted(names) == names and len(set(names)) == len(names)
    if is_growing:
        return
    if last is not None and names[0] <= last:
        _refuse(where, f"the listing does not advance: the service lists {names[0]!r} on the page after {last!r}")
    before, behind = next(pair for pair in pairwise(names) if pair[1] <= pair[0])
    how = "twice" if before == behind else f"after {before!r}: {_ORDER}"
    _refuse(where, f"the service lists {behind!r} {how}")


def _check_ends(where: str, names: Sequence[str], prefix: str) -> None:
    """Require the prefix of names that are in order. If the first and the last have it, all between them do."""
    for name in (names[0], names[-1]):
        if not name.startswith(prefix):
            _refuse(where, f"the service lists {name!r}, which does not start with {prefix!r}")


def _first_back(names: list[str]) -> tuple[str, str] | None:
    """Return the first two neighbours in the wrong order, if there are any."""
    if sorted(names) == names:
        return None
    return next(pair for pair in pairwise(names) if pair[1] < pair[0])


def _refuse_start(where: str, names: Sequence[str], start_after: str) -> NoReturn:
    what = f"after {start_after!r}, but lists only {names[0]!r} to {names[-1]!r}"
    _refuse(where, f"the service was asked for keys {what}: it may not support start_after")


def _refuse(where: str, what: str) -> NoReturn:
    msg = f"{where}: {what}. Nothing of this page was used."
    raise ServiceError(msg, code=UNREADABLE, status=200)
