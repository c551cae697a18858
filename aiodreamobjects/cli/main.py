"""The commands by name, and the process around one: signals, errors, exit status."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Coroutine, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from aiodreamobjects.cli.app import App
from aiodreamobjects.cli.errors import CLOSED_PIPE, OK, REFUSED, ClosedPipeError, RefusedError, sentence_of
from aiodreamobjects.cli.options import everywhere
from aiodreamobjects.cli.output import Output

if TYPE_CHECKING:
    import asyncio

NAME = "dreamobjects"
COMMANDS = {
    "ls": ("listing", "List buckets, or objects."),
    "cp": ("copying", "Copy files and objects, in any direction."),
    "mv": ("copying", "Move files and objects."),
    "sync": ("copying", "Make a directory or prefix like another one."),
    "rm": ("removing", "Delete objects, or versions of them."),
    "mb": ("removing", "Make a bucket."),
    "rb": ("removing", "Remove a bucket."),
    "cat": ("content", "Print objects."),
    "put": ("content", "Store standard input as an object."),
    "head": ("looking", "Show what is known about an object or a bucket."),
    "du": ("looking", "Count objects and bytes."),
    "tree": ("looking", "Draw what is below a prefix."),
    "find": ("looking", "Find objects by name, size or age."),
    "presign": ("links", "Make a link that works for a while."),
    "check": ("checking", "Compare two trees, and change nothing."),
    "versions": ("history", "List the versions of an object or prefix."),
    "restore": ("history", "Bring back a deleted object, or an old version."),
    "uploads": ("history", "List or abort uploads that never ended."),
    "headers": ("settings", "Change headers and metadata in place."),
    "acl": ("settings", "Who may do what with a bucket or an object."),
    "tags": ("settings", "Tags of a bucket or an object."),
    "cors": ("settings", "Which web pages may use a bucket."),
    "policy": ("settings", "The policy of a bucket."),
    "lifecycle": ("settings", "When objects expire."),
    "website": ("settings", "Serve a bucket as a website."),
    "versioning": ("settings", "Keep old versions: on or off."),
    "encryption": ("settings", "How a bucket encrypts new objects."),
    "lock": ("settings", "How long Object Lock protects new objects."),
    "retention": ("settings", "Until when Object Lock protects an object."),
    "run": ("running", "Run commands from a file, one a line."),
    "config": ("config", "Show settings, or write a profile."),
    "completion": ("shell", "Print the completion script for a shell."),
    "serve": ("shell", "Serve an S3 service in memory, for development."),
    "help": ("shell", "Explain a command, or addresses."),
    "version": ("shell", "Print the version."),
}
"""Each command, its module and what ``--help`` says. The modules are imported when their command runs."""
ALIASES = {"pipe": "put", "diff": "check"}


class Commands(click.Group):
    """All commands. None is imported to list them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Import one command."""
        name = ALIASES.get(cmd_name, cmd_name)
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"aiodreamobjects.cli.{COMMANDS[name][0]}")
        found: click.Command = getattr(module, f"{name}_command")
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command. Say which one was meant if it has a typing error."""
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            import difflib  # noqa: PLC0415 - only for a mistake

            near = difflib.get_close_matches(args[0], COMMANDS, 1)
            ctx.fail(f"no command {args[0]!r}{f': did you mean {near[0]}?' if near else ''}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        """Write the table of commands."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


def _version(context: click.Context, option: click.Parameter, value: bool) -> None:  # noqa: ARG001, FBT001 - click's signature
    if value and not context.resilient_parsing:
        import aiodreamobjects  # noqa: PLC0415

        click.echo(f"{NAME} {aiodreamobjects.__version__}")
        context.exit()


program = Commands(
    NAME,
    params=[
        *everywhere(hidden=False),
        click.Option(
            ["--version"], is_flag=True, expose_value=False, is_eager=True, callback=_version, help="Print the version."
        ),
    ],
    no_args_is_help=True,
    help="""Work with DreamObjects and every other S3 service.

    An address s3://bucket/key is remote, - is standard input or output, everything else is a local path. The options
    below stand before or after the command. 'dreamobjects help addresses' explains wildcards and directories.""",
    epilog="dreamobjects COMMAND --help has examples of each command.",
)


class StoppedError(BaseException):
    """A signal ended the command at once."""


class _Signals:
    """Cancel the command on the first signal, so that it cleans up. The second ends it at once."""

    def __init__(self, out: Output) -> None:
        self.status = 0
        self._out = out
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None

    def watch(self, loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any] | None) -> None:
        self._loop, self._task = loop, task
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)

    def _stop(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - signal's signature
        is_second, self.status = self.status != 0, self.status or 128 + number
        if is_second or self._out.is_writing or self._loop is None or self._task is None:
            raise StoppedError
        self._loop.call_soon_threadsafe(self._task.cancel)


def run_process(arguments: Sequence[str]) -> int:
    """Run one command; return the exit status of the process."""
    app = App(Output())
    try:
        status = _run(app, arguments)
        app.out.flush()
    except ClosedPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # so that nothing fails at the end of the process
        return CLOSED_PIPE
    return status


def _run(app: App, arguments: Sequence[str]) -> int:
    job = parse(app, arguments)
    if isinstance(job, int):
        return job
    import asyncio  # noqa: PLC0415 - --help, version and completion need none

    signals = _Signals(app.out)
    _pass_warnings_on(app)
    try:
        asyncio.run(_whole(app, job, signals))
    except (KeyboardInterrupt, StoppedError, asyncio.CancelledError):
        app.out.later = None
        return signals.status or 128 + signal.SIGINT
    return signals.status or app.status


def _pass_warnings_on(app: App) -> None:
    """Print the warnings of the library as what the command says itself; with -vv, what it only notes, too."""
    import logging  # noqa: PLC0415 - asyncio needs it, and --help needs neither

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            app.out.say(f"{NAME}: {record.getMessage()}")

    log = logging.getLogger("aiodreamobjects")
    log.addHandler(Handler())
    log.setLevel(logging.INFO if app.verbosity > 1 else logging.WARNING)
    log.propagate = False


def parse(app: App, arguments: Sequence[str]) -> Coroutine[Any, Any, None] | int:
    """Return the command to await, or the exit status if nothing is left to do."""
    if os.environ.get(f"_{NAME.upper()}_COMPLETE", "").startswith("bash"):
        from click.shell_completion import add_completion_class  # noqa: PLC0415 - only a shell asks

        from aiodreamobjects.cli.completing import Bash  # noqa: PLC0415

        add_completion_class(Bash)
    try:
        job = program.main(list(arguments), NAME, standalone_mode=False, obj=app)
    except click.exceptions.NoArgsIsHelpError as error:
        sys.stderr.write(f"{error.format_message()}\n")
        return REFUSED
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else NAME
        text = " ".join(error.format_message().split()).rstrip(".")
        if "--json" in arguments:  # it may stand behind the mistake
            app.options["json"] = True
        return _refuse(app, f"{path}: {text}{'' if text.endswith('?') else '.'} Try '{path} --help'.")
    except click.ClickException as error:
        return _refuse(app, error.format_message())
    except (RefusedError, OSError) as error:
        return _refuse(app, sentence_of(error))
    app.settle()
    if isinstance(job, int):
        return job
    return job if isinstance(job, Coroutine) else OK


def _refuse(app: App, text: str) -> int:
    app.settle()
    app.fail("", RefusedError(text.removeprefix(f"{NAME}: ").removeprefix(f"{NAME} ")))
    return REFUSED


async def _whole(app: App, job: Coroutine[Any, Any, None], signals: _Signals) -> None:
    import asyncio  # noqa: PLC0415

    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    signals.watch(loop, task)

    def flush() -> None:
        try:
            app.out.flush()
        except ClosedPipeError:
            signals.status = CLOSED_PIPE
            task.cancel()

    app.out.later = lambda _: loop.call_soon(flush)
    try:
        await carry_out(app, job)
    finally:
        await app.close()
        app.out.later = None
        app.out.flush()


async def carry_out(app: App, job: Coroutine[Any, Any, None]) -> None:
    """Await a command. Its error is printed, and kept for the exit status."""
    try:
        await job
    except ClosedPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, people get one line
        app.fail("", error)
        if app.out.is_json and not app.is_summarized:
            app.summarize(app.name)
