"""How a verb on many keys is spread: over which executor, in which batches, which share of the keys, with which journal."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, fields
from hashlib import blake2b
from typing import Final, Self, TypedDict

from aiodreamobjects._concurrency import in_thread
from aiodreamobjects._config import check_whole

BATCH_NAMES = 500
BATCH_BYTES = 64 << 20


class ExecutorArguments(TypedDict, total=False):
    """The arguments of verbs whose work an executor can do."""

    executor: Executor | None
    batch: int
    in_flight: int | None


class SliceArguments(ExecutorArguments, total=False):
    """The same, of verbs that can do a share of the names."""

    slice: tuple[int, int] | None


class SpreadArguments(SliceArguments, total=False):
    """The same, of verbs that can continue where they ended."""

    journal: str | os.PathLike[str] | None


@dataclass(frozen=True, slots=True)
class Spread:
    """The values of these arguments, checked when made."""

    executor: Executor | None = None
    batch: int = BATCH_NAMES
    in_flight: int | None = None
    slice: tuple[int, int] | None = None
    journal: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        executor = self.executor
        if executor is not None and not isinstance(executor, Executor):  # a Dask client has submit(), too
            msg = (
                f"executor {executor!r} is no concurrent.futures.Executor; of a Dask client it is client.get_executor()"
            )
            raise TypeError(msg)
        check_whole("batch", self.batch, least=1)
        if self.in_flight is not None:
            check_whole("in_flight", self.in_flight, least=1)
        if self.slice is not None:
            _check_slice(self.slice)

    @classmethod
    def of(cls, verb: str, given: Mapping[str, object], arguments: type[ExecutorArguments] = SpreadArguments) -> Self:
        """Return the values that a verb was given. Raise TypeError for an argument that it does not have."""
        if unknown := given.keys() - arguments.__annotations__.keys():
            msg = f"{verb}() got an unexpected keyword argument {min(unknown)!r}"
            raise TypeError(msg)
        return cls(**given)  # type: ignore[arg-type]  # checked when made

    @property
    def is_in_batches(self) -> bool:
        return self.executor is not None or self.journal is not None

    async def path(self, local: str | os.PathLike[str]) -> str:
        """Return a local path as text; with an executor, so that a worker in another working directory means the same."""
        path = os.fsdecode(local)
        if self.executor is None or not path:
            return path
        return await in_thread(os.path.abspath, path)

    def takes(self, key: str) -> bool:
        """Return whether this key is in the share of this call. It is the same on every machine."""
        if self.slice is None:
            return True
        number, count = self.slice
        digest = blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        return int.from_bytes(digest) % count == number


ALL_HERE: Final = Spread()
SPREAD_DEFAULTS: Final[Mapping[str, object]] = {field.name: field.default for field in fields(Spread)}


def _check_slice(value: object) -> None:
    is_pair = isinstance(value, tuple) and len(value) == 2 and all(type(part) is int for part in value)  # noqa: PLR2004 - a pair
    if not is_pair or not 0 <= value[0] < value[1]:  # type: ignore[index]  # a pair
        msg = f"slice {value!r} must be a pair (i, n) of whole numbers with 0 <= i < n: this call's share of n"
        raise ValueError(msg)
