"""Decide whether to retry a failed request, and after how long, and how many requests to send at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar

from aiodreamobjects._config import Credentials, Retry
from aiodreamobjects._errors import DreamObjectsError, NotFoundError, PreconditionFailedError, ServiceError
from aiodreamobjects._later import Later
from aiodreamobjects._limits import Crowd

if TYPE_CHECKING:
    import random

    from aiodreamobjects._trace import Record
else:
    random = Later("random")

T = TypeVar("T")

# The budget of the AWS SDKs' "standard" retry mode (AWS SDKs and Tools reference guide, "Retry behavior"). If the service
# is down, each request soon gets one attempt only. If it is healthy, the budget never runs out.
BUDGET = 500
RETRY_COST = 5
SUCCESS_REFUND = 1


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed attempt: its error, and what can be done about it."""

    error: DreamObjectsError
    retry_after: float | None = None
    """The seconds that the service asked us to wait."""
    is_throttle: bool = False
    """The service asks for fewer requests. Waiting helps, so this does not use up the budget."""
    has_expired: bool = False
    """The service no longer accepts the credentials. New ones are worth one more attempt."""
    clock_offset: float | None = None
    """How many seconds the service's clock is ahead, if it refused ours. The corrected time is worth one more attempt."""
    may_be_done: bool = False
    """The service may have carried out the request: the reply was lost, or does not say."""


class Unsuccessful(Exception):  # noqa: N818 - a message from the attempt to the loop below, never seen outside
    def __init__(self, failure: Failure, decreases: int | None = None) -> None:
        """Keep the failure. ``decreases`` is ``Crowd.decreases`` at the time when the attempt got its place."""
        super().__init__(str(failure.error))
        self.failure, self.decreases = failure, decreases


@dataclass(slots=True)
class _Past:
    """The failed attempts of one call."""

    attempts: int = 0
    spent: int = 0
    """What the last one costs of the budget."""
    may_be_done: bool = False
    """Whether the service may have carried out any of them."""
    mended: list[str] = field(default_factory=list)
    is_mended: bool = False
    """Whether the cause of the last one is gone, so that no wait is needed."""


class Attempted(Protocol):
    """What the retrier needs to know of a call."""

    record: Record | None
    may_be_missing: bool
    is_conditional: bool
    """Whether an earlier attempt whose reply was lost may cause a refusal. The error then says so."""
    on_doubt: Callable[[], None] | None
    """Called for each failed attempt that the service may have carried out."""


class Watch(Protocol):
    """Tells the session's observer."""

    def end(self, call: Attempted, error: BaseException | None) -> None: ...


class Owner(Protocol):
    """The session's side of a retry: it waits, renews credentials and corrects the clock."""

    @property
    def credentials(self) -> Credentials | None: ...
    @property
    def watch(self) -> Watch | None: ...
    async def sleep(self, seconds: float) -> None: ...
    async def renew(self, refused: Credentials | None) -> bool: ...
    def correct_clock(self, offset: float) -> None: ...


C = TypeVar("C", bound=Attempted)


class Retrier:
    """The retries of a session. It runs attempts until one succeeds or another one is pointless."""

    def __init__(self, retry: Retry, crowd: Crowd, owner: Owner) -> None:
        self._retry, self.crowd, self._owner = retry, crowd, owner
        self._budget = BUDGET
        self.retries = 0

    async def run(
        self,
        attempt: Callable[[], Awaitable[T]],
        call: C,
        on_failure: Callable[[C, int, DreamObjectsError, float | None], None],
    ) -> T:
        """Return the first result of ``attempt``. It raises Unsuccessful for a failure that may be retried.

        ``on_failure`` is called after each failed attempt: with the call, the number of the attempt, its error, and the seconds
        until the next one; None if there will be none.
        """
        past: _Past | None = None
        crowd, owner = self.crowd, self._owner
        # Each round: 1. an attempt, 2. what a failure means for the caller, and whether it can be mended, 3. wait or give up.
        try:
            while True:
                decreases, used = crowd.decreases, owner.credentials
                try:
                    result = await attempt()
                except Unsuccessful as failed:
                    failure = failed.failure
                    decreases = decreases if failed.decreases is None else failed.decreases
                else:
                    if crowd.is_reduced:
                        crowd.served()
                    if self._budget < BUDGET:  # the attempt that succeeds gets back what it cost
                        self._budget = min(BUDGET, self._budget + ((past and past.spent) or SUCCESS_REFUND))
                    if owner.watch is not None:
                        owner.watch.end(call, None)
                    return result
                past = past or _Past()
                if failure.is_throttle:
                    crowd.overrun(decreases)
                wait = await self._learn(failure, call, past, used)
                on_failure(call, past.attempts, failure.error, wait)
                await self._rest(failure, past, wait)
        except BaseException as error:
            if owner.watch is not None:
                owner.watch.end(call, error)
            raise

    async def _learn(self, failure: Failure, call: Attempted, past: _Past, used: Credentials | None) -> float | None:
        """Note what a failure means for the caller, and mend what can be mended.

        Return the seconds to wait before the next attempt, or None if there must not be another one.
        """
        past.attempts += 1
        # An earlier attempt may have made the object that now fails the condition.
        if (
            past.may_be_done
            and call.is_conditional
            and isinstance(failure.error, PreconditionFailedError | NotFoundError)
        ):
            failure.error.args = (f"{failure.error}; {_DOUBT}",)
        past.may_be_done |= failure.may_be_done
        if failure.may_be_done and call.on_doubt is not None:
            call.on_doubt()
        failure.error.in_doubt = past.may_be_done
        past.spent = 0 if failure.is_throttle else RETRY_COST
        past.is_mended = await self._is_mended(failure, used, past.mended)
        return 0.0 if past.is_mended else self._wait_after(failure, past.attempts, past.spent)

    async def _rest(self, failure: Failure, past: _Past, wait: float | None) -> None:
        """Wait for the next attempt, or raise the error."""
        if wait is None:
            raise _with_attempts(failure.error, past.attempts)
        if not past.is_mended:
            self._budget -= past.spent
            await self._owner.sleep(wait)
        self.retries += 1

    def _wait_after(self, failure: Failure, number: int, spent: int) -> float | None:
        """Return the seconds to wait before the next attempt, or None if there must not be another one."""
        if not failure.error.retryable or number >= self._retry.attempts:
            return None
        if self._budget < spent:
            failure.error.add_note("not retried: too many requests of this session failed lately")
            return None
        return backoff(self._retry, number, failure.retry_after)

    async def _is_mended(self, failure: Failure, used: Credentials | None, mended: list[str]) -> bool:
        """Correct the clock, or renew the credentials, if the service refused them. Return True once for each in a call."""
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


def facts_of(error: DreamObjectsError) -> tuple[int | None, str, str | None]:
    """Return the status, the error code and the request ID of an answer. If there was none: None, empty, None."""
    return (error.status, error.code, error.request_id) if isinstance(error, ServiceError) else (None, "", None)


_DOUBT = "an earlier attempt of this call may have caused this: its reply was lost"


def backoff(retry: Retry, attempts_made: int, retry_after: float | None = None) -> float:
    """Return the seconds to wait after a number of attempts: full jitter, at least Retry-After, at most the cap."""
    ceiling = min(retry.cap, retry.base * 2.0 ** min(attempts_made - 1, 64))
    jittered = random.uniform(0, ceiling)
    return max(jittered, min(retry_after or 0.0, retry.cap))


def _with_attempts(error: DreamObjectsError, number: int) -> DreamObjectsError:
    if number > 1:
        error.add_note(f"after {number} attempts")
    return error
