"""Patterns match names with newlines as git matches them. Newlines are in names of files, and more often in keys."""

from __future__ import annotations

import itertools
import random
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

import aiodreamobjects as dream
from aiodreamobjects.testing import MemoryService, dreamobjects

__all__ = ["dreamobjects"]

STEMS = ["keep.db", "\nkeep.db", "keep.db\n", "ke\nep.db", "keep\n.db", "keep.\ndb", "\n\n", "x.txt", "x\n.txt"]
DIRECTORIES = ["", "p/", "p/x\ny/", "\n/", "x\n/", "\nx/", "p/\n/x/", "p\n/a\nb/"]
NAMES = sorted(directory + stem for directory, stem in itertools.product(DIRECTORIES, STEMS))
PATTERNS = [
    *("*.db", "*", "**", "keep*", "*keep.db", "keep?.db", "ke?ep.db", "?", "??", "keep.d[!x]", "keep[!a].db", "[!p]"),
    *("/keep.db", "p/*", "p/*/keep.db", "p/**/keep.db", "p/**", "**/keep.db", "x?y/", "x*/", "?/", "p/x?y/*.db", "p?/"),
    *("x.txt", "*.txt", "/*", "/*/", "*/", "*.db\n!ke*", "*\n!*/\n!*.db"),
]


def excluded_by_git(place: Path, pattern: str, names: Iterable[str]) -> set[str]:
    (place / "rules").write_text(f"{pattern}\n")
    told = "\0".join(names).encode() + b"\0"
    asked = ["git", "-c", f"core.excludesFile={place / 'rules'}", "check-ignore", "-z", "--stdin", "--no-index"]
    done = subprocess.run(asked, input=told, capture_output=True, cwd=place, check=False)
    assert done.returncode in (0, 1), done.stderr
    return set(done.stdout.decode().split("\0")[:-1])


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    place = tmp_path / "repository"
    subprocess.run(["git", "init", "-q", str(place)], check=True)
    return place


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    place = tmp_path / "tree"
    for name in NAMES:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(b"x")
    return place


def copied(report: dream.TreeReport) -> set[str]:
    return {action.name for action in report.plan or () if action.action == "copy"}


async def put_tree(bucket: dream.Bucket, names: Sequence[str]) -> None:
    for name in names:
        await bucket.object(f"tree/{name}").put(b"x")


async def test_names_with_newlines_are_left_out_as_git_leaves_them_out(
    dreamobjects: MemoryService, repository: Path, tree: Path
) -> None:
    """Names are those of a directory, where whole directories are not entered, and those of keys."""
    async with dreamobjects.session() as session:
        bucket = await session.create_bucket("bucket")
        await put_tree(bucket, NAMES)
        for pattern in PATTERNS:
            ignored = excluded_by_git(repository, pattern, NAMES)
            lines = pattern.split("\n")
            options: list[list[str]] = [lines, [f"{line}\n" for line in lines]]
            for exclude in options:
                up = await bucket.upload_tree(tree, "other", exclude=exclude, dry_run=True)
                down = await bucket.download_tree(tree, "tree", exclude=exclude, dry_run=True)
                assert copied(up) == copied(down) == set(NAMES) - ignored, pattern
            if "!" not in pattern:
                up = await bucket.upload_tree(tree, "other", include=lines, dry_run=True)
                down = await bucket.download_tree(tree, "tree", include=lines, dry_run=True)
                assert copied(up) == copied(down) == ignored, pattern
                assert up.unmatched == down.unmatched == (() if ignored else (pattern,))


async def test_generated_names_and_patterns_match_as_gits_do(dreamobjects: MemoryService, repository: Path) -> None:
    chance = random.Random(1)

    def word(letters: str, longest: int) -> str:
        return "".join(chance.choices(letters, k=chance.randint(1, longest)))

    names = sorted({"/".join(word("ab.\n", 4) for _ in range(chance.randint(1, 3))) for _ in range(300)})
    names = [name for name in names if not {".", ".."} & {*name.split("/")}]
    files = [name for name in names if not any(other.startswith(f"{name}/") for other in names)]
    async with dreamobjects.session() as session:
        bucket = await session.create_bucket("bucket")
        await put_tree(bucket, files)
        for _ in range(60):
            pattern = "/".join(word("ab.*?", 3) for _ in range(chance.randint(1, 2))) + chance.choice(["", "", "/"])
            if "**" in pattern:
                continue  # inside a word, its meaning differs from one version of git to the next
            report = await bucket.download_tree(repository / "new", "tree", exclude=[pattern], dry_run=True)
            assert copied(report) == {*files} - excluded_by_git(repository, pattern, files), pattern


async def test_what_a_pattern_keeps_is_not_deleted(dreamobjects: MemoryService, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_bytes(b"x")
    kept = ["p/x\ny/keep.db", "p/\nkeep.db", "x\n/keep.db"]
    async with dreamobjects.session() as session:
        bucket = await session.create_bucket("bucket")
        await put_tree(bucket, [*kept, "p/x\ny/old.html", "keep.db\n"])
        report = await bucket.upload_tree(tmp_path, "tree", exclude=["*.db"], delete=True)
        assert report.deleted == 2
        assert {info.key async for info in bucket.list()} == {"tree/index.html", *(f"tree/{name}" for name in kept)}


async def test_a_pattern_may_have_a_newline_in_it(dreamobjects: MemoryService, tmp_path: Path) -> None:
    async with dreamobjects.session() as session:
        bucket = await session.create_bucket("bucket")
        await put_tree(bucket, ["a\nb", "a\nb/c", "a b", "ab"])
        report = await bucket.download_tree(
            tmp_path, "tree", include=["a\nb", "x\ny"], dry_run=True, on_error="collect"
        )
        assert copied(report) == {"a\nb"}
        assert report.excluded == 2
        assert report.unmatched == ("x\ny",)
