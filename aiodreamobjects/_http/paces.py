"""How fast all connections together may send and receive, where that is limited."""

from __future__ import annotations

from dataclasses import dataclass

from aiodreamobjects._limits import BytePace


@dataclass(frozen=True, slots=True)
class Paces:
    sending: BytePace | None = None
    receiving: BytePace | None = None
