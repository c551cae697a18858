"""Patterns match names as git matches them; a directory in which they take nothing is not entered."""

from __future__ import annotations

import itertools
import os
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


LETTERS = [*"abAB0-. []!*?\\#:^~\n\t\r", "é", "ü", "\U0001f600", " "]
PIECES = [
    *("a", "b", "A", "-", "-", ".", " ", "  ", "]", "]", "[", "[", "!", "\\", "\\", "*", "*", "?", "é", "#", "/", "/", "0", ":", "^"),
    *("**", "/**/", "**/", "/**", "[!a]", "[^b]", "[a-b]", "[]a]", "[!]]", "[[:alpha:]]", "[[:space:]]", "[[:upper:]", "[[:no:]]", "[é]"),
]  # fmt: skip


class Generator:
    """Names, and patterns that are names with something else in them, so that many match."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)

    def word(self, pieces: Sequence[str], longest: int) -> str:
        return "".join(self._chance.choices(pieces, k=self._chance.randint(1, longest)))

    def names(self, count: int) -> list[str]:
        names = {"/".join(self.word(LETTERS, 3) for _ in range(self._chance.randint(1, 4))) for _ in range(count)}
        names = {name for name in names if not {".", ".."} & {*name.split("/")} and not name.startswith(":")}
        return sorted(name for name in names if not any(other.startswith(f"{name}/") for other in names))

    def pattern(self, names: Sequence[str]) -> str:
        chance = self._chance
        if chance.random() < 0.4:
            pattern = self.word(PIECES, chance.choice([2, 4, 7]))
        else:
            pattern = chance.choice(names).replace("\n", "?")
            for _ in range(chance.randint(0, 2)):
                at = chance.randrange(len(pattern) + 1)
                pattern = pattern[:at] + chance.choice(PIECES) + pattern[at + chance.randint(0, 2) :]
            pattern = chance.choice(["", "", "/"]) + pattern + chance.choice(["", "", "/", "/**", "  "])
        return chance.choice(["", "", "", "!"]) + pattern

    def patterns(self, names: Sequence[str]) -> list[str]:
        found = [self.pattern(names) for _ in range(self._chance.choice([1, 1, 2, 3, 4]))]
        return [one for one in found if one.removeprefix("!").strip(" ")]  # "!" alone is refused here


async def test_generated_names_and_patterns_match_as_gits_do(
    dreamobjects: MemoryService, repository: Path, tmp_path: Path
) -> None:
    generator, here, matching = Generator(1), tmp_path / "here", 0
    names = generator.names(150)
    for name in names:
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_bytes(b"x")
    async with dreamobjects.session() as session:
        bucket = await session.create_bucket("bucket")
        await put_tree(bucket, names)
        for _ in range(50):
            patterns = generator.patterns(names)
            ignored = excluded_by_git(repository, "\n".join(patterns), names)
            matching += bool(ignored)
            up = await bucket.upload_tree(here, "other", exclude=patterns, dry_run=True)
            down = await bucket.download_tree(tmp_path / "new", "tree", exclude=patterns, dry_run=True)
            assert copied(up) == copied(down) == {*names} - ignored, patterns
            if not any(pattern.startswith("!") for pattern in patterns):
                up = await bucket.upload_tree(here, "other", include=patterns, dry_run=True)
                down = await bucket.download_tree(tmp_path / "new", "tree", include=patterns, dry_run=True)
                assert copied(up) == copied(down) == ignored, patterns
    assert matching > 12


INCLUDES = {
    ("/site/",): {"site/a", "site/b/c"},
    ("site/b",): {"site/b/c"},
    ("site/*/c",): {"site/b/c"},
    ("site/**/c",): {"site/b/c"},
    ("/site/", "!/site/b/"): {"site/a"},
    ("/site/", "!b"): {"site/a"},
    ("!/site/", "/site/b/"): {"site/b/c"},
    ("/[r-t]?te/*",): {"site/a", "site/b/c"},
    ("/nothing/",): set[str](),
}


async def test_a_directory_in_which_nothing_is_taken_is_not_entered(
    dreamobjects: MemoryService, tmp_path: Path
) -> None:
    for name in ("site/a", "site/b/c", "other/d"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "lost+found").mkdir()
    os.mkfifo(tmp_path / "lost+found" / "pipe")
    (tmp_path / "lost+found").chmod(0)
    (tmp_path / "loop").mkdir()
    (tmp_path / "loop" / "up").symlink_to("..")
    (tmp_path / "itself").symlink_to("itself")
    async with dreamobjects.session() as session:
        bucket = await session.create_bucket("bucket")
        for include, expected in INCLUDES.items():
            report = await bucket.upload_tree(tmp_path, include=include, dry_run=True)
            assert copied(report) == expected, include
        report = await bucket.upload_tree(tmp_path, exclude=["/lost+found/", "loop", "itself", "!pipe"], dry_run=True)
        assert copied(report) == {"site/a", "site/b/c", "other/d"}
        assert report.excluded == 3
        with pytest.raises(dream.BulkError):  # a file of this name may be anywhere
            await bucket.upload_tree(tmp_path, include=["a"], dry_run=True)
    (tmp_path / "lost+found").chmod(0o700)


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
