"""``config``: a profile in ``~/.aws``, and where each setting comes from."""

from __future__ import annotations

import configparser
import os
import sys
from pathlib import Path
from typing import Any

import click

from aiodreamobjects.cli.app import App
from aiodreamobjects.cli.errors import RefusedError
from aiodreamobjects.cli.options import command, pass_app

_DEFAULT_ENDPOINT = "https://s3.us-east-005.dream.io"


@command(
    "config",
    examples="""
dreamobjects config                    # asks for everything, and writes a profile
dreamobjects config set --profile work --endpoint-url https://s3.us-east-005.dream.io --access-key ID < secret.txt
dreamobjects config show               # where each setting comes from
""",
)
@click.argument("action", type=click.Choice(("show", "set")), default="set")
@click.option(
    "--access-key", metavar="ID", help="The ID of the key. Its secret is asked for, or read from standard input."
)
@pass_app
def config_command(app: App, action: str, access_key: str | None) -> None:
    """Write keys and endpoint to a profile of ~/.aws/credentials and ~/.aws/config, or show what is used."""
    app.settle()
    if action == "show":
        _show(app)
    else:
        _set(app, access_key)


# show


def found_settings(app: App) -> dict[str, tuple[str, str] | None]:
    """Return each setting: its value and where it comes from, or None. The secret key is among them: hide it."""
    profile, from_where = _first(
        ("--profile", app.options.get("profile")),
        *((name, os.environ.get(name)) for name in ("DREAMOBJECTS_PROFILE", "AWS_PROFILE", "AWS_DEFAULT_PROFILE")),
    ) or ("default", "the default")
    config, credentials = (
        _section(_config_file(), profile, is_config=True),
        _section(_credentials_file(), profile, is_config=False),
    )
    in_config, in_credentials = f"{_config_file()}", f"{_credentials_file()}"
    own = "" if app.options.get("profile") else "DREAMOBJECTS_"

    def variables(*names: str) -> list[tuple[str, str | None]]:
        found = [(f"{own}{names[0]}", os.environ.get(f"{own}{names[0]}"))] if own else []
        return found + [(name, os.environ.get(name)) for name in names[1:]]

    has_profile = bool(app.options.get("profile"))
    return {
        "profile": (profile, from_where),
        "endpoint": _first(
            ("--endpoint-url", app.options.get("endpoint_url")),
            ("DREAMOBJECTS_ENDPOINT_URL", os.environ.get("DREAMOBJECTS_ENDPOINT_URL")),
            ("AWS_ENDPOINT_URL_S3", os.environ.get("AWS_ENDPOINT_URL_S3")),
            ("AWS_ENDPOINT_URL", os.environ.get("AWS_ENDPOINT_URL")),
            (in_config, config.get("endpoint_url")),
            ("the default", _DEFAULT_ENDPOINT),
        ),
        "region": _first(
            ("--region", app.options.get("region")),
            ("DREAMOBJECTS_REGION", os.environ.get("DREAMOBJECTS_REGION")),
            ("AWS_DEFAULT_REGION", os.environ.get("AWS_DEFAULT_REGION")),
            (in_config, config.get("region")),
        ),
        "access key": _first(
            *([] if has_profile else variables("ACCESS_KEY_ID", "AWS_ACCESS_KEY_ID")),
            (in_credentials, credentials.get("aws_access_key_id")),
            (in_config, config.get("aws_access_key_id")),
        ),
        "secret key": _first(
            *([] if has_profile else variables("SECRET_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY")),
            (in_credentials, credentials.get("aws_secret_access_key")),
            (in_config, config.get("aws_secret_access_key")),
        ),
        "certificates": _first(
            ("--ca", app.options.get("ca")),
            ("AWS_CA_BUNDLE", os.environ.get("AWS_CA_BUNDLE")),
            (in_config, config.get("ca_bundle")),
            ("the default", "the system's"),
        ),
    }


