"""Every check there is. `nox` runs those of a change; `nox --list` names them all."""

from __future__ import annotations

import json
import os
import re
import shutil
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nox

PROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = nox.project.python_versions(PROJECT)
SERVERS = Path("tests", "servers")
TESTS_OF_DEPENDENCIES = [
    "contract",
    "http",
    "interrupted/test_cancellation.py",
    "interrupted/test_verbs.py",
    "sources/test_sources.py",
    "test_tree_plans.py",
]
"""Those that would notice a dependency that is too old."""

S3FS = "s3fs==2026.9.0"
"""The release whose tests ``tests/fsspec/s3fs_suite.py`` knows by name."""

nox.needs_version = ">=2025.5"
nox.options.sessions = ["lint", "types", "layers", "tests", "docs"]
nox.options.default_venv_backend = "uv|virtualenv"
os.environ.setdefault("UV_HTTP_TIMEOUT", "180")  # seconds: some indexes are slow


def install(session: nox.Session, group: str, *packages: str) -> None:
    """A dependency group of pyproject.toml, and packages beside it."""
    session.install("-q", *nox.project.dependency_groups(PROJECT, group), *packages)


def install_servers(session: nox.Session) -> None:
    """Ceph's gateway, OpenStack Swift and Redis, where that is possible. The other servers are in the group ``tests``."""
    for server in ("rgw", "debian"):
        session.run(SERVERS / server, "install", external=True, success_codes=range(256))


def run_tests(session: nox.Session) -> None:
    """The suite against the installed wheel."""
    install_servers(session)
    keep = {"PYTHONDONTWRITEBYTECODE": ""}
    if not session.posargs:  # one process compiles what it imports, and pytest's asserts: else each worker does so
        session.run("pytest", "--collect-only", "-qq", env=keep, silent=True)
    session.run("pytest", "-n3", "--dist=worksteal", *session.posargs, env=keep)  # on two cores: some of them wait


@nox.session
def lint(session: nox.Session) -> None:
    install(session, "lint")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session
def types(session: nox.Session) -> None:
    install(session, "typing", ".")
    session.run("mypy")
    session.run("mypy", "--platform=win32", "aiodreamobjects")  # what it names that only other systems have


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
def servers(session: nox.Session) -> None:
    """Each verb on services that share no code: Ceph, Backblaze B2's rules, rclone, localbucket, JuiceFS, OpenStack Swift."""
    install(session, "tests", ".")
    install_servers(session)
    session.run("pytest", "tests/contract/test_verbs.py", *session.posargs)


@nox.session
def ceph18(session: nox.Session) -> None:
    """What the suite tries on Ceph, on the Ceph 18.2 of Debian 13, in a chroot that only root can make."""
    root = str(Path(session.create_tmp(), "ceph18"))
    install(session, "tests", ".")
    session.run(SERVERS / "ceph18", "install", external=True, env={"CEPH18_ROOT": root})
    session.run("pytest", "tests/contract", "-k", "rgw", *session.posargs, env={"CEPH18_ROOT": root, "CEPH": "ceph18"})


@nox.session
def browser(session: nox.Session) -> None:
    """The page of the web service, and Uppy from npm, in headless Chromium. Makes the screenshots of docs/web.md."""
    install(session, "tests", ".")
    session.run(SERVERS / "rgw", "install", external=True, success_codes=range(256))
    debian = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium", "chromium-driver"]
    session.run(*debian, external=True, success_codes=range(256))
    home = Path(session.create_tmp())
    Path(home, "in.js").write_text(
        'export {default as Uppy} from "@uppy/core"; export {default as AwsS3} from "@uppy/aws-s3"'
    )
    packages = ["@uppy/core@6", "@uppy/aws-s3@6", "esbuild@0"]
    session.run("npm", "install", "--silent", "--no-audit", "--no-fund", f"--prefix={home}", *packages, external=True)
    bundle = str(home / "uppy.js")
    command = [home / "node_modules/.bin/esbuild", home / "in.js", "--bundle", "--format=esm", f"--outfile={bundle}"]
    session.run(*command, "--log-level=warning", external=True)
    env = {"UPPY": bundle, "SCREENSHOTS": "1"}
    session.run("pytest", "tests/web/test_browser.py", *session.posargs, env=env)


