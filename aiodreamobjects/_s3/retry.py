"""Whether a failed request is tried again, after how long, and beside how many others."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from aiodreamobjects._config import Credentials, Retry
from aiodreamobjects._errors import DreamObjectsError, NotFoundError, PreconditionFailedError
from aiodreamobjects._limits import Crowd

T = TypeVar("T")

# The budget of the AWS SDKs' "standard" retry mode (AWS SDKs and Tools reference guide, "Retry behavior"): a dead
# service soon gets one attempt a request, a healthy one never notices.
BUDGET = 500
RETRY_COST = 5
SUCCESS_REFUND = 1


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed attempt: its error, and what may be done about it."""

    error: DreamObjectsError
    retry_after: float | None = None
    """Seconds the service asked for."""
    is_throttle: bool = False
    """The service is alive and asks for patience: waiting is due, the budget is not touched."""
    has_expired: bool = False
    """The service no longer takes the credentials: with others, worth one more attempt."""
    clock_offset: float | None = None
    """By how many seconds the service's clock is ahead, where it complains of ours: worth one more attempt."""
    may_be_done: bool = False
    """The service may have done it all the same: the reply was lost, or says nothing of it."""


class AttemptFailed(Exception):  # noqa: N818 - a message from the attempt to the loop below, never seen outside
    def __init__(self, failure: Failure, decreases: int | None = None) -> None:
        """``decreases``: of the crowd, when the attempt had its place."""
        super().__init__(str(failure.error))
        self.failure, self.decreases = failure, decreases


class Owner(Protocol):
    """Whose retries they are: it waits, and mends what a service complains of."""

    @property
    def credentials(self) -> Credentials: ...
    async def sleep(self, seconds: float) -> None: ...
    async def renew(self, refused: Credentials) -> bool: ...
    def correct_clock(self, offset: float) -> None: ...


class Retrier:
    """A session's retries: runs attempts until one succeeds or trying again is of no use."""

    def __init__(self, retry: Retry, crowd: Crowd, owner: Owner) -> None:
        self._retry, self.crowd, self._owner = retry, crowd, owner
        self._budget = BUDGET
        self.retries = 0

    async def run(
        self,
        attempt: Callable[[], Awaitable[T]],
        *,
        is_conditional: bool = False,
        on_doubt: Callable[[], None] | None = None,
        on_failure: Callable[[int, DreamObjectsError, float | None], None] | None = None,
    ) -> T:
        """Return the first result of ``attempt``. What it raises as AttemptFailed may be tried again.

        ``is_conditional``: a refusal may be due to an attempt of this call whose reply was lost; the error says so.
        ``on_doubt`` is called for each attempt that may have been carried out although it failed. ``on_failure`` is
        called after each failed attempt with its number, its error, and the seconds until the next attempt.
        """
        number, spent, may_be_done = 1, 0, False
        mended: list[str] = []
        crowd, owner = self.crowd, self._owner
        while True:
            decreases, used = crowd.decreases, owner.credentials
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

            if may_be_done and is_conditional and isinstance(failure.error, PreconditionFailedError | NotFoundError):
                failure.error.args = (f"{failure.error}; {_DOUBT}",)
            may_be_done |= failure.may_be_done
            if failure.may_be_done and on_doubt is not None:
                on_doubt()
            failure.error.in_doubt = may_be_done
            spent = 0 if failure.is_throttle else RETRY_COST
            if failure.is_throttle:
                crowd.overrun(decreases)
            is_mended = await self._is_mended(failure, used, mended)
            wait = 0.0 if is_mended else self._wait_after(failure, number, spent)
            if on_failure is not None:
                on_failure(number, failure.error, wait)
            if wait is None:
                raise _with_attempts(failure.error, number)
            if not is_mended:
                self._budget -= spent
                await owner.sleep(wait)
            self.retries += 1
            number += 1

    def _wait_after(self, failure: Failure, number: int, spent: int) -> float | None:
        """Return the seconds to wait before the next attempt; None if another one is of no use."""
        if not failure.error.retryable or number >= self._retry.attempts:
            return None
        if self._budget < spent:
            failure.error.add_note("not tried again: too many requests of this session failed lately")
            return None
        return backoff(self._retry, number, failure.retry_after)

    async def _is_mended(self, failure: Failure, used: Credentials, mended: list[str]) -> bool:
        """Whether what was refused is another now, our clock or the credentials: each once a call."""
        if failure.clock_offset is not None:
            self._owner.correct_clock(failure.clock_offset)
            what, is_new = "clock", True
        elif failure.has_expired and "credentials" not in mended:
            what, is_new = "credentials", await self._owner.renew(used)
        else:
            return False
        is_first = what not in mended
        mended.append(what)
        return is_first and is_new


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
