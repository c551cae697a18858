"""When a request is tried again, after how long, and beside how many others. One policy for every lane."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from aiodreamobjects._concurrency import Crowd
from aiodreamobjects._config import Retry
from aiodreamobjects._errors import DreamObjectsError, NotFoundError, PreconditionFailedError

T = TypeVar("T")

# The budget of the AWS SDKs' "standard" retry mode (AWS SDKs and Tools reference guide, "Retry behavior"): a dead
# service soon gets one attempt a request, a healthy one never notices.
BUDGET = 500
RETRY_COST = 5
SUCCESS_REFUND = 1


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed attempt, as the lane sees it."""

    error: DreamObjectsError
    retry_after: float | None = None
    """Seconds the service asked for."""
    is_throttle: bool = False
    """The service is alive and asks for patience: waiting is due, the budget is not touched."""
    clock_offset: float | None = None
    """By how many seconds the service's clock is ahead, where it complains of ours: worth one more attempt."""
    may_be_done: bool = False
    """The service may have done it all the same: the reply was lost, or says nothing of it."""


class AttemptFailed(Exception):  # noqa: N818 - a message from the attempt to the loop below, never seen outside
    def __init__(self, failure: Failure, decreases: int | None = None) -> None:
        """``decreases``: of the crowd, when the attempt had its place."""
        super().__init__(str(failure.error))
        self.failure, self.decreases = failure, decreases


class Retrier:
    """A session's retries: runs attempts until one succeeds or trying again is of no use."""

    def __init__(
        self,
        retry: Retry,
        crowd: Crowd,
        sleep: Callable[[float], Awaitable[None]],
        correct_clock: Callable[[float], None],
    ) -> None:
        self._retry, self.crowd, self._sleep, self._correct_clock = retry, crowd, sleep, correct_clock
        self._budget = BUDGET
        self.retries = 0

    async def run(self, attempt: Callable[[], Awaitable[T]], *, is_write: bool = False) -> T:
        """The first result of ``attempt``. What it raises as AttemptFailed may be tried again.

        ``is_write``: a refusal may then be this very call's own doing, by an attempt whose reply was lost; it says so.
        """
        number, spent, clock_corrected, may_be_done = 1, 0, False, False
        crowd = self.crowd
        while True:
            decreases = crowd.decreases
            try:
                result = await attempt()
            except AttemptFailed as failed:
                failure = failed.failure
                decreases = decreases if failed.decreases is None else failed.decreases
            else:
                if crowd.is_reduced:
                    crowd.served()
                if self._budget < BUDGET:
                    self._budget = min(BUDGET, self._budget + (spent or SUCCESS_REFUND))
                return result

            if may_be_done and is_write and isinstance(failure.error, PreconditionFailedError | NotFoundError):
                failure.error.args = (f"{failure.error}; {_DOUBT}",)
            may_be_done |= failure.may_be_done
            failure.error.in_doubt = may_be_done
            spent = 0 if failure.is_throttle else RETRY_COST
            if failure.is_throttle:
                crowd.overrun(decreases)
            if failure.clock_offset is not None:
                self._correct_clock(failure.clock_offset)
            if failure.clock_offset is not None and not clock_corrected:
                clock_corrected = True
            elif not failure.error.retryable or number >= self._retry.attempts:
                raise _with_attempts(failure.error, number)
            elif self._budget < spent:
                failure.error.add_note("not tried again: too many requests of this session failed lately")
                raise _with_attempts(failure.error, number)
            else:
                self._budget -= spent
                await self._sleep(backoff(self._retry, number, failure.retry_after))
            self.retries += 1
            number += 1


_DOUBT = "an earlier attempt of this very call, whose reply was lost, may have done it"


def backoff(retry: Retry, attempts_made: int, retry_after: float | None = None) -> float:
    """Seconds to wait after so many attempts: full jitter, at least Retry-After, at most the cap."""
    ceiling = min(retry.cap, retry.base * 2.0 ** min(attempts_made - 1, 64))
    jittered = random.uniform(0, ceiling)  # noqa: S311 - spreads clients out, hides nothing
    return max(jittered, min(retry_after or 0.0, retry.cap))


def _with_attempts(error: DreamObjectsError, number: int) -> DreamObjectsError:
    if number > 1:
        error.add_note(f"after {number} attempts")
    return error