@nox.session(venv_backend="virtualenv")  # it calls pip itself
def data(session: nox.Session) -> None:
    """pandas, pyarrow, dask, zarr, duckdb and others on ``aiodreamobjects.fsspec``; s3fs's own tests, from its source archive."""
    install(session, "data", ".")
    session.run(SERVERS / "rgw", "install", external=True, success_codes=range(256))
    session.run("pytest", "tests/fsspec/test_round_trips.py", *session.posargs)
    session.run("pytest", "-n3", "tests/fsspec/test_abstract.py", "-k", "moto", env={"ON_MOTO": "1"})
    session.install("-q", "--no-deps", S3FS)  # its dependencies would replace the library's
    home = Path(session.create_tmp(), "s3fs")
    session.run("pip", "download", "-q", "--no-deps", "--no-binary=s3fs", f"--dest={home}", S3FS)
    tests = home / "test_s3fs.py"  # away from its package, so that the installed one is imported
    for path in home.glob("*.tar.gz"):  # with --install-only there is none
        with tarfile.open(path) as archive:
            archive.extractall(home, filter="data")
        next(home.glob("*/s3fs/tests/test_s3fs.py")).rename(tests)
    options = ["-c", "/dev/null", f"--rootdir={home}", "-p", "s3fs_suite", "-o", "asyncio_mode=auto", "--timeout=120"]
    session.run("pytest", *options, "-q", str(tests), env={"PYTHONPATH": str(Path("tests", "fsspec").absolute())})


@nox.session
def lowest(session: nox.Session) -> None:
    """What leans on dependencies, with the oldest ones that pyproject.toml admits. Without Ceph."""
    session.install("-q", "uv")
    session.run("uv", "pip", "install", "-q", "--resolution=lowest-direct", "--group=tests", ".[server,uvloop]")
    tests = [f"tests/{name}" for name in TESTS_OF_DEPENDENCIES]
    session.run("pytest", "-n3", "--dist=worksteal", "-k", NO_CEPH, *tests, *session.posargs)


@nox.session
def soak(session: nox.Session) -> None:
    """What takes an hour: kills by the hundred, ten minutes of load with faults, slow links, and many more examples."""
    install(session, "tests", ".")
    session.run(SERVERS / "rgw", "install", external=True, success_codes=range(256))
    files = [
        "interrupted/test_killed.py",
        "test_load.py",
        "test_fuzz.py",
        "test_state_machine.py",
        "faults",
        "web/test_response.py",
        "sources/test_sources.py",
        "test_parallel_listing.py",
        "test_tree_names.py",
        "test_tree_plans.py",
        "test_xml.py",
    ]
    scale = {"SOAK": "600", "FUZZ_EXAMPLES": "5000", "STATE_MACHINE_SCALE": "20"}
    session.run("pytest", "--timeout=3600", *[f"tests/{file}" for file in files], *session.posargs, env=scale)


@nox.session
def audit(session: nox.Session) -> None:
    """Whether a hole is known in what the library depends on: asks PyPI, and OSV where PyPI tells nothing.

    Where neither can be asked, it says so, and passes.
    """
    session.install("-q", "pip-audit", ".")
    told = known_holes(session, "pypi") or known_holes(session, "osv")
    if not told:
        session.warn("AUDIT: COULD NOT LOOK, neither PyPI nor OSV can be asked from here. NOTHING WAS CHECKED.")
        return
    holes = [f"{package}: {hole}" for package, its_holes in told.items() for hole in its_holes]
    if holes:
        session.error("AUDIT: known holes:\n" + "\n".join(holes))
    session.log(f"AUDIT: no hole is known in {len(told)} packages.")


def known_holes(session: nox.Session, service: str) -> Mapping[str, list[str]]:
    """By the packages that the service tells of; empty where it cannot be asked, or knows none of them."""
    found = Path(session.create_tmp(), "audit.json")
    found.unlink(missing_ok=True)
    options = ["--progress-spinner=off", "--skip-editable", "--desc=off", "--format=json", f"--output={found}"]
    command = ["pip-audit", "--vulnerability-service", service, *options, *session.posargs]
    session.run(*command, silent=True, success_codes=range(256))
    packages: list[dict[str, Any]] = json.loads(found.read_text())["dependencies"] if found.exists() else []
    return {
        f"{one['name']} {one['version']}": [
            f"{hole['id']}, mended in {', '.join(hole['fix_versions']) or 'no version'}" for hole in one["vulns"]
        ]
        for one in packages
        if "vulns" in one
    }


PORTABLE = [
    "contract",
    "resume/test_downloads.py",
    "resume/test_uploads.py",
    "security/test_destinations.py",
    "test_tree_kinds.py",
    "test_tree_leftovers.py",
    "test_tree_names.py",
    "test_tree_plans.py",
    "test_tree_times.py",
]
"""Verbs, trees, and where downloads are written."""


NO_CEPH = "not rgw and not b2 and not swift"
PURE = f"{NO_CEPH} and not test_verbs"
"""The servers that are pure Python. ``contract/test_verbs.py`` is about programs that the group ``portable`` lacks."""
NOT_LACKING = ("mode_that_they_had", "seconds", "another_process_holds", "the_same_place_at_once")
"""What other systems do not guarantee: docs/platforms.md."""


