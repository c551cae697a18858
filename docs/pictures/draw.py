"""Draw the pictures of the README and of the documentation, from the tables of its pages: ``python docs/pictures/draw.py``."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path

DOCS = Path(__file__).parent.parent
ROW, PANEL, LABEL, BAR, GAP = 22, 440, 130, 210, 24
OURS, OTHERS, YARDSTICK = "#1f77b4", "#b8b8b8", "#e3c98f"
YARDSTICKS = ("aiohttp", "bare", "python -c pass")
"""No S3 clients: what the least costs."""
NAMES = {
    "dream": "this library",
    "dream-parallel": "parallel=16",
    "dream-256": "256 requests",
    "dream-unverified": 'verify="off"',
    "dream-1p": "1 process",
    "dream-2p": "2 processes",
    "dream-4p": "4 processes",
    "dream-8p": "8 processes",
    "crt": "AWS CRT",
    "bare": "bare protocol",
}
SURVIVED, FAILED, NO_SUCH_CALL = "#2ca02c", "#d62728", "#e4e4e4"


@dataclass(frozen=True)
class Panel:
    """Bars of one column of one table."""

    title: str
    page: str
    heading: str
    column: str
    label: str = ""
    """The line above the table, where a heading has several."""
    sides: tuple[str, ...] = ()
    """Empty for all."""


SMALL, LARGE, LISTINGS, TREES, TAILS, SCALE = (
    f"performance/{name}.md" for name in ("small", "large", "listings", "trees", "tails", "scale")
)
CLIENTS = (
    "dream",
    "dream+uvloop",
    "aioboto3",
    "boto3",
    "s3fs",
    "obstore",
    "obstore+uvloop",
    "opendal",
    "aiohttp",
    "bare",
)
PROGRAMS = ("dream", "dream+uvloop", "dream-parallel", "aioboto3", "crt", "obstore", "s5cmd", "rclone")
FILES = "10,000 files of 1 KiB"
DOWN, UP = f"A tree to files: {FILES}", f"A tree from files: {FILES}"
MEDIUM = "1,000 files of 1 MiB"
LATE = "16,000 files of 1 KiB to files, 30 ms of latency, 8 requests at once in each process"
KEYS = "Listing: 100,000 keys that count"
GET, LIST = "GET of 1 KiB, on nginx", "Listing, on nginx"
PICTURES = {
    "speed": [
        Panel("Reads of 1 KiB in a second, 32 at once", SMALL, GET, "requests/s", "32 in flight:", CLIENTS[:8]),
        Panel("Keys listed in a second", SMALL, LIST, "keys/s", "", CLIENTS[:8]),
    ],
    "small": [
        Panel("GET of 1 KiB, requests/s", SMALL, GET, "requests/s", "32 in flight:", CLIENTS),
        Panel("GET of 1 KiB, CPU µs each", SMALL, GET, "CPU µs each", "32 in flight:", CLIENTS),
        Panel("PUT of 1 KiB, requests/s", SMALL, "PUT of 1 KiB, on nginx", "requests/s", "32 in flight:", CLIENTS),
        Panel("HEAD, requests/s", SMALL, "HEAD, on nginx", "requests/s", "32 in flight:", CLIENTS),
        Panel("Presigned URLs/s", SMALL, "Presigned GET URLs, on nginx", "URLs/s", "", CLIENTS[:8]),
        Panel("Fresh process to its first GET, ms", SMALL, "A fresh process: import, open, one GET, on nginx", "ms"),
    ],
    "large": [
        Panel(
            f"1 GiB {words} a file, {scheme}, MiB/s",
            LARGE,
            f"One object of 1 GiB {words} a file, over {scheme}",
            "MiB/s",
            "",
            PROGRAMS,
        )
        for scheme in ("http", "https")
        for words in ("to", "from")
    ],
    "many": [
        Panel("Listing, keys/s", LISTINGS, KEYS, "keys/s", "", PROGRAMS),
        Panel("The same with 30 ms of latency", LISTINGS, f"{KEYS}, 30 ms of latency", "keys/s", "", PROGRAMS),
        Panel(f"{FILES} to files, files/s", TREES, DOWN, "files/s", "", PROGRAMS),
        Panel(f"{FILES} from files, files/s", TREES, UP, "files/s", "", PROGRAMS),
        Panel("The first of them, CPU ms a file", TREES, DOWN, "CPU ms a file", "", PROGRAMS),
        Panel("The second, CPU ms a file", TREES, UP, "CPU ms a file", "", PROGRAMS),
    ],
    "tails": [
        Panel(f"{words}: paced reads, {quantity}", TAILS, f"Beside {load}", f"paced: {quantity}")
        for words, load in (("Two downloads", "two downloads of 256 MiB"), ("Two uploads", "two uploads of 256 MiB"))
        for quantity in ("median ms", "99 % ms")
    ],
    "scale": [
        Panel(f"{FILES} to files, files/s", SCALE, f"{FILES} to files", "files/s"),
        Panel("1,000 files of 1 MiB to files, https, files/s", SCALE, f"{MEDIUM} to files, over https", "files/s"),
        Panel("30 ms of latency, 8 requests each, files/s", SCALE, LATE, "files/s", "8 in flight:"),
        Panel(f"{FILES} to files, whole processes, files/s", SCALE, f"{FILES} to files, whole processes", "files/s"),
    ],
}


def table(page: str, heading: str, label: str = "") -> list[dict[str, str]]:
    """Return the first table below a heading, or below a line there."""
    lines = iter((DOCS / page).read_text().splitlines())
    for text in (heading, label) if label else (heading,):
        next(line for line in lines if line.lstrip("# ") == text)
    rows: list[list[str]] = []
    for line in lines:
        if line.startswith("|"):
            rows.append([cell.strip() for cell in line.strip("|").split("|")])
        elif rows:
            break
    return [dict(zip(rows[0], row, strict=True)) for row in rows[2:]]


def bars(panel: Panel) -> list[tuple[str, float, str]]:
    """Return the name, the value and its text, of each side that has one."""
    found = []
    for row in table(panel.page, panel.heading, panel.label):
        side, text = next(iter(row.values())), row[panel.column].rstrip("†‡")
        if (not panel.sides or side in panel.sides) and text != "-":
            found.append((side, float(text.replace(",", "")), text))
    return found


def text(x: float, y: float, words: str, more: str = "") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}"{more}>{escape(words)}</text>'


def draw_panel(panel: Panel, x: int, y: int) -> list[str]:
    found = bars(panel)
    most = max(value for _, value, _ in found)
    lines = [text(x, y + 14, panel.title, ' font-weight="bold"')]
    for number, (side, value, words) in enumerate(found, start=1):
        top, width = y + number * ROW, max(1.0, BAR * value / most)
        client, _, loop = side.partition("+")
        name = NAMES.get(client, client) + (f", {loop}" if loop else "")
        colour = OURS if client.startswith("dream") else YARDSTICK if side.split("+")[0] in YARDSTICKS else OTHERS
        lines.append(text(x + LABEL - 6, top + 15, name, ' text-anchor="end"'))
        lines.append(f'<rect x="{x + LABEL}" y="{top + 3}" width="{width:.1f}" height="{ROW - 6}" fill="{colour}"/>')
        lines.append(text(x + LABEL + width + 5, top + 15, words))
    return lines


def picture(panels: list[Panel]) -> str:
    """Return an SVG with two panels in a row."""
    lines, y = [], GAP // 2
    for left in range(0, len(panels), 2):
        pair = panels[left : left + 2]
        for column, panel in enumerate(pair):
            lines += draw_panel(panel, GAP // 2 + column * PANEL, y)
        y += ROW * (1 + max(len(bars(panel)) for panel in pair)) + GAP
    return svg(2 * PANEL, y, lines)


def scorecard() -> str:
    """Return an SVG with a row for each client and a field for each fault."""
    rows = table("reliability.md", "Beside other clients")
    clients, field, top = list(rows[0])[2:], 14, 34
    lines = [text(GAP // 2, 20, f"{len(rows) - 1} faults: which does a client survive?", ' font-weight="bold"')]
    for number, client in enumerate(clients):
        y = top + number * ROW
        lines.append(text(LABEL, y + 14, NAMES.get(client, client), ' text-anchor="end"'))
        for column, row in enumerate(rows[:-1]):
            colour = {"P": SURVIVED, "F": FAILED}.get(row[client][0], NO_SUCH_CALL)
            x = LABEL + 8 + column * field
            lines.append(f'<rect x="{x}" y="{y + 3}" width="{field - 2}" height="{ROW - 6}" fill="{colour}"/>')
        lines.append(text(LABEL + 14 + (len(rows) - 1) * field, y + 14, rows[-1][client].strip("*")))
    y = top + len(clients) * ROW + 16
    for x, colour, words in (
        (LABEL + 8, SURVIVED, "the right result, or an error and nothing left behind"),
        (LABEL + 365, FAILED, "wrong, lost, left behind, or no end"),
        (LABEL + 610, NO_SUCH_CALL, "no such call"),
    ):
        lines.append(f'<rect x="{x}" y="{y - 11}" width="12" height="12" fill="{colour}"/>')
        lines.append(text(x + 17, y, words))
    return svg(2 * PANEL + 60, y + 12, lines)


def svg(width: int, height: int, lines: list[str]) -> str:
    begin = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    return "\n".join(
        [
            f'{begin} font-family="sans-serif" font-size="13">',
            '<rect width="100%" height="100%" fill="white"/>',
            *lines,
            "</svg>",
            "",
        ]
    )


def drawn() -> dict[Path, str]:
    """Return every picture, by its path."""
    found = {name: picture(panels) for name, panels in PICTURES.items()}
    return {DOCS / "pictures" / f"{name}.svg": image for name, image in {**found, "scorecard": scorecard()}.items()}


if __name__ == "__main__":
    for path, image in drawn().items():
        path.write_text(image)
