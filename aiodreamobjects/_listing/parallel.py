"""A listing by several requests at once: the keys are cut into segments, listed side by side, handed out in order."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field

from aiodreamobjects._concurrency import Background, in_parallel
from aiodreamobjects._errors import ServiceError
from aiodreamobjects._listing.split import Ruler, middle_first
from aiodreamobjects._models import ObjectInfo
from aiodreamobjects._s3.errors import UNREADABLE
from aiodreamobjects._s3.paging import PAGE_KEYS
from aiodreamobjects._s3.values import Page

FetchBehind = Callable[[str | None, int], Awaitable[Page[ObjectInfo]]]
"""Ask for a page of the keys behind this one, with at most so many items. It is checked: see ``paging.Objects``."""

SEGMENT_PAGES = 5
"""How much is cut off at once: each segment costs a probe, and an end where two of them may list the same keys."""
BUFFER_PAGES = 8
"""So many for each request at once are kept or under way; half of it where nothing comes sooner."""
PROBING_SHARE = 0.4
"""Of the workers, as long as there are pages to ask for: probes come in handy later, and their answers spare others."""


@dataclass(slots=True, eq=False)
class _Segment:
    """The keys behind ``lo``, up to and with ``hi``, that are still to be listed; and the pages that are here."""

    lo: str | None
    hi: str | None
    first: str | None = None
    """The first of its keys, where a probe told it."""
    pages: deque[list[ObjectInfo]] = field(default_factory=deque)
    is_begun: bool = False
    is_under_way: bool = False
    is_finished: bool = False
    keys_left: float = PAGE_KEYS
    """An estimate."""
    pages_since_split: int = 0


async def list_in_parallel(
    fetch: FetchBehind, width: int, prefix: str, start_after: str | None, limit: int | None
) -> AsyncGenerator[list[ObjectInfo], None]:
    """Every item once, in order. The first error of any request is raised as soon as it is known.

    Where to go on is told by keys and never by a service's tokens: any text does, whether it is a key or not.
    """
    left = limit
    segments = _Segments(fetch, width, prefix, start_after)
    owner = Background(in_parallel(width, segments.work))
    owner.task.add_done_callback(lambda _: segments.tell())
    try:
        while segments.are_left and left != 0:
            if owner.task.done():
                owner.outcome()
            if (page := segments.take()) is None:
                await segments.change()
            else:
                page = page if left is None else page[:left]
                left = None if left is None else left - len(page)
                yield page
    finally:
        await owner.stop()


class _Segments:
    """The segments in order, from the first that is not handed out yet; and what its workers do next."""

    def __init__(self, fetch: FetchBehind, width: int, prefix: str, start_after: str | None) -> None:
        self._fetch, self._width, self._prefix = fetch, width, prefix
        self._segments = [_Segment(start_after, None)]
        self._boundaries: deque[str] = deque()  # to be probed
        self._page_keys = PAGE_KEYS
        self._pages = 0  # kept or under way
        self._probing = self._idle = 0
        self._changed = asyncio.Event()

    # For the consumer

    @property
    def are_left(self) -> bool:
        return bool(self._segments)

    def take(self) -> list[ObjectInfo] | None:
        """The next page, if it is here."""
        while self._segments:
            head = self._segments[0]
            if head.pages:
                self._pages -= 1
                self.tell()
                return head.pages.popleft()
            if not head.is_finished:
                return None
            del self._segments[0]
            self.tell()
        return None

    def tell(self) -> None:
        """Wake all who wait for a change."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def change(self) -> None:
        if self._segments:
            await self._changed.wait()

    # What a worker does

    async def work(self) -> None:
        while not all(segment.is_finished for segment in self._segments):
            may_probe = self._probing < PROBING_SHARE * self._width
            if (segment := self._awaited_segment()) is not None:
                await self._list(segment)
            elif may_probe and (boundary := self._next_boundary()) is not None:
                await self._probe(boundary)
            elif (segment := self._next_segment()) is not None:
                await self._list(segment)
            elif (boundary := self._next_boundary()) is not None:
                await self._probe(boundary)
            else:
                self._idle += 1
                await self._changed.wait()
                self._idle -= 1

    def _awaited_segment(self) -> _Segment | None:
        """What the consumer waits for may always be asked for."""
        head = self._segments[0]
        return None if head.pages or head.is_finished or head.is_under_way else head

    def _next_segment(self) -> _Segment | None:
        """The first that waits, if there is room for a page of it: the more room, the sooner its turn comes.

        The last one goes first where few are left: how to cut it is only known from a page of it.
        """
        room = self._width * BUFFER_PAGES - self._pages
        unbegun = sum(not segment.is_begun for segment in self._segments)
        last = self._segments[-1]
        if not last.is_begun and unbegun < self._width and self._pages < room:
            return last
        for segment in self._segments:
            room -= len(segment.pages) + segment.is_under_way
            if room <= 0:
                return None
            if not segment.is_under_way and not segment.is_finished:
                return segment
        return None

    async def _list(self, segment: _Segment) -> None:
        segment.is_begun = segment.is_under_way = True
        self._pages += 1
        count = self._count_for(segment)
        page = await self._ask(segment.lo, count)
        segment.is_under_way = False
        if count == PAGE_KEYS and page.next is not None:
            self._page_keys = len(page.items)  # some services have smaller pages
        self._keep(segment, page)
        self.tell()

    def _count_for(self, segment: _Segment) -> int:
        """Less than a page where the rest is less, as far as is known, and somebody has what comes behind it."""
        behind = self._segments.index(segment) + 1
        is_free = behind == len(self._segments) or not self._segments[behind].is_begun
        count = PAGE_KEYS if is_free else int(segment.keys_left * 1.1) + self._page_keys // 10 + 1
        segment.keys_left = PAGE_KEYS  # an estimate that was too low is not believed again
        return count if count < self._page_keys else PAGE_KEYS

    def _keep(self, segment: _Segment, page: Page[ObjectInfo]) -> None:
        keys = [item.key for item in page.items]
        self._take_over(segment, None if page.next is None else keys[-1])
        count = len(keys) if segment.hi is None else bisect_right(keys, segment.hi)
        if count:
            segment.pages.append(list(page.items[:count]))
        else:
            self._pages -= 1
        segment.is_finished = page.next is None or (segment.hi is not None and keys[-1] >= segment.hi)
        if not segment.is_finished:
            segment.lo, segment.first = keys[-1], None
            segment.pages_since_split += 1
            self._plan(segment, keys)

    def _take_over(self, segment: _Segment, last: str | None) -> None:
        """What nobody has begun is this segment's, as far as a page of it reaches; None is the end of all."""
        behind = self._segments.index(segment) + 1
        while segment.hi is not None and (last is None or segment.hi < last):
            if behind == len(self._segments) or self._segments[behind].is_begun:
                return
            segment.hi = self._segments.pop(behind).hi

    # Where to cut

    def _plan(self, segment: _Segment, keys: list[str]) -> None:
        """Think of boundaries in the rest of a segment, where that looks large and there is work for more hands."""
        ruler = self._ruler(keys, segment.hi)
        pages = ruler.pages_left
        if len(keys) >= self._page_keys:
            segment.keys_left = pages * self._page_keys
        size = SEGMENT_PAGES - 0.2  # most ends then lie within the last page
        is_long = segment.pages_since_split >= SEGMENT_PAGES  # whatever the estimate says
        if self._idle and (is_long or pages > 1.5):  # noqa: PLR2004 - less than that is one request
            size = max(0.9, min(size, pages / (1 + self._idle)))
        elif not (is_long or pages > 2 * size) or self._waiting >= 2 * self._width:
            return
        segment.pages_since_split = 0
        is_large = pages > size * self._width
        near = ruler.stepwise(size, self._width) if is_large else ruler.evenly(max(2, round(pages / size + 0.3)))
        self._boundaries.extendleft(reversed(middle_first(near)))
        if is_large or segment.hi is None:
            far = self._ruler(keys, segment.hi, wide=True).ever_farther(2 * size * self._width)
            self._boundaries.extend(middle_first(far))

    def _ruler(self, keys: list[str], hi: str | None, *, wide: bool = False) -> Ruler:
        return Ruler(keys, hi, prefix=self._prefix, page_keys=self._page_keys, wide=wide)

    @property
    def _waiting(self) -> int:
        """How much there is to do, or to be found out."""
        waiting = sum(not segment.is_under_way and not segment.is_finished for segment in self._segments)
        return waiting + len(self._boundaries)

    def _next_boundary(self) -> str | None:
        while self._boundaries:
            boundary = self._boundaries.popleft()
            if self._segment_around(boundary) is not None:
                return boundary
        return None

    def _segment_around(self, boundary: str) -> _Segment | None:
        """The one to be cut there: None where that is listed, or no key lies before it in its segment."""
        for segment in self._segments:
            if segment.hi is None or boundary < segment.hi:
                begin = segment.first or segment.lo
                is_inside = not segment.is_finished and (begin is None or begin < boundary)
                return segment if is_inside else None
        return None

    async def _probe(self, boundary: str) -> None:
        """Ask for the first key behind it, and cut there. Answers may come in any order."""
        self._probing += 1
        page = await self._ask(boundary, 1)
        self._probing -= 1
        if (segment := self._segment_around(boundary)) is not None:
            behind = _Segment(boundary, segment.hi, page.items[0].key if page.items else None)
            segment.hi = boundary
            if behind.first is not None and (behind.hi is None or behind.first <= behind.hi):
                self._segments.insert(self._segments.index(segment) + 1, behind)
        self.tell()

    async def _ask(self, after: str | None, count: int) -> Page[ObjectInfo]:
        page = await self._fetch(after, count)
        if page.next is not None and not page.items:
            msg = f"the service says that more keys come behind {after!r}, and lists none: parallel=1 may do"
            raise ServiceError(msg, code=UNREADABLE, status=200)
        return page
