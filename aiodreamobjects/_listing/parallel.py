"""A listing with several requests at once. It cuts the keys into segments, lists them in parallel, and yields them in order."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field

from aiodreamobjects._concurrency import Background, Change, in_parallel
from aiodreamobjects._errors import ServiceError
from aiodreamobjects._listing.split import Ruler, middle_first
from aiodreamobjects._models import ObjectInfo
from aiodreamobjects._s3.errors import UNREADABLE
from aiodreamobjects._s3.listings import PAGE_KEYS
from aiodreamobjects._s3.values import Page

FetchBehind = Callable[[str | None, int], Awaitable[Page[ObjectInfo]]]
"""Fetch a page of at most this many keys after a key. ``paging.Objects`` checks the page."""

SEGMENT_PAGES = 5
"""Pages in a segment. Each segment costs a probe, and at its end two requests may list the same keys."""
BUFFER_PAGES = 8
"""Pages to keep or fetch for each parallel request; half of it if nothing else comes sooner."""
PROBING_SHARE = 0.4
"""The share of workers that may probe while there are pages to fetch. Probes are useful later, and one can spare others."""


@dataclass(slots=True, eq=False)
class _Segment:
    """The keys after ``lo``, up to and including ``hi``, that are not listed yet; and the pages that have arrived."""

    lo: str | None
    hi: str | None
    first: str | None = None
    """Its first key, if a probe found it."""
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
    """Yield every item once, in order. Raise the first error of any request as soon as it is known.

    Requests continue after a key, never with a service's token: ``start-after`` takes any text, even if no key equals it.
    """
    left = limit
    segments = _Segments(fetch, width, prefix, start_after)
    owner = Background(in_parallel(width, segments.work))
    owner.task.add_done_callback(lambda _: segments.changed.tell())
    try:
        while segments.are_left and left != 0:
            if owner.task.done():
                owner.outcome()
            if (page := segments.take()) is None:
                if segments.are_left:
                    await segments.changed.wait()
            else:
                page = page if left is None else page[:left]
                left = None if left is None else left - len(page)
                yield page
    finally:
        await owner.stop()


class _Segments:
    """The segments that are not yielded yet, in order. Decides what the workers do next."""

    def __init__(self, fetch: FetchBehind, width: int, prefix: str, start_after: str | None) -> None:
        self._fetch, self._width, self._prefix = fetch, width, prefix
        self._segments = [_Segment(start_after, None)]
        self._boundaries: deque[str] = deque()  # to be probed
        self._page_keys = PAGE_KEYS
        self._pages = 0  # kept or under way
        self._probing = self._idle = 0
        self.changed = Change()

    # For the consumer

    @property
    def are_left(self) -> bool:
        return bool(self._segments)

    def take(self) -> list[ObjectInfo] | None:
        """Return the next page, if it has arrived."""
        while self._segments:
            head = self._segments[0]
            if head.pages:
                self._pages -= 1
                self.changed.tell()
                return head.pages.popleft()
            if not head.is_finished:
                return None
            del self._segments[0]
            self.changed.tell()
        return None

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
                await self.changed.wait()
                self._idle -= 1

    def _awaited_segment(self) -> _Segment | None:
        """Return the segment that the consumer waits for. It may always be fetched."""
        head = self._segments[0]
        return None if head.pages or head.is_finished or head.is_under_way else head

    def _next_segment(self) -> _Segment | None:
        """Return the first waiting segment, if there is room for one more page of it.

        The last segment goes first if few are left: only a page of it shows where to cut it.
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
            self._page_keys = len(page.items)  # some services send smaller pages
        self._keep(segment, page)
        self.changed.tell()

    def _count_for(self, segment: _Segment) -> int:
        """Return how many keys to ask for: less than a page if the rest seems smaller and another worker has the next segment."""
        behind = self._segments.index(segment) + 1
        is_free = behind == len(self._segments) or not self._segments[behind].is_begun
        count = PAGE_KEYS if is_free else int(segment.keys_left * 1.1) + self._page_keys // 10 + 1
        segment.keys_left = PAGE_KEYS  # use an estimate that was too low only once
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
        """Merge the next segments into this one, if nobody began them and the page reaches them. ``last`` None is the end."""
        behind = self._segments.index(segment) + 1
        while segment.hi is not None and (last is None or segment.hi < last):
            if behind == len(self._segments) or self._segments[behind].is_begun:
                return
            segment.hi = self._segments.pop(behind).hi

    # Where to cut

    def _plan(self, segment: _Segment, keys: list[str]) -> None:
        """Choose boundaries in the rest of a segment, if it looks large and workers are free."""
        ruler = self._ruler(keys, segment.hi)
        pages = ruler.pages_left
        if len(keys) >= self._page_keys:
            segment.keys_left = pages * self._page_keys
        size = SEGMENT_PAGES - 0.2  # most ends then fall inside the last page
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
        """Return how many segments wait and how many boundaries are not probed."""
        waiting = sum(not segment.is_under_way and not segment.is_finished for segment in self._segments)
        return waiting + len(self._boundaries)

    def _next_boundary(self) -> str | None:
        while self._boundaries:
            boundary = self._boundaries.popleft()
            if self._segment_around(boundary) is not None:
                return boundary
        return None

    def _segment_around(self, boundary: str) -> _Segment | None:
        """Return the segment to cut there; None if that place is listed, or no key of the segment is before it."""
        for segment in self._segments:
            if segment.hi is None or boundary < segment.hi:
                begin = segment.first or segment.lo
                is_inside = not segment.is_finished and (begin is None or begin < boundary)
                return segment if is_inside else None
        return None

    async def _probe(self, boundary: str) -> None:
        """Fetch the first key after the boundary, and cut there. Replies may come in any order."""
        self._probing += 1
        page = await self._ask(boundary, 1)
        self._probing -= 1
        if (segment := self._segment_around(boundary)) is not None:
            behind = _Segment(boundary, segment.hi, page.items[0].key if page.items else None)
            segment.hi = boundary
            if behind.first is not None and (behind.hi is None or behind.first <= behind.hi):
                self._segments.insert(self._segments.index(segment) + 1, behind)
        self.changed.tell()

    async def _ask(self, after: str | None, count: int) -> Page[ObjectInfo]:
        page = await self._fetch(after, count)
        if page.next is not None and not page.items:
            msg = f"the service says that more keys follow {after!r}, and lists none: try parallel=1"
            raise ServiceError(msg, code=UNREADABLE, status=200)
        return page
