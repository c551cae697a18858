"""The page of the command, and the help, say what the commands take."""

from __future__ import annotations

import re

import click
import pytest
from cli.reference import PAGE, page

from aiodreamobjects.cli.main import COMMANDS, program
from aiodreamobjects.cli.options import Command


def test_the_reference_in_the_docs_is_that_of_the_commands() -> None:
    assert page() == PAGE.read_text(), "run: PYTHONPATH=.:tests python tests/cli/reference.py"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_with_examples_that_parse(name: str) -> None:
    context = click.Context(program, info_name="dreamobjects")
    found = program.get_command(context, name)
    assert isinstance(found, Command)
    assert found.help
    assert f"dreamobjects {name}" in found.examples
    for option in found.params:
        assert not isinstance(option, click.Option) or option.hidden or option.help, option.name
        assert not re.search("secret|password", option.name or ""), "a secret is no argument"
