"""Options that several commands have."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar, cast

import click

import aiodreamobjects as dream
from aiodreamobjects.cli.errors import RefusedError
from aiodreamobjects.cli.values import LINES, PAIR, SIZE

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from aiodreamobjects.cli.app import App

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Coroutine[Any, Any, None]])

ACLS = (
    "private",
    "public-read",
    "public-read-write",
    "authenticated-read",
    "aws-exec-read",
    "bucket-owner-read",
    "bucket-owner-full-control",
)
"""The canned ACLs, written here again so that --help and completion need not import the library. A test compares them."""
CHECKSUMS = ("crc32c", "crc64nvme", "sha256")
SYMLINKS = ("follow", "skip", "refuse")


# Before and after the command


def _keep(context: click.Context, option: click.Parameter, value: object) -> None:
    """Hand an option to the whole command, wherever it stands."""
    if value is not None and value is not False and value != 0 and option.name:
        app: App = context.obj
        is_count = option.name == "verbose" and isinstance(value, int)
        app.options[option.name] = app.verbosity + value if is_count else value  # type: ignore[operator]  # both are numbers


def _everywhere(*names: str, **settings: Any) -> click.Option:
    return click.Option(names, callback=_keep, expose_value=False, **settings)


def everywhere(*, hidden: bool) -> list[click.Parameter]:
    """Return the options that stand before or after the command."""
    positive = click.IntRange(min=1)
    return [
        _everywhere("--endpoint-url", metavar="URL", help="The service to use.", hidden=hidden),
        _everywhere(
            "--profile", metavar="NAME", help="A profile of ~/.aws/credentials and ~/.aws/config.", hidden=hidden
        ),
        _everywhere("--region", metavar="NAME", help="The region that requests are signed for.", hidden=hidden),
        _everywhere("--no-sign-request", is_flag=True, help="Use no keys: for public objects.", hidden=hidden),
        _everywhere("--ca", metavar="FILE", help="Certificates of a private authority to trust (PEM).", hidden=hidden),
        _everywhere("--json", "json", is_flag=True, help="Print one JSON object a line.", hidden=hidden),
        _everywhere("--dry-run", is_flag=True, help="Print what would be done, and change nothing.", hidden=hidden),
        _everywhere("--yes", "-y", is_flag=True, help="Answer yes to every question.", hidden=hidden),
        _everywhere("--quiet", "-q", is_flag=True, help="Print only results and errors.", hidden=hidden),
        _everywhere(
            "-v",
            "--verbose",
            "verbose",
            count=True,
            help="Say more about errors; -vv prints tracebacks.",
            hidden=hidden,
        ),
        _everywhere(
            "--concurrency", type=positive, metavar="N", help="Send at most N requests at once.", hidden=hidden
        ),
        _everywhere(
            "--bwlimit", type=SIZE, metavar="RATE", help="Bytes per second each way, such as 10M.", hidden=hidden
        ),
        _everywhere(
            "--rps",
            type=click.FloatRange(min=0, min_open=True),
            metavar="N",
            help="Start at most N requests per second.",
            hidden=hidden,
        ),
        _everywhere(
            "--retries",
            type=click.IntRange(min=0),
            metavar="N",
            help="Try a request again N times. 7 by default.",
            hidden=hidden,
            default=None,
        ),
        _everywhere("--no-progress", is_flag=True, help="Show no progress bar.", hidden=hidden),
    ]


def workers(function: F) -> F:
    """Add the options that spread the work over processes or a cluster."""
    processes = click.option(
        "--processes",
        type=click.IntRange(min=1),
        metavar="N",
        callback=_keep,
        expose_value=False,
        help="Do the work in N processes, for many objects.",
    )
    dask = click.option(
        "--dask",
        metavar="ADDRESS",
        callback=_keep,
        expose_value=False,
        help="Do the work on a Dask cluster, such as tcp://10.0.0.1:8786.",
    )
    return processes(dask(function))


class Address(click.ParamType[str]):
    """An address or another word. In a shell, it completes to files, buckets and keys."""

    name = "text"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:  # noqa: ARG002 - click's signature
        """Return the word as it is."""
        return str(value)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[Any]]:  # noqa: ARG002
        """Return what the word may become."""
        from aiodreamobjects.cli.completing import addresses  # noqa: PLC0415 - only a shell asks

        return addresses(ctx, incomplete)


class Command(click.Command):
    """A command that takes the options of all commands too, and whose help shows its examples as they are written."""

    def __init__(self, *given: Any, examples: str = "", **settings: Any) -> None:
        self.examples = examples
        super().__init__(*given, **settings)
        for param in self.params:
            if isinstance(param, click.Argument) and param.type is click.STRING:
                param.type = Address()
        self.params += everywhere(hidden=True)

    def invoke(self, ctx: click.Context) -> object:
        """Run the command, and note which one it is."""
        ctx.obj.name = self.name
        return super().invoke(ctx)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        """Write the examples, and where the other options are."""
        if self.examples:
            with formatter.section("Examples"):
                for line in self.examples.strip().splitlines():
                    formatter.write(f"{'':>{formatter.current_indent}}{line}\n")
        formatter.write_paragraph()
        formatter.write_text("Options of every command: dreamobjects --help")


def command(name: str, *, examples: str = "", **settings: Any) -> Callable[[Callable[..., Any]], Command]:
    """Make a function a command."""
    return click.command(name, cls=Command, examples=examples, **settings)


def pass_app(function: Callable[..., T]) -> Callable[..., T]:
    """Give the command its App."""
    return cast(Callable[..., T], click.pass_obj(function))


# What to take


class Filters(TypedDict):
    """The options of ``filters``."""

    include: tuple[str, ...]
    exclude: tuple[str, ...]
    include_from: tuple[tuple[str, ...], ...]
    exclude_from: tuple[tuple[str, ...], ...]


def filters(function: F) -> F:
    """Add ``--include`` and ``--exclude``, and their files."""
    for kind, verb in (("exclude", "Leave out"), ("include", "Take only")):
        function = click.option(
            f"--{kind}-from", type=LINES, metavar="FILE", multiple=True, help=f"Read --{kind} patterns from a file."
        )(function)
        function = click.option(
            f"--{kind}", metavar="PATTERN", multiple=True, help=f"{verb} names that match a pattern as in a .gitignore."
        )(function)
    return function


def patterns_of(options: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the patterns of ``include`` and ``exclude``, those of files last. Empty ones, as s5cmd takes them, match nothing."""
    both = []
    for kind in ("include", "exclude"):
        lines = [*options[kind], *(line for file in options[f"{kind}_from"] for line in file)]
        both.append(tuple(line for line in lines if line))
    return both[0], both[1]


