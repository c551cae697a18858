"""How many objects and bytes there are, by directory."""

from __future__ import annotations

from contextlib import aclosing

from aiodreamobjects._listing.pages import list_objects
from aiodreamobjects._reports import Usage, UsageReport
from aiodreamobjects._runtime import Runtime
from aiodreamobjects._s3.paging import DELIMITER


async def usage(runtime: Runtime, bucket: str, prefix: str, depth: int, parallel: int) -> UsageReport:
    if isinstance(depth, bool) or not isinstance(depth, int) or depth < 0:
        msg = f"depth {depth!r} must be a number of levels; 0 means only the totals"
        raise ValueError(msg)
    counts: dict[str, list[int]] = {}
    async with aclosing(list_objects(runtime, bucket, prefix, None, None, parallel).pages()) as pages:
        async for page in pages:
            for info in page:
                count = counts.setdefault(_directory(info.key, len(prefix), depth), [0, 0])
                count[0] += 1
                count[1] += info.size or 0
    return _summed(counts, prefix)


def _directory(key: str, begin: int, depth: int) -> str:
    """Return the directory of the key, at most ``depth`` levels below the prefix of this length. Empty: not in any."""
    end = -1
    for _ in range(depth):
        found = key.find(DELIMITER, max(end + 1, begin))
        if found < 0:
            break
        end = found
    return key[: end + 1]


def _summed(counts: dict[str, list[int]], prefix: str) -> UsageReport:
    """Add what each directory holds to all directories around it."""
    total = [0, 0]
    sums: dict[str, list[int]] = {}
    for directory, (objects, size) in counts.items():
        ends = (n for n, letter in enumerate(directory) if letter == DELIMITER and n >= len(prefix))
        for count in (total, *(sums.setdefault(directory[: end + 1], [0, 0]) for end in ends)):
            count[0] += objects
            count[1] += size
    return UsageReport(total[0], total[1], {name: Usage(*sums[name]) for name in sorted(sums)})