def run_portable(session: nox.Session, chosen: str, *options: str, **env: str) -> None:
    files = [f"tests/{name}" for name in PORTABLE]
    session.run("pytest", "-n2", "--dist=worksteal", "-k", chosen, *options, *files, *session.posargs, env=env)


@nox.session
def portable(session: nox.Session) -> None:
    """What must pass on Linux, macOS and Windows, with the Python that runs nox."""
    install(session, "portable", ".")
    run_portable(session, PURE)


@nox.session
def lacking(session: nox.Session) -> None:
    """The same without what only Linux has: tests/lacking.py takes it from Python before the library is imported."""
    install(session, "tests", ".")
    run_portable(session, " and not ".join((NO_CEPH, *NOT_LACKING)), "-p", "lacking", PYTHONPATH="tests")


USE = """
import asyncio
from aiodreamobjects.testing import MemoryService

async def main():
    async with MemoryService().session() as session:
        bucket = await session.create_bucket("my-new-bucket")
        await bucket.object("hello.txt").put("Hello World!")
        assert await bucket.object("hello.txt").read_text() == "Hello World!"

asyncio.run(main())
"""
"""What works with the package and its dependencies alone."""


def build(session: nox.Session, dist: Path) -> Path:
    """Build the archives, and the wheel from the source archive. Check them, and use the wheel where nothing else is."""
    install(session, "release")
    session.run("python", "-m", "build", "--outdir", str(dist), silent=True)
    wheel = next(dist.glob("*.whl"))
    session.run("twine", "check", "--strict", *map(str, dist.iterdir()))
    session.run("check-wheel-contents", str(wheel))
    session.run("python", "-m", "venv", "--clear", str(dist / "venv"))
    scripts = dist / "venv" / ("Scripts" if os.name == "nt" else "bin")
    with session.chdir(dist):  # away from the checkout, which Python would import
        session.run(scripts / "pip", "install", "-q", str(wheel.absolute()), external=True)
        session.run(scripts / "python", "-W", "error", "-c", USE, external=True)
        session.run(scripts / "pip", "install", "-q", f"{wheel.absolute()}[cli]", external=True)
        session.run(scripts / "dreamobjects", "version", "--report", external=True)
    shutil.rmtree(dist / "venv")
    return wheel


@nox.session
def package(session: nox.Session) -> None:
    """The source archive and the wheel: built, checked, and used in a venv that has nothing else."""
    dist = Path(session.create_tmp(), "dist").absolute()
    shutil.rmtree(dist, ignore_errors=True)
    build(session, dist)


@nox.session
def release(session: nox.Session) -> None:
    """Build and check what is released, tag it, and say what is to be done then. Uploads nothing."""
    if session.run("git", "status", "--porcelain", external=True, silent=True):
        session.error("commit or remove what `git status` shows, and try again")
    changelog = Path("CHANGELOG.md").read_text()
    if re.search(r"^## \[Unreleased\]\s+(?!## )\S", changelog, re.MULTILINE):
        session.error(
            "CHANGELOG.md has changes under 'Unreleased': put them under the version that you release, and try again"
        )
    dist = Path("dist").absolute()
    shutil.rmtree(dist, ignore_errors=True)
    version = build(session, dist).name.split("-")[1]
    heading = re.search(
        rf"^## \[{re.escape(version)}\] - [0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}$",
        changelog,
        re.MULTILINE,
    )
    if not heading or f"\n[{version}]: " not in changelog:
        session.error(f"CHANGELOG.md needs the heading '## [{version}] - DATE', and a link for it at its end")
    session.run("git", "tag", "-a", f"v{version}", "-m", f"aiodreamobjects {version}", external=True)
    session.log(f"""v{version} is tagged here, and its archives are in dist/. Now:
    git push origin main v{version}
    twine upload dist/*
To take the tag back: git tag -d v{version}""")


@nox.session
def instructions(session: nox.Session) -> None:
    """Whether a small operation takes over 3 % more machine instructions than is recorded for this Python."""
    install(session, "tests", ".")
    debian = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "valgrind"]
    session.run(*debian, external=True, success_codes=range(256))
    session.run("python", "-m", "benchmarks.instructions", *session.posargs)


@nox.session
def examples(session: nox.Session) -> None:
    """The examples alone."""
    install(session, "tests", ".")
    session.run("pytest", "tests/test_examples.py", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    install(session, "docs", ".")
    session.run("sphinx-build", "-W", "--keep-going", "-n", "-q", "-b", "html", "docs", "docs/_build")
    what_was_read = ["-d", "docs/_build/.doctrees"]
    session.run("sphinx-build", "-q", *what_was_read, "-b", "man", "docs", "docs/_build/man")  # of the command
