"""``completion``, ``serve``, ``help`` and ``version``: what needs no session."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from aiodreamobjects.cli.app import App
from aiodreamobjects.cli.options import command, pass_app

ADDRESSES = """\
Addresses

  s3://bucket/key   is remote, always. bucket/key is a local path.
  -                 is standard input, or standard output.
  anything else     is a local path.

Directories

  A source with -r, or with a slash at its end, stands for its contents:

    cp -r site s3://www            site/a.html becomes s3://www/a.html
    cp -r site s3://www/old        and here s3://www/old/a.html
    cp site/ s3://www/old/         the same
    cp -r s3://www/old back        s3://www/old/a.html becomes back/a.html

  A target that ends in a slash, or is a local directory, keeps the source's name:

    cp a.html s3://www/old/        becomes s3://www/old/a.html
    cp a.html s3://www/b.html      becomes s3://www/b.html
    cp s3://www/a.html .           becomes ./a.html

  Several sources need a target that is a directory. 'sync' always takes the contents of both.

Wildcards

  * ? and [abc] work in the keys of remote sources. Quote them, or your shell looks for local files. * matches
  slashes too, and ** is the same. A [ without ] is a character as all others. Names begin behind the last slash
  before the first wildcard:

    cp 's3://www/old/*.html' .     s3://www/old/sub/a.html becomes ./sub/a.html

  --raw takes all these characters as they are: the address is the exact key.

Patterns

  --include and --exclude take patterns as in a .gitignore. They match names relative to the source, in every
  directory below it unless they begin with a slash. --include-from and --exclude-from read them from a file.
"""


@command(
    "completion",
    examples="""
dreamobjects completion bash > ~/.local/share/bash-completion/completions/dreamobjects
dreamobjects completion zsh > ~/.zfunc/_dreamobjects
dreamobjects completion fish > ~/.config/fish/completions/dreamobjects.fish
""",
)
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
def completion_command(shell: str) -> None:
    """Print the completion script for a shell.

    It completes commands, options and files, and buckets and keys behind s3://. These come from the service, if it answers
    within four seconds.
    """
    from click.shell_completion import get_completion_class  # noqa: PLC0415 - only here

    from aiodreamobjects.cli.completing import Bash  # noqa: PLC0415
    from aiodreamobjects.cli.main import program  # noqa: PLC0415 - it imports this module

    maker = Bash if shell == "bash" else get_completion_class(shell)
    assert maker is not None
    made = maker(program, {}, "dreamobjects", "_DREAMOBJECTS_COMPLETE")
    click.echo(made.source_template % made.source_vars())


@command(
    "serve",
    examples="""
dreamobjects serve --port 9000
dreamobjects serve --data ~/s3        # keeps everything there until the next run
""",
)
@click.option("--port", type=click.IntRange(0, 65535), default=0, metavar="N", help="The port; a free one if left out.")
@click.option("--data", type=click.Path(path_type=Path), metavar="DIR", help="Keep everything in this directory.")
def serve_command(port: int, data: Path | None) -> int:
    """Serve an S3 service in memory on 127.0.0.1 until Ctrl-C. It prints its address and keys, then 'ready'."""
    import runpy  # noqa: PLC0415 - only here

    sys.argv = ["dreamobjects serve", "--port", str(port), *(["--data", str(data)] if data else [])]
    try:
        runpy.run_module("aiodreamobjects.testing", run_name="__main__")
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 1
    return 0


@command("help", examples="dreamobjects help addresses\ndreamobjects help cp")
@click.argument("topic", required=False)
@click.pass_context
def help_command(context: click.Context, topic: str | None) -> None:
    """Explain a command, or 'addresses'."""
    from aiodreamobjects.cli.main import program  # noqa: PLC0415 - it imports this module

    parent = context.parent
    assert parent is not None
    if topic is None:
        click.echo(program.get_help(parent))
    elif topic == "addresses":
        click.echo(ADDRESSES, nl=False)
    elif (found := program.get_command(parent, topic)) is not None:
        click.echo(found.get_help(click.Context(found, parent, topic)))
    else:
        context.fail(f"no help on {topic!r}: give a command, or addresses.")


@command(
    "version",
    examples="""
dreamobjects version
dreamobjects version --report        # what a bug report needs
""",
)
@click.option("--report", is_flag=True, help="Print what a bug report needs, without keys.")
@pass_app
def version_command(app: App, *, report: bool) -> None:
    """Print the version."""
    import aiodreamobjects  # noqa: PLC0415 - only here

    click.echo(f"dreamobjects {aiodreamobjects.__version__}")
    if report:
        from aiodreamobjects.cli.reporting import lines  # noqa: PLC0415

        for line in lines(app):
            click.echo(line)
