"""Every check there is. `nox` runs those of a change; `nox --list` names them all."""

from __future__ import annotations

from pathlib import Path

import nox

PROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = nox.project.python_versions(PROJECT)
SERVERS = Path("tests", "servers")

nox.needs_version = ">=2025.5"
nox.options.sessions = ["lint", "types", "layers", "tests", "docs"]


def install(session: nox.Session, group: str, *packages: str) -> None:
    """A dependency group of pyproject.toml, and packages beside it."""
    session.install("-q", *nox.project.dependency_groups(PROJECT, group), *packages)


def run_tests(session: nox.Session) -> None:
    """The suite against the installed wheel, on a Ceph gateway that is installed first where that is possible."""
    session.run(SERVERS / "rgw", "install", external=True, success_codes=range(256))
    session.run("pytest", "-n3", "--dist=loadfile", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    install(session, "lint")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session
def types(session: nox.Session) -> None:
    install(session, "typing", ".")
    session.run("mypy")


@nox.session
def layers(session: nox.Session) -> None:
    """Who may import whom."""
    install(session, "lint", ".")
    session.run("lint-imports")


@nox.session
def tests(session: nox.Session) -> None:
    """The suite on this Python, with its coverage."""
    install(session, "tests", ".")
    run_tests(session)


@nox.session(python=PYTHONS)
def tests_all(session: nox.Session) -> None:
    """The suite on every Python that the classifiers name."""
    install(session, "tests", ".")
    run_tests(session)


@nox.session
def newest(session: nox.Session) -> None:
    """The suite with the newest aiobotocore and botocore, which aioboto3 does not admit yet."""
    install(session, "tests", ".")
    session.install("-q", "--upgrade", "aiobotocore", "boto3")
    run_tests(session)


@nox.session
def soak(session: nox.Session) -> None:
    """What takes an hour: kills by the hundred, ten minutes of load with faults, slow links, and many more examples."""
    install(session, "tests", ".")
    session.run(SERVERS / "rgw", "install", external=True, success_codes=range(256))
    files = ["test_killed.py", "test_load.py", "test_fuzz.py", "test_state_machine.py", "faults"]
    scale = {"SOAK": "600", "FUZZ_EXAMPLES": "5000", "STATE_MACHINE_SCALE": "20"}
    session.run("pytest", "--timeout=3600", *[f"tests/{file}" for file in files], *session.posargs, env=scale)


@nox.session
def audit(session: nox.Session) -> None:
    """Whether a hole is known in what the library depends on: asks PyPI."""
    session.install("-q", "pip-audit", ".")
    session.run("pip-audit", "--progress-spinner=off", "--skip-editable", *session.posargs)


@nox.session
def examples(session: nox.Session) -> None:
    """The examples alone."""
    install(session, "tests", ".")
    session.run("pytest", "tests/test_examples.py", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    install(session, "docs", ".")
    session.run("sphinx-build", "-W", "--keep-going", "-n", "-q", "-b", "html", "docs", "docs/_build")
