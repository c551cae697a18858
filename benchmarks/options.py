"""What options with several words or numbers mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def known(text: str | None, known: Mapping[str, object] | Sequence[str], usual: Sequence[str]) -> tuple[str, ...]:
    """Each once. ValueError for one that is not known."""
    words = tuple(dict.fromkeys(text.split(","))) if text else tuple(usual)
    if unknown := [word for word in words if word not in known]:
        msg = f"unknown: {', '.join(unknown)}; there are {', '.join(known)}"
        raise ValueError(msg)
    return words


def numbers(text: str | None, usual: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split(",")) if text else usual