def raw(function: F) -> F:
    """Add ``--raw``."""
    return click.option("--raw", is_flag=True, help="Take * ? and [ in addresses as they are.")(function)


def recursive(function: F) -> F:
    """Add ``-r``."""
    return click.option("-r", "--recursive", is_flag=True, help="Take everything below the directory or prefix.")(
        function
    )


def version_id(function: F) -> F:
    """Add ``--version-id``."""
    return click.option("--version-id", metavar="ID", help="Take this version.")(function)


# What to store


def headers(function: F) -> F:
    """Add the headers that are stored with an object."""
    for name, text in (
        ("storage-class", "The storage class."),
        ("content-language", "The Content-Language header."),
        ("content-encoding", "The Content-Encoding header."),
        ("content-disposition", "The Content-Disposition header, such as attachment."),
        ("cache-control", "The Cache-Control header, such as max-age=3600."),
        ("content-type", "The content type. Files get that of their name."),
    ):
        function = click.option(f"--{name}", metavar="VALUE", help=text)(function)
    return click.option(
        "--metadata", type=PAIR, multiple=True, metavar="K=V", help="Metadata to store; give it several times."
    )(function)


def writes(function: F) -> F:
    """Add the options of everything that stores objects."""
    for add in (
        click.option("--checksum", type=click.Choice(CHECKSUMS), help="Let the service check and keep this checksum."),
        click.option("--sse-c", metavar="FILE", help="A file with the 32 bytes of your own encryption key."),
        click.option("--resume", is_flag=True, help="Continue what an earlier run did not finish."),
        click.option("--if-absent", "-n", is_flag=True, help="Keep what exists already."),
        click.option("--acl", type=click.Choice(ACLS), help="The canned ACL."),
        headers,
    ):
        function = add(function)
    return function


HEADER_NAMES = (
    "content_type",
    "cache_control",
    "content_disposition",
    "content_encoding",
    "content_language",
    "storage_class",
)


def headers_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the header arguments that were given."""
    found: dict[str, Any] = {name: options[name] for name in HEADER_NAMES if options.get(name) is not None}
    if options.get("metadata"):
        found["metadata"] = dict(options["metadata"])
    return found


def key_of(path: str | None) -> dream.SseCustomer | None:
    """Read a customer's key: 32 bytes, or their base64."""
    if path is None:
        return None
    import base64  # noqa: PLC0415 - most commands need none
    import binascii  # noqa: PLC0415

    with open(path, "rb") as opened:  # noqa: PTH123 - pathlib takes 6 ms of every start
        data = opened.read()
    try:
        found = base64.b64decode(data, validate=False) if len(data.strip()) == 44 else data  # noqa: PLR2004 - 32 bytes in base64
        return dream.SseCustomer(found)
    except (ValueError, binascii.Error):
        msg = f"--sse-c {path}: must hold 32 bytes, or their base64: head -c 32 /dev/urandom > key"
        raise RefusedError(msg) from None