def _show(app: App) -> None:
    for name, found in found_settings(app).items():
        value, where = found or ("not set", "")
        shown = "(hidden)" if name == "secret key" and found else value
        if app.out.is_json:
            app.out.record(
                "action",
                {
                    "action": "config",
                    "setting": name.replace(" ", "_"),
                    "value": shown if found else None,
                    "from": where or None,
                },
            )
        else:
            app.out.line(f"{name:<14} {shown:<40} {where}".rstrip())


def _first(*candidates: tuple[str, object]) -> tuple[str, str] | None:
    """Return the first value that is set, and where."""
    return next(((str(value), where) for where, value in candidates if value), None)


def _config_file() -> Path:
    return Path(os.environ.get("AWS_CONFIG_FILE") or "~/.aws/config").expanduser()


def _credentials_file() -> Path:
    return Path(os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials").expanduser()


def _section_name(profile: str, *, is_config: bool) -> str:
    return f"profile {profile}" if is_config and profile != "default" else profile


def _parser() -> configparser.RawConfigParser:
    return configparser.RawConfigParser(strict=False, default_section="\0")


def _section(file: Path, profile: str, *, is_config: bool) -> dict[str, str]:
    parser = _parser()
    try:
        parser.read_string(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, configparser.Error):
        return {}
    name = _section_name(profile, is_config=is_config)
    return dict(parser[name]) if parser.has_section(name) else {}


# set


def _set(app: App, access_key: str | None) -> None:
    is_asking = sys.stdin.isatty()
    options: dict[str, Any] = app.options

    def ask(what: str, given: str | None, default: str) -> str:
        if given or not is_asking:
            return given or default
        return str(click.prompt(what, default=default or None, err=True))

    if not is_asking and not access_key:
        msg = "config set: nobody can be asked here: give --access-key ID, and the secret on standard input"
        raise RefusedError(msg)
    profile = ask("Profile", options.get("profile"), "default")
    endpoint = ask("Endpoint", options.get("endpoint_url"), _DEFAULT_ENDPOINT)
    region = ask("Region (- for that of the endpoint)", options.get("region"), "-")
    key = ask("Access key", access_key, "")
    secret = (
        str(click.prompt("Secret key (not shown)", hide_input=True, err=True))
        if is_asking
        else sys.stdin.readline().strip()
    )
    for name, value in (
        ("profile", profile),
        ("endpoint", endpoint),
        ("region", region),
        ("access key", key),
        ("secret key", secret),
    ):
        if not value or not value.isprintable() or (name == "profile" and "]" in value):
            msg = f"config set: the {name} is empty, or has characters that no profile can have"
            raise RefusedError(msg)
    if app.is_dry:
        app.out.say(f"would write profile {profile} to {_credentials_file()} and {_config_file()}")
        return
    _write(
        _credentials_file(),
        _section_name(profile, is_config=False),
        {"aws_access_key_id": key, "aws_secret_access_key": secret},
    )
    _write(
        _config_file(),
        _section_name(profile, is_config=True),
        {"endpoint_url": endpoint, **({} if region == "-" else {"region": region})},
    )
    app.acted("config set", profile)


def _write(file: Path, section: str, values: dict[str, str]) -> None:
    """Set values in one section, keep every other line as it is, and replace the file in one step, for its owner only."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    header = f"[{section}]"
    if header not in (line.strip() for line in lines):
        lines += ["", header] if lines else [header]
    start = next(index for index, line in enumerate(lines) if line.strip() == header) + 1
    end = next((index for index in range(start, len(lines)) if lines[index].startswith("[")), len(lines))
    kept = [line for line in lines[start:end] if line[:1].isspace() or line.partition("=")[0].strip() not in values]
    made = [*lines[:start], *(f"{name} = {value}" for name, value in values.items()), *kept, *lines[end:]]
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    real = file.resolve()
    temporary = real.with_name(f".{real.name}.{os.getpid()}")
    try:
        with os.fdopen(
            os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8"
        ) as opened:
            opened.write("\n".join(made) + "\n")
        temporary.replace(real)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
