"""Completion in a shell: commands and options by click, local files by the shell, buckets and keys by asking the service."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import BashComplete, CompletionItem, split_arg_string

if TYPE_CHECKING:
    from aiodreamobjects.cli.app import App

SCHEME = "s3://"
_PATIENCE_SECONDS = 4
_MOST = 200

# Bash splits words at colons, so click's script would hand over "s3", ":" and "//bucket". This one hands over the line.
# A directory gets no blank behind it.
_BASH = """\
%(complete_func)s() {
    local IFS=$'\\n' response completion type value
    response=$(env COMP_WORDS="${COMP_LINE:0:COMP_POINT}" COMP_CWORD=0 %(complete_var)s=bash_complete $1 2>/dev/null)
    for completion in $response; do
        IFS=',' read -r type value <<< "$completion"
        if [[ $type == file ]]; then
            compopt -o default
        elif [[ $type == plain ]]; then
            COMPREPLY+=("$value")
            [[ $value == */ ]] && compopt -o nospace
        fi
    done
    return 0
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""


class Bash(BashComplete):
    """Completion for bash, also of words with colons."""

    source_template = _BASH
    _before_colon = ""

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the cursor, and the one at it."""
        line = os.environ["COMP_WORDS"]
        words = split_arg_string(line)[1:]
        incomplete = words.pop() if words and not line[-1:].isspace() else ""
        self._before_colon = incomplete[: incomplete.rfind(":") + 1]
        return words, incomplete

    def format_completion(self, item: CompletionItem[Any]) -> str:
        """Return what replaces the word at the cursor: for bash, it begins behind its last colon."""
        return f"{item.type},{str(item.value).removeprefix(self._before_colon)}"


def addresses(context: click.Context, incomplete: str) -> list[CompletionItem[str]]:
    """Return the addresses that begin with this. Nothing if the service does not answer in time."""
    if not incomplete.startswith(SCHEME):
        found = [CompletionItem(SCHEME)] if incomplete and SCHEME.startswith(incomplete) else []
        return [*found, CompletionItem(incomplete, type="file")]
    import asyncio  # noqa: PLC0415 - only here

    try:
        return [CompletionItem(name) for name in asyncio.run(_names(context.obj, incomplete))]
    except Exception:  # noqa: BLE001 - a message would stand in the middle of the line that is being typed
        return []


async def _names(app: App, incomplete: str) -> list[str]:
    import asyncio  # noqa: PLC0415 - only here

    found: list[str] = []
    app.options = {**app.options, "retries": 0}
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            session = await app.session()
            bucket, slash, key = incomplete.removeprefix(SCHEME).partition("/")
            if not slash:
                return [f"{SCHEME}{one.name}/" async for one in session.buckets() if one.name.startswith(bucket)]
            async for item in session.bucket(bucket).list_dir(key, limit=_MOST):
                name = str(getattr(item, "key", None) or getattr(item, "prefix", ""))
                if name.isprintable():
                    found.append(f"{SCHEME}{bucket}/{name}")
    finally:
        await app.close()
    return found
