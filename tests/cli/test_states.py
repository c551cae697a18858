"""The states that the end-to-end tests of s5cmd (MIT) expect, on Ceph RGW and in memory. One process runs all commands of a service.

Of s5cmd's tests, these have another expectation here; docs/cli.md says so, too:

- ``TestRemove*Local*``, ``TestVariadicMultipleLocalFilesWithDirectory``, ``TestListLocal*``, ``TestListNestedLocalFolders``: ``rm`` and
  ``ls`` refuse local paths. The shell's own do that, and a lost ``s3://`` must not delete files.
- ``TestFlatten*`` and three more with ``--flatten``: two keys of the same last name would be one file.
- ``TestCopyS3PrefixToLocalMustReturnError``: ``cp s3://bucket/prefix/ dir`` takes the contents, as ``aws s3 cp --recursive``.
- ``TestCopyLocalDirectoryToS3WithPrefixWithSlash`` and others that copy ``dir``: needs ``-r`` or a slash, as in ``aws s3``.
- ``*OverrideIf*``, ``*DontOverrideIf*``, ``*Issue70``: ``cp`` has no ``-u`` and ``-s``: ``sync`` does that.
- ``TestSync*SourceOlder``: another time is a change, also an older one: a restored file must not stay behind.
- ``TestSyncS3toLocalWithWildcard`` with ``--delete``: refused, since what no wildcard matches would be deleted. ``--include`` keeps it.
- ``TestSync*ExitOnError``: the first error of a whole request always ends ``sync``; that of one name never does.
- ``TestSync*StorageClassChanging`` and ``*Glacier``: Ceph has no such classes; copies of archived objects fail one by one.
- ``TestDiskUsage*``: ``du`` counts what is below directories, too. ``TestDiskUsageByVersionIDAndAllVersions``: no ``du`` of versions.
- ``TestRemoveS3PrefixWithoutSlash`` is the same: a missing key is no error, and nothing below it is deleted.
- Exit statuses: 1 of s5cmd is 2 for bad usage, 3 for what is missing, 4 for access, 5 for a service out of reach.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cli.conftest import Place, files_below, write_files
from servers.shared import SharedServers

NESTED = {"testfile1.txt": "1", "readme.md": "2", "a/readme.md": "3", "a/b/hyphen-ated.gz": "4", "c/d/e/other.txt": "5"}
ODD = {"sub&@$/test+1.txt": "1", "sub:,?/test; =2.txt": "2", "sub///test 4.txt": "4", "ünï/中文 %41.txt": "5"}
GLOBBY = {"file*.txt": "star", "file*1.txt": "star1", "file1.txt": "one", "abc*/f": "x", "abcd/f": "y"}


def under(prefix: str, files: Mapping[str, str]) -> dict[str, str]:
    return {f"{prefix}{name}": content for name, content in files.items()}


@dataclass(frozen=True)
class Case:
    name: str
    command: str
    """``{b}`` is a bucket, ``{o}`` another one, ``{d}`` a directory."""
    objects: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    objects_after: Mapping[str, str] | None = None
    """None: as before."""
    files_after: Mapping[str, str] | None = None
    other: Mapping[str, str] = field(default_factory=dict)
    """What the other bucket holds afterwards."""
    other_before: Mapping[str, str] = field(default_factory=dict)


ONE = {"file1.txt": "content"}
CASES = [
    # cp, down
    Case("cp object to .", "cp s3://{b}/file1.txt {d}", ONE, files_after=ONE),
    Case("cp object to a name", "cp s3://{b}/file1.txt {d}/new.txt", ONE, files_after={"new.txt": "content"}),
    Case("cp object to dir/", "cp s3://{b}/file1.txt {d}/dir/", ONE, files_after={"dir/file1.txt": "content"}),
    Case("cp a/b/object to dir/", "cp s3://{b}/a/b/k {d}/dir/", {"a/b/k": "x"}, files_after={"dir/k": "x"}),
    Case("cp object over a file", "cp s3://{b}/file1.txt {d}", ONE, {"file1.txt": "old"}, files_after=ONE),
    Case("cp -n keeps a file", "cp -n s3://{b}/file1.txt {d}", ONE, {"file1.txt": "old"}, files_after={"file1.txt": "old"}),
    Case("cp object to *", "cp s3://{b}/file1.txt '{d}/*'", ONE),
    Case("cp * to dir", "cp 's3://{b}/*' {d}", NESTED, files_after=NESTED),
    Case("cp * to a new dir", "cp 's3://{b}/*' {d}/new", NESTED, files_after=under("new/", NESTED)),
    Case("cp */*.txt", "cp 's3://{b}/*/*.txt' {d}", NESTED, files_after={"c/d/e/other.txt": "5"}),
    Case("cp *.txt goes through directories", "cp 's3://{b}/*.txt' {d}", NESTED, files_after={"testfile1.txt": "1", "c/d/e/other.txt": "5"}),
    Case("cp a/*", "cp 's3://{b}/a/*' {d}", NESTED, files_after={"readme.md": "3", "b/hyphen-ated.gz": "4"}),
    Case("cp ? and []", "cp 's3://{b}/[ab]?' {d}", {"a1": "x", "b2": "y", "c3": "z", "a11": "w"}, files_after={"a1": "x", "b2": "y"}),
    Case("cp [ without ]", "cp 's3://{b}/a[b' {d}", {"a[b": "x", "ab": "y"}, files_after={"a[b": "x"}),
    Case("cp --exclude", "cp --exclude '*.txt' 's3://{b}/*' {d}", NESTED, files_after={k: v for k, v in NESTED.items() if not k.endswith(".txt")}),
    Case("cp --include", "cp --include '*.md' 's3://{b}/*' {d}", NESTED, files_after={"readme.md": "2", "a/readme.md": "3"}),
    Case("cp --include --exclude", "cp --include '*.txt' --exclude 'c*' 's3://{b}/*' {d}", NESTED, files_after={"testfile1.txt": "1"}),
    Case("cp *.txt --exclude", "cp --exclude 'test*' 's3://{b}/*.txt' {d}", NESTED, files_after={"c/d/e/other.txt": "5"}),
    Case("cp --raw object", "cp --raw 's3://{b}/file*.txt' {d}", GLOBBY, files_after={"file*.txt": "star"}),
    Case("cp prefix/ to dir", "cp s3://{b}/a/ {d}", NESTED, files_after={"readme.md": "3", "b/hyphen-ated.gz": "4"}),
    Case("cp -r prefix to dir", "cp -r s3://{b}/a {d}", NESTED, files_after={"readme.md": "3", "b/hyphen-ated.gz": "4"}),
    Case("cp --dry-run down", "cp --dry-run 's3://{b}/*' {d}", NESTED),
    Case("cp a missing object", "cp s3://{b}/none {d}/none", ONE),
    Case("cp a missing object keeps the file", "cp s3://{b}/none {d}/f", ONE, {"f": "old"}),
    Case("cp * that matches nothing", "cp 's3://{b}/none*' {d}", ONE),
    Case("cp a key that leads out", "cp 's3://{b}/*t' {d}/in/", {"../out": "x", "a/../../out": "y", "fit": "z"}, files_after={"in/fit": "z"}),
    # cp, up
    Case("cp file to bucket", "cp {d}/file1.txt s3://{b}", {}, ONE, ONE),
    Case("cp file to bucket/", "cp {d}/file1.txt s3://{b}/", {}, ONE, ONE),
    Case("cp file to prefix/", "cp {d}/file1.txt s3://{b}/p/", {}, ONE, under("p/", ONE)),
    Case("cp file to a key", "cp {d}/file1.txt s3://{b}/p", {}, ONE, {"p": "content"}),
    Case("cp file over an object", "cp {d}/file1.txt s3://{b}/", {"file1.txt": "old"}, ONE, ONE),
    Case("cp -n keeps an object", "cp -n {d}/file1.txt s3://{b}/", {"file1.txt": "old"}, ONE),
    Case("cp file to a//b", "cp {d}/file1.txt s3://{b}/a//b/", {}, ONE, {"a//b/file1.txt": "content"}),
    Case("cp dir/ to bucket", "cp {d}/ s3://{b}/", {}, NESTED, NESTED),
    Case("cp -r dir to bucket", "cp -r {d} s3://{b}", {}, NESTED, NESTED),
    Case("cp dir/ to prefix/", "cp {d}/ s3://{b}/p/", {}, NESTED, under("p/", NESTED)),
    Case("cp dir/ to prefix is refused", "cp {d}/ s3://{b}/p", {}, NESTED, {}),
    Case("cp dir without -r is refused", "cp {d} s3://{b}/p/", {}, NESTED, {}),
    Case("cp dir/* to prefix/", "cp '{d}/*' s3://{b}/p/", {}, NESTED, under("p/", NESTED)),
    Case("cp dir/* to prefix is refused", "cp '{d}/*' s3://{b}/p", {}, NESTED, {}),
    Case("cp dir/*.md", "cp '{d}/*.md' s3://{b}/", {}, NESTED, {"readme.md": "2"}),
    Case("cp dir/*/name", "cp '{d}/*/name.txt' s3://{b}/new/", {}, {"c1/name.txt": "1", "c2/name.txt": "2", "c2/no": "3"}, {"new/c1/name.txt": "1", "new/c2/name.txt": "2"}),
    Case("cp dir --exclude", "cp --exclude '*.gz' {d}/ s3://{b}/p/", {}, NESTED, under("p/", {k: v for k, v in NESTED.items() if k[-3:] != ".gz"})),
    Case("cp --dry-run up", "cp --dry-run {d}/ s3://{b}/", {}, NESTED, {}),
    Case("cp --raw file", "cp --raw '{d}/file*.txt' s3://{b}/", {}, {"file*.txt": "x", "file1.txt": "y"}, {"file*.txt": "x"}),
    Case("cp a missing file", "cp {d}/none s3://{b}/", {}, ONE, {}),
    Case("cp two files", "cp {d}/a {d}/b s3://{b}/p/", {}, {"a": "1", "b": "2"}, {"p/a": "1", "p/b": "2"}),
    Case("cp two files and a missing one", "cp {d}/a {d}/none {d}/b s3://{b}", {}, {"a": "1", "b": "2"}, {"a": "1", "b": "2"}),
    Case("cp two files to a key is refused", "cp {d}/a {d}/b s3://{b}/p", {}, {"a": "1", "b": "2"}, {}),
    Case("cp file to file is refused", "cp {d}/a {d}/b", {}, {"a": "1"}),
    # cp, across
    Case("cp object to object", "cp s3://{b}/file1.txt s3://{b}/copy", ONE, {}, {**ONE, "copy": "content"}),
    Case("cp object to bucket", "cp s3://{b}/file1.txt s3://{o}", ONE, other=ONE),
    Case("cp object to prefix/", "cp s3://{b}/file1.txt s3://{o}/p/", ONE, other=under("p/", ONE)),
    Case("cp odd keys across", "cp 's3://{b}/*' s3://{o}/", ODD, other=ODD),
    Case("cp * to prefix/ of the same", "cp 's3://{b}/t*' s3://{b}/dst/", {"t1": "1", "t2": "2"}, {}, {"t1": "1", "t2": "2", "dst/t1": "1", "dst/t2": "2"}),
    Case("cp * to prefix is refused", "cp 's3://{b}/*' s3://{o}/p", NESTED),
    Case("cp --raw prefix across", "cp --raw 's3://{b}/abc*/f' s3://{o}/", GLOBBY, other={"f": "x"}),
    Case("cp across --exclude", "cp --exclude '*.txt' 's3://{b}/*' s3://{o}/p/", NESTED, other=under("p/", {k: v for k, v in NESTED.items() if not k.endswith(".txt")})),
    Case("cp across -n", "cp -n s3://{b}/file1.txt s3://{o}/", ONE, other={"file1.txt": "old"}, other_before={"file1.txt": "old"}),
    # mv
    Case("mv object to .", "mv s3://{b}/file1.txt {d}", ONE, {}, {}, ONE),
    Case("mv * to dir", "mv 's3://{b}/*' {d}", NESTED, {}, {}, NESTED),
    Case("mv file to bucket", "mv {d}/file1.txt s3://{b}/", {}, ONE, ONE, {}),
    Case("mv dir/* to bucket", "mv '{d}/*' s3://{b}/", {}, NESTED, NESTED, {}),
    Case("mv -r dir to bucket", "mv -r {d} s3://{b}/p/", {}, NESTED, under("p/", NESTED), {}),
    Case("mv object to object", "mv s3://{b}/file1.txt s3://{b}/dst/f", ONE, {}, {"dst/f": "content"}),
    Case("mv object to bucket", "mv s3://{b}/file1.txt s3://{o}/", ONE, {}, {}, other=ONE),
    Case("mv * to prefix/", "mv 's3://{b}/*' s3://{o}/dst/", NESTED, {}, {}, other=under("dst/", NESTED)),
    Case("mv --dry-run", "mv --dry-run 's3://{b}/*' s3://{o}/dst/", NESTED),
    Case("mv --raw", "mv --raw '{d}/a*.txt' s3://{b}/", {}, {"a*.txt": "1", "ab.txt": "2"}, {"a*.txt": "1"}, {"ab.txt": "2"}),
    Case("mv a missing object", "mv s3://{b}/none s3://{b}/x", ONE),
    # sync
    Case("sync dir/ to bucket", "sync {d}/ s3://{b}/", {}, NESTED, NESTED),
    Case("sync dir to bucket", "sync {d} s3://{b}", {}, NESTED, NESTED),
    Case("sync * to dir/", "sync 's3://{b}/*' {d}/", NESTED, files_after=NESTED),
    Case("sync bucket to dir", "sync s3://{b} {d}", NESTED, files_after=NESTED),
    Case("sync * to prefix/", "sync 's3://{b}/*' s3://{o}/p/", NESTED, other=under("p/", NESTED)),
    Case("sync file to bucket", "sync {d}/file1.txt s3://{b}", {}, ONE, ONE),
    Case("sync file to prefix/", "sync {d}/file1.txt s3://{b}/p/", {}, ONE, under("p/", ONE)),
    Case("sync object to .", "sync s3://{b}/file1.txt {d}", ONE, files_after=ONE),
    Case("sync prefix/object to dir/", "sync s3://{b}/p/k {d}/x/", {"p/k": "x"}, files_after={"x/k": "x"}),
    Case("sync --raw file", "sync --raw '{d}/file*.txt' s3://{b}/p/", {}, {"file*.txt": "1", "file1.txt": "2"}, {"p/file*.txt": "1"}),
    Case("sync dir/*/name", "sync '{d}/parent/*/name.txt' s3://{b}/new/", {}, {"parent/c1/name.txt": "1", "parent/c2/name.txt": "2"}, {"new/c1/name.txt": "1", "new/c2/name.txt": "2"}),
    Case("sync changed sizes", "sync {d} s3://{b}", {"a": "old, longer", "b": "bb"}, {"a": "new", "c": "c"}, {"a": "new", "b": "bb", "c": "c"}),
    Case("sync --compare size", "sync --compare size {d} s3://{b}", {"a": "old", "b": "bbbb"}, {"a": "new", "b": "b"}, {"a": "old", "b": "b"}),
    Case("sync --compare etag", "sync --compare etag {d} s3://{b}", {"a": "old"}, {"a": "new"}, {"a": "new"}),
    Case("sync --delete up", "sync --yes --delete {d} s3://{b}", {"a": "1", "gone": "2", "x/gone": "3"}, {"a": "1"}, {"a": "1"}),
    Case("sync --delete down", "sync --yes --delete 's3://{b}/*' {d}", {"a": "1"}, {"a": "1", "gone": "2", "x/y": "3"}, files_after={"a": "1"}),
    Case("sync --delete across", "sync --yes --delete 's3://{b}/*' s3://{o}/", {"a": "1"}, other={"a": "1"}, other_before={"b": "2", "c/d": "3"}),
    Case("sync --delete of most is refused", "sync --delete {d} s3://{b}", {"a": "1", "b": "2", "c": "3"}, {"a": "1"}),
    Case("sync --delete of few is not asked", "sync --delete --compare size {d} s3://{b}", {"a": "1", "b": "2", "c": "3"}, {"a": "1", "b": "2"}, {"a": "1", "b": "2"}),
    Case("sync --max-delete", "sync --yes --delete --max-delete 1 {d} s3://{b}", {"a": "1", "b": "2", "c": "3"}, {"a": "1"}),
    Case("sync --delete from nothing is refused", "sync --delete {d}/ s3://{b}", {"a": "1"}, {}),
    Case("sync --dry-run --delete", "sync --dry-run --delete {d} s3://{b}", {"a": "1", "b": "2"}, {"c": "3"}),
    Case("sync *.txt", "sync 's3://{b}/*.txt' {d}", NESTED, files_after={"testfile1.txt": "1", "c/d/e/other.txt": "5"}),
    Case("sync --exclude", "sync --exclude '*.gz' {d}/ s3://{b}/", {}, NESTED, {k: v for k, v in NESTED.items() if k[-3:] != ".gz"}),
    Case("sync file to file is refused", "sync {d}/a {d}/b", {}, {"a/x": "1", "b/y": "2"}),
    Case("sync to a missing bucket", "sync {d} s3://no-such-bucket-here", {}, ONE),
    # rm
    Case("rm object", "rm s3://{b}/a", {"a": "1", "ab": "2"}, {}, {"ab": "2"}),
    Case("rm *", "rm 's3://{b}/*'", NESTED, {}, {}),
    Case("rm two", "rm s3://{b}/a s3://{b}/b", {"a": "1", "b": "2", "c": "3"}, {}, {"c": "3"}),
    Case("rm prefix/* and object", "rm 's3://{b}/p/*' s3://{b}/a", {"a": "1", "p/a": "2", "p/b/c": "3", "pa": "4"}, {}, {"pa": "4"}),
    Case("rm prefix without slash", "rm s3://{b}/a", NESTED),
    Case("rm prefix/ is refused", "rm s3://{b}/a/", {"a/": "", "a/1": "x"}),
    Case("rm --raw of a key that ends in a slash", "rm --raw s3://{b}/a/", {"a/": "", "a/1": "x"}, {}, {"a/1": "x"}),
    Case("rm -r prefix", "rm -r s3://{b}/a", {"a/1": "x", "a/b/2": "y", "ab": "z"}, {}, {"ab": "z"}),
    Case("rm --dry-run", "rm --dry-run 's3://{b}/*'", NESTED),
    Case("rm --raw", "rm --raw 's3://{b}/file*.txt'", GLOBBY, {}, {k: v for k, v in GLOBBY.items() if k != "file*.txt"}),
    Case("rm --raw prefix", "rm --raw 's3://{b}/abc*'", GLOBBY),
    Case("rm --exclude", "rm --exclude '*.txt' --exclude '*.gz' 's3://{b}/*'", NESTED, {}, {k: v for k, v in NESTED.items() if k[-4:] == ".txt" or k[-3:] == ".gz"}),
    Case("rm --exclude ''", "rm --exclude '' 's3://{b}/*'", NESTED, {}, {}),
    Case("rm --include", "rm --include '*.md' 's3://{b}/*'", NESTED, {}, {k: v for k, v in NESTED.items() if k[-3:] != ".md"}),
    Case("rm -r of a bucket is refused", "rm -r s3://{b}", NESTED),
    Case("rm -r --yes of a bucket", "rm -r --yes s3://{b}", NESTED, {}, {}),
    Case("rm of a bucket is refused", "rm s3://{b}", NESTED),
    Case("rm --older-than spares the new", "rm -r --older-than 1h s3://{b}/a", NESTED),
    Case("rm of a file is refused", "rm {d}/file1.txt", {}, ONE),
    Case("rm of a missing object", "rm s3://{b}/none", ONE),
    # odd names
    Case("cp odd names up", "cp -r {d} s3://{b}", {}, {"-leading": "1", "a\nb": "2", "%41": "3", "ü/ñ": "4", "..x": "5"}, {"-leading": "1", "a\nb": "2", "%41": "3", "ü/ñ": "4", "..x": "5"}),
    Case("cp odd keys down", "cp -r s3://{b}/ {d}", {"-leading": "1", "%41": "3", "ü/ñ": "4", "a b+c": "5"}, files_after={"-leading": "1", "%41": "3", "ü/ñ": "4", "a b+c": "5"}),
    Case("rm odd keys", "rm -r s3://{b}/p/", {"p/-l": "1", "p/%41": "2", "p/a+b c": "3", "p/ü": "4", "q": "5"}, {}, {"q": "5"}),
    Case("special characters in a line", 'cp "s3://{b}/special-chars_!@#$%^&_()_+{{[_%5Cäè| __;\'_,_._-中文 =/img.jpg" {d}/image.jpg', {"special-chars_!@#$%^&_()_+{[_%5Cäè| __;'_,_._-中文 =/img.jpg": "x"}, files_after={"image.jpg": "x"}),
    # More of s5cmd's: cp
    Case("cp //a///key to .", "cp s3://{b}//a/b///c////f {d}", {"/a/b///c////f": "x"}, files_after={"f": "x"}),
    Case("cp //a///key to a name", "cp s3://{b}//a/b///c////f {d}/g", {"/a/b///c////f": "x"}, files_after={"g": "x"}),
    Case("cp //a///key to dir/", "cp s3://{b}//a/b///c////f {d}/dir/", {"/a/b///c////f": "x"}, files_after={"dir/f": "x"}),
    *[Case(f"cp file to {p}", f"cp {{d}}/file1.txt 's3://{{b}}/{p}'", {}, ONE, under(p, ONE)) for p in ("/a/b/", "a/b//", "/a///b/", "a//b///", "a//b//c//d///", "bar/s3://")],
    Case("cp a directory with a backslash", "cp {d}/ s3://{b}/", {}, {"t\\est/f": "1", "r": "2"}, {"t\\est/f": "1", "r": "2"}),
    Case("cp c*/name", "cp '{d}/parent/c*/name.txt' s3://{b}/new/", {}, {"parent/c1/name.txt": "1", "parent/c2/name.txt": "2", "parent/d/name.txt": "3"}, {"new/c1/name.txt": "1", "new/c2/name.txt": "2"}),
    Case("cp c*1/name", "cp '{d}/parent/c*1/name.txt' s3://{b}/new/", {}, {"parent/c1/name.txt": "1", "parent/c2/name.txt": "2"}, {"new/c1/name.txt": "1"}),
    Case("cp a directory whose name has a star", "cp '{d}/abc*' s3://{b}/", {}, {"abc*/f1": "1", "abcd/f1": "2", "x": "3"}, {"abc*/f1": "1", "abcd/f1": "2"}),
    Case("cp --raw a directory is no tree", "cp --raw '{d}/a*/f*.txt' s3://{b}/a*/", {}, {"a*/f*.txt": "1", "a*/f1.txt": "2", "ab/f.txt": "3"}, {"a*/f*.txt": "1"}),
    Case("cp --raw file* across is missing", "cp --raw 's3://{b}/file*' s3://{o}", {"file1.txt": "1", "file*.txt": "2"}),
    Case("cp --raw to a bucket without slash", "cp --raw s3://{b}/a*/test.txt s3://{o}", {"a*/test.txt": "1", "ab/test.txt": "2"}, other={"test.txt": "1"}),
    Case("cp abc* --exclude", "cp --exclude '*.txt' 's3://{b}/abc*' {d}", {"abc.txt": "1", "abc.pdf": "2", "abcd/e.txt": "3", "abcd/e.py": "4", "x.pdf": "5"}, files_after={"abc.pdf": "2", "abcd/e.py": "4"}),
    Case("cp two --exclude down", "cp --exclude '*.py' --exclude 'file*' 's3://{b}/*' {d}", {"file1.txt": "1", "main.py": "2", "main.c": "3", "a/file2": "4"}, files_after={"main.c": "3"}),
    Case("cp two --exclude up", "cp -r --exclude '*.gz' --exclude '*.txt' {d} s3://{b}/", {}, NESTED, {k: v for k, v in NESTED.items() if k.endswith(".md")}),
    Case("cp dir/* --exclude", "cp --exclude '*.gz' '{d}/*' s3://{b}/", {}, NESTED, {k: v for k, v in NESTED.items() if k[-3:] != ".gz"}),
    Case("cp two --include two --exclude", "cp --exclude 'file*' --exclude 'vendor/' --include '*.py' --include '*.go' 's3://{b}/*' {d}", {"file1.py": "1", "vendor/a.go": "2", "app.go": "3", "docs/a.md": "4", "b.py": "5"}, files_after={"app.go": "3", "b.py": "5"}),
    Case("cp across two --exclude", "cp --exclude 'main*' --exclude '*.gz' 's3://{b}/*' s3://{o}", {"file.txt": "1", "main.py": "2", "main2.gz": "3", "a.gz": "4"}, other={"file.txt": "1"}),
    Case("cp across with a header", "cp --content-type video/avi 's3://{b}/*' s3://{o}/", NESTED, other=NESTED),
    Case("cp -n of a new file", "cp -n {d}/file1.txt s3://{b}", {}, ONE, ONE),
    Case("cp -n -r keeps some", "cp -n -r {d} s3://{b}", {"a": "old"}, {"a": "new", "b": "2"}, {"a": "old", "b": "2"}),
    Case("cp -n * keeps some files", "cp -n 's3://{b}/*' {d}", {"a": "new", "b": "2"}, {"a": "old"}, files_after={"a": "old", "b": "2"}),
    Case("cp bucket/ to a file is refused", "cp s3://{b}/ {d}/f", {"a": "1"}, {"f": "old"}),
    Case("cp to a missing bucket", "cp {d}/file1.txt s3://no-such-bucket-here/", {}, ONE),
    Case("cp of an object onto a directory marker", "cp 's3://{b}/*' {d}", {"dir/": "", "dir/a": "1"}, files_after={"dir/a": "1"}),
    # mv
    Case("mv of a key with # and a blank", "mv 's3://{b}/test #3 /bar.jpg' 's3://{b}/test #3/bar.jpg'", {"test #3 /bar.jpg": "1"}, {}, {"test #3/bar.jpg": "1"}),
    Case("mv -n keeps both", "mv -n s3://{b}/file1.txt s3://{o}/", ONE, other={"file1.txt": "old"}, other_before={"file1.txt": "old"}),
    Case("mv *.md down", "mv 's3://{b}/*.md' {d}", {"a.md": "1", "b.txt": "2"}, {}, {"b.txt": "2"}, {"a.md": "1"}),
    Case("mv -r --exclude", "mv -r --exclude '*.gz' s3://{b}/a s3://{o}/a", NESTED, {}, {k: v for k, v in NESTED.items() if k != "a/readme.md"}, other={"a/readme.md": "3"}),
    Case("mv to a missing bucket keeps all", "mv -r {d} s3://no-such-bucket-here", {}, NESTED),
    # sync
    Case("sync dir/*", "sync '{d}/*' s3://{b}/", {}, NESTED, NESTED),
    Case("sync dir/* --exclude", "sync --exclude '*.gz' '{d}/*' s3://{b}/", {}, NESTED, {k: v for k, v in NESTED.items() if k[-3:] != ".gz"}),
    Case("sync dir/file to bucket/prefix/", "sync {d}/in/file1.txt s3://{b}/p/", {}, under("in/", ONE), under("p/", ONE)),
    Case("sync across --exclude", "sync --exclude 'exclude*' --exclude '*.py' 's3://{b}/*' s3://{o}/p/", {"a": "1", "exclude1": "2", "b.py": "3"}, other={"p/a": "1", "p/old": "0"}, other_before={"p/old": "0"}),
    Case("sync across --include", "sync --include '*.py' --include 'docs/*' 's3://{b}/*' s3://{o}/p/", {"a": "1", "docs/x": "2", "b.py": "3"}, other={"p/docs/x": "2", "p/b.py": "3"}),
    Case("sync across --compare size --delete", "sync --yes --compare size --delete 's3://{b}/*' s3://{o}/", {"a": "11", "dir/m": "2", "r": "333"}, other={"a": "00", "dir/m": "2", "r": "333"}, other_before={"a": "00", "Makefile": "x", "dir/t": "y", "r": "3"}),
    Case("sync down --compare size", "sync --compare size 's3://{b}/*' {d}", {"a": "new", "b": "bb", "c/d": "1"}, {"a": "old", "b": "b"}, files_after={"a": "old", "b": "bb", "c/d": "1"}),
    Case("sync across of other sizes", "sync 's3://{b}/*' s3://{o}/", {"a": "long", "b": "1"}, other={"a": "long", "b": "1"}, other_before={"a": "s", "b": "22"}),
    Case("sync --delete to an empty place", "sync --delete {d} s3://{b}", {}, {"a": "1"}, {"a": "1"}),
    Case("sync --delete down to an empty place", "sync --delete 's3://{b}/*' {d}/new", {"a": "1"}, files_after={"new/a": "1"}),
    Case("sync --delete with *.txt is refused", "sync --delete 's3://{b}/*.txt' {d}", {"a.txt": "1"}, {"b.py": "2"}),
    Case("sync --delete --include keeps the others", "sync --yes --delete --include '*.txt' s3://{b} {d}", {"a.txt": "1"}, {"b.py": "2", "c.txt": "3"}, files_after={"a.txt": "1", "b.py": "2"}),
    Case("sync across to a missing bucket", "sync 's3://{b}/*' s3://no-such-bucket-here/", NESTED),
    Case("sync without a target", "sync s3://{b}", NESTED),
    Case("sync - is refused", "sync - s3://{b}/a", ONE),
    # rm
    Case("rm --include --exclude", "rm --include 'file*' --exclude '*.py' 's3://{b}/*'", {"file1.py": "1", "file.md": "2", "main.py": "3"}, {}, {"file1.py": "1", "main.py": "3"}),
    Case("rm two --include --exclude", "rm --exclude 'docs/' --include '*.md' --include '*.py' 's3://{b}/*'", {"docs/a.md": "1", "b.py": "2", "c.md": "3", "d": "4"}, {}, {"docs/a.md": "1", "d": "4"}),
    Case("rm --raw abc*/file", "rm --raw 's3://{b}/abc*/f'", GLOBBY, {}, {k: v for k, v in GLOBBY.items() if k != "abc*/f"}),
    Case("rm of a file and an object is refused", "rm {d}/file1.txt s3://{b}/file1.txt", ONE, ONE),
    Case("rm of a missing bucket", "rm s3://no-such-bucket-here/a", ONE),
]  # fmt: skip


Room = tuple[str, str, Path]
"""The bucket of a case, its other one, and its directory."""


def run_all(place: Place, top: Path) -> dict[str, Room]:
    """Prepare a room for each case, and run all commands in one process."""
    rooms, lines = {}, []
    for number, case in enumerate(CASES):
        bucket, directory = place.make_bucket(), top / str(number)
        has_other = "{o}" in case.command
        other = place.make_bucket() if has_other else bucket
        directory.mkdir()
        write_files(directory, case.files)
        place.put(bucket, case.objects)
        if has_other:
            place.put(other, case.other_before)
        rooms[case.name] = bucket, other, directory
        lines.append(case.command.format(b=bucket, o=other, d=directory))
    result = place("run", "-", "-j", "2", stdin="\n".join(lines).encode())
    assert result.status == 1, result.err  # many are refused
    return rooms


@pytest.fixture(scope="module")
def rooms(shared_place: Place, shared: SharedServers) -> dict[str, Room]:
    name = f"cli-states-{shared_place.server.name}"
    return shared.get(name, lambda home: nullcontext(run_all(shared_place, home)))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_is_there_after_a_command(case: Case, shared_place: Place, rooms: dict[str, Room]) -> None:
    place, (bucket, other, directory) = shared_place, rooms[case.name]
    assert place.objects(bucket) == (case.objects if case.objects_after is None else case.objects_after)
    assert files_below(directory) == (case.files if case.files_after is None else case.files_after)
    assert other == bucket or place.objects(other) == case.other
    outside = [path for path in directory.parent.iterdir() if not path.name.isdecimal()]
    assert not outside, "a file outside its directory"
