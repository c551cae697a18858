"""The limits of bandwidth that all connections of a session share."""

from __future__ import annotations

from dataclasses import dataclass

from aiodreamobjects._limits import BytePace


@dataclass(frozen=True, slots=True)
class Paces:
    sending: BytePace | None = None
    receiving: BytePace | None = None
