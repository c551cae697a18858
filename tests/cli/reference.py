"""The reference in ``docs/cli.md``, made from the commands. ``python tests/cli/reference.py`` writes it."""

from __future__ import annotations

from pathlib import Path

import click

from aiodreamobjects.cli.main import COMMANDS, program
from aiodreamobjects.cli.options import Command

PAGE = Path(__file__).parents[2] / "docs/cli.md"
BEGIN, END = "<!-- The reference is made by tests/cli/reference.py -->\n", "<!-- end of the reference -->"


def reference() -> str:
    """Return the sections of all commands."""
    context = click.Context(program, info_name="dreamobjects")
    parts = ["### Options of every command\n", *_options(program)]
    for name in COMMANDS:
        found = program.get_command(context, name)
        assert isinstance(found, Command)
        usage = " ".join(found.collect_usage_pieces(click.Context(found, context, name)))
        text = " ".join(str(found.help).split())
        parts += [f"### {name}\n", f"`dreamobjects {name} {usage}`".replace(" `", "`") + "\n", f"{text}\n"]
        parts += _options(found)
        parts += ["```sh", found.examples.strip(), "```\n"]
    return "\n".join(parts)


def _options(found: click.Command) -> list[str]:
    rows = []
    for one in found.params:
        if isinstance(one, click.Option) and not one.hidden and one.name != "help":
            names = ", ".join(f"`{name}`" for name in one.opts)
            choices = (
                ", ".join(f"`{choice}`" for choice in one.type.choices) if isinstance(one.type, click.Choice) else ""
            )
            value = choices or (f"`{one.metavar}`" if one.metavar else "")
            default = f" Default: `{one.default}`." if one.show_default else ""
            rows.append(f"| {names} | {value} | {str(one.help).replace('|', ' or ')}{default} |")
    return ["| Option | Value | |", "|---|---|---|", *rows, ""] if rows else []


def page() -> str:
    """Return the page with the reference as it must be."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    return f"{before}{BEGIN}\n{reference()}\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(page())
