"""A picture of a run: a panel for each question, a bar for each side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.clients import Side
from benchmarks.results import COLD, Figures, Results

OURS, YARDSTICKS = "#1f77b4", ("aiohttp", "bare", "bare-buffered")
COLOUR, YARDSTICK_COLOUR = "#b8b8b8", "#e3c98f"

PANELS = [
    ("get", "GET of 1 KiB, requests/s", "rate"),
    ("get", "GET of 1 KiB, CPU µs each", "cpu"),
    ("head", "HEAD, requests/s", "rate"),
    ("put", "PUT of 1 KiB, requests/s", "rate"),
    ("delete", "DELETE, requests/s", "rate"),
    ("list", "Listing, keys/s", "rate"),
    ("presign", "Presigned GET URLs/s", "rate"),
    (COLD, "Fresh process to first GET, ms", "milliseconds"),
]


def draw(results: Results, path: Path, in_flight: int) -> None:
    """Draw the first server's figures with so many requests in flight. The name of the file says PNG, SVG or PDF."""
    import matplotlib as mpl

    mpl.use("agg")
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "benchmarks"})
    from matplotlib import pyplot as plt

    server = results.places[0].server
    found = [(title, quantity, _figures(results, server, verb, in_flight)) for verb, title, quantity in PANELS]
    panels = [panel for panel in found if panel[2]]
    rows = (len(panels) + 1) // 2
    most = max(len(figures) for _, _, figures in panels)
    figure, axes = plt.subplots(rows, 2, figsize=(12, rows * (0.9 + 0.24 * most)), squeeze=False)
    for axis, panel in zip(axes.flat, panels, strict=False):
        _panel(axis, *panel)
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    figure.suptitle(
        f"On {server}, {in_flight} requests in flight; listing, presigning and starting one at a time\n"
        "blue: this library; yellow: no S3 clients, for comparison"
    )
    figure.tight_layout(rect=(0, 0, 1, 0.98))
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _figures(results: Results, server: str, verb: str, in_flight: int) -> Figures:
    for place in results.places:
        if (place.server, place.verb) == (server, verb) and place.in_flight in (in_flight, 0):
            found = results.figures.get(place, {})
            return {name: found[name] for name in results.sides(place) if name in found}
    return {}


def _panel(axis: Any, title: str, quantity: str, figures: Figures) -> None:
    names = list(figures)
    values = [1e3 / one.rate if quantity == "milliseconds" else getattr(one, quantity) for one in figures.values()]
    bars = axis.barh(names, values, color=[_colour(name) for name in names])
    axis.bar_label(bars, [f"{value:,.0f}" for value in values], padding=3, fontsize=8)
    axis.invert_yaxis()
    axis.margins(x=0.14)
    axis.set_title(f"{title} ({'more' if quantity == 'rate' else 'less'} is better)", fontsize=10, loc="left")
    axis.tick_params(labelsize=8)
    axis.xaxis.set_visible(False)
    for side in ("top", "right", "bottom"):
        axis.spines[side].set_visible(False)


def _colour(name: str) -> str:
    if name.startswith("dream"):
        return OURS
    return YARDSTICK_COLOUR if Side(name).client in YARDSTICKS else COLOUR
