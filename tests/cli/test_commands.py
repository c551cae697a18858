"""Each command as people run it, and what programs read from ``--json``."""

from __future__ import annotations

import json
import socket
import urllib.request
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from cli.conftest import Place, files_below, write_files


def by_line(cli: Place, *lines: str, cwd: Path | None = None) -> list[dict[str, Any]]:
    """Run lines in one process, in order; return all records but the last summary."""
    result = cli("run", "-", "-j", "1", "--json", stdin="\n".join(lines).encode(), cwd=cwd)
    assert result.status == 0, result.err
    assert result.records[-1]["command"] == "run"
    return result.records[:-1]


def test_buckets_are_made_listed_and_removed(cli: Place) -> None:
    first, second = cli.make_bucket(), "cli-made-this-bucket"
    found = by_line(cli, f"mb s3://{second}", "ls", f"rb s3://{first}")
    made = {"type": "action", "action": "mb", "source": f"s3://{second}"}
    assert found[0] == made
    assert {first, second} <= {one["name"] for one in found if one["type"] == "bucket"}
    assert cli.exists(second)
    assert not cli.exists(first)


def test_rb_removes_only_what_is_empty_unless_forced(cli: Place, name: str) -> None:
    cli.put(name, {"a": "1"})
    kept = cli("rb", f"s3://{name}")
    assert (kept.status, cli.exists(name)) == (1, True)
    assert kept.err.count("\n") == 1
    unasked = cli("rb", "--force", f"s3://{name}")
    assert (unasked.status, cli.exists(name)) == (2, True)
    assert "--yes" in unasked.err
    assert cli("rb", "--force", "--yes", f"s3://{name}").status == 0
    assert not cli.exists(name)


def test_ls_prints_as_aws_does(cli: Place, name: str) -> None:
    cli.put(name, {"a.txt": "12345", "dir/b": "1", "dir/c/d": "22"})
    lines = cli(
        "run",
        "-",
        "-j",
        "1",
        stdin=f"ls s3://{name}\nls -r s3://{name}/dir\nls s3://{name}/a\nls 's3://{name}/*b'".encode(),
    ).lines
    assert lines[0][19:] == "          5 a.txt"
    assert lines[1] == "                           PRE dir/"
    assert [line[31:] for line in lines[2:]] == ["dir/b", "dir/c/d", "a.txt", "dir/b"]


def test_json_has_the_names_of_the_library(cli: Place, name: str) -> None:
    cli.put(name, {"ünï\n": "12345", "dir/b": "1"})
    prefix, listed, summary = by_line(cli, f"ls s3://{name}")
    assert prefix == {"type": "prefix", "bucket": name, "prefix": "dir/"}
    time = listed.pop("last_modified")
    assert time.endswith("Z")
    assert listed == {
        "type": "object",
        "bucket": name,
        "key": "ünï\n",
        "size": 5,
        "etag": "827ccb0eea8a706c4c34a16891f84e7b",
        "storage_class": "STANDARD",
    }
    assert summary == {"type": "summary", "command": "ls", "done": 2, "failed": 0, "bytes": 5}


def test_head_du_find_and_tree(cli: Place, name: str) -> None:
    cli.boto.put_object(Bucket=name, Key="a.txt", Body=b"12345", ContentType="text/plain", Metadata={"k": "v"})
    cli.put(name, {"dir/b": "1", "dir/c/d": "22"})
    found = by_line(cli, f"head s3://{name}/a.txt", f"head s3://{name}", f"du --depth 1 s3://{name}", f"du 's3://{name}/*.txt'", f"find s3://{name} --name '[bd]' --larger 1", f"find s3://{name} --older-than 1h", f"tree s3://{name}")  # fmt: skip
    assert (found[0]["size"], found[0]["content_type"], found[0]["metadata"]) == (5, "text/plain", {"k": "v"})
    assert found[1]["name"] == name
    assert [(one["prefix"], one["objects"], one["bytes"]) for one in found[2:4]] == [("dir/", 2, 3), ("", 3, 8)]
    assert (found[5]["objects"], found[5]["bytes"]) == (1, 5)
    assert [one["key"] for one in found[7:8]] == ["dir/c/d"]
    assert found[9] == {"type": "summary", "command": "find", "done": 0, "failed": 0, "bytes": 0}
    drawn = cli("tree", f"s3://{name}").lines
    assert drawn[1:] == ["├── a.txt", "└── dir/", "    ├── b", "    └── c/", "        └── d"]


def test_cat_prints_exactly_the_bytes(cli: Place, name: str) -> None:
    content = bytes(range(256)) * 1000
    cli.boto.put_object(Bucket=name, Key="a", Body=content)
    cli.put(name, {"b/1": "one,", "b/2": "two", "b/z/below": "not in the directory"})
    assert cli("cat", f"s3://{name}/a").out == content
    ranges = [("0-9", content[:10]), ("255990-", content[255990:]), ("-7", content[-7:])]
    lines = [f"cat --range {asked} s3://{name}/a" for asked, _ in ranges] + [
        f"cat 's3://{name}/b/?'",
        f"cat s3://{name}/b/",
    ]
    out = cli("run", "-", "-j", "1", stdin="\n".join(lines).encode()).out
    assert out == b"".join(expected for _, expected in ranges) + b"one,twoone,two"


def test_put_stores_standard_input_with_its_headers(cli: Place, name: str) -> None:
    content = b"0123456789" * 2_000_000
    result = cli(
        "pipe",
        f"s3://{name}/a",
        "--content-type",
        "text/x",
        "--metadata",
        "k=v",
        "--cache-control",
        "no-cache",
        "--json",
        stdin=content,
    )
    assert result.records[0] == {
        "type": "action",
        "action": "put",
        "source": "-",
        "target": f"s3://{name}/a",
        "size": len(content),
    }
    head = cli.boto.head_object(Bucket=name, Key="a")
    assert (head["ContentLength"], head["ContentType"], head["CacheControl"]) == (len(content), "text/x", "no-cache")
    assert head["Metadata"]["k"] == "v"


def test_headers_are_stored_by_cp_and_changed_in_place(cli: Place, name: str, tmp_path: Path) -> None:
    write_files(tmp_path, {"a.html": "a", "b/c.css": "c"})
    by_line(
        cli,
        f"cp -r {tmp_path} s3://{name} --cache-control max-age=60 --metadata x=1 --acl public-read",
        f"headers s3://{name}/a.html --content-disposition attachment --metadata y=2 --remove cache-control --remove x",
        f"headers -r s3://{name}/b --content-type text/x",
    )
    first, second = (cli.boto.head_object(Bucket=name, Key=key) for key in ("a.html", "b/c.css"))
    assert (first["ContentType"], first["ContentDisposition"], first.get("CacheControl")) == (
        "text/html",
        "attachment",
        None,
    )
    assert (first["Metadata"].get("x"), first["Metadata"]["y"]) == (None, "2")
    assert (second["ContentType"], second["CacheControl"], second["Metadata"]["x"]) == ("text/x", "max-age=60", "1")
    grants = cli.boto.get_object_acl(Bucket=name, Key="b/c.css")["Grants"]
    assert any(grant["Grantee"].get("URI", "").endswith("AllUsers") for grant in grants)


def test_a_link_reads_and_another_one_writes(cli: Place, name: str) -> None:
    cli.put(name, {"a": "content"})
    reads, writes = by_line(cli, f"presign s3://{name}/a --expires 10m", f"presign put s3://{name}/b")
    assert reads["expires_in"] == 600
    with urllib.request.urlopen(reads["url"]) as reply:
        assert reply.read() == b"content"
    with urllib.request.urlopen(urllib.request.Request(writes["url"], b"new", method="PUT")):
        assert cli.content(name, "b") == "new"


@pytest.mark.parametrize("saved", ["plain name.txt", 'my "ünï" 100%.txt'])
def test_a_link_says_under_which_name_it_is_saved(cli: Place, name: str, saved: str) -> None:
    cli.put(name, {"a": "content"})
    url = cli("presign", f"s3://{name}/a", "--download-as", saved).lines[0]
    with urllib.request.urlopen(url) as reply:
        message = EmailMessage()
        message["content-disposition"] = reply.headers["content-disposition"]
        assert message.get_filename() == saved


def test_versions_come_back(cli: Place, name: str) -> None:
    by_line(cli, f"versioning set s3://{name} on")
    cli.put(name, {"a": "old", "b": "b"})
    cli.put(name, {"a": "new"})
    old = next(
        one for one in by_line(cli, f"versions s3://{name}/a") if one["type"] == "version" and not one["is_latest"]
    )
    by_line(cli, f"rm s3://{name}/a s3://{name}/b", f"restore s3://{name}/a")
    assert cli.content(name, "a") == "new"
    by_line(cli, f"restore s3://{name}/a --version-id {old['version_id']}", f"restore -r s3://{name}")
    assert cli.objects(name) == {"a": "old", "b": "b"}
    result = cli("rm", "-r", "--versions", f"s3://{name}")
    assert (result.status, len(cli.objects(name))) == (2, 2)
    by_line(cli, f"rm -r --versions --yes s3://{name}")
    assert "Versions" not in cli.boto.list_object_versions(Bucket=name)


def test_a_prefix_comes_back_as_it_was(cli: Place, name: str) -> None:
    by_line(cli, f"versioning set s3://{name} on")
    cli.put(name, {"p/a": "old", "p/b": "b"})
    *_, newest = by_line(cli, f"head s3://{name}/p/b")
    while datetime.now(UTC) < datetime.fromisoformat(newest["last_modified"]) + timedelta(seconds=1):
        cli.exists(name)  # times of versions are in whole seconds
    then = datetime.now(UTC).isoformat()
    while datetime.now(UTC) < datetime.fromisoformat(then) + timedelta(seconds=1):
        cli.exists(name)
    cli.put(name, {"p/a": "new", "p/c": "c"})
    dry, *_ = by_line(cli, f"rm s3://{name}/p/b", f"restore -r s3://{name}/p --as-of {then} --dry-run")[2:]
    assert (dry["action"], dry["source"], dry["dry_run"]) == ("restore", f"s3://{name}/p/a", True)
    assert cli.objects(name) == {"p/a": "new", "p/c": "c"}
    by_line(cli, f"restore -r s3://{name}/p --as-of {then}")
    assert cli.objects(name) == {"p/a": "old", "p/b": "b"}


def test_a_restore_that_deletes_most_is_asked_first(cli: Place, name: str) -> None:
    by_line(cli, f"versioning set s3://{name} on")
    cli.put(name, {"p/a": "1", "p/b": "2"})
    result = cli("restore", "-r", f"s3://{name}/p", "--as-of", "2020-01-01")
    assert (result.status, "--yes" in result.err, len(cli.objects(name))) == (2, True, 2)
    by_line(cli, f"restore -r s3://{name}/p --as-of 2020-01-01 --yes")
    assert cli.objects(name) == {}


def test_uploads_are_listed_and_aborted(cli: Place, name: str) -> None:
    upload = cli.boto.create_multipart_upload(Bucket=name, Key="k")["UploadId"]
    found = by_line(
        cli, f"uploads ls s3://{name}", f"uploads abort s3://{name} --older-than 1d", f"uploads abort --yes s3://{name}"
    )
    assert (found[0]["type"], found[0]["key"], found[0]["upload_id"]) == ("upload", "k", upload)
    assert found[2] == {"type": "summary", "command": "uploads", "done": 0, "failed": 0, "bytes": 0}
    assert found[3]["upload_id"] == upload
    assert "Uploads" not in cli.boto.list_multipart_uploads(Bucket=name)


def test_check_finds_every_difference(cli: Place, name: str, tmp_path: Path) -> None:
    write_files(tmp_path, {"same": "1", "other": "22", "here": "3"})
    cli.put(name, {"p/same": "1", "p/other": "xx", "p/there": "4"})
    result = cli("diff", str(tmp_path), f"s3://{name}/p", "--json")
    found = {one["source"]: one["action"] for one in result.records[:-1]}
    assert (result.status, found) == (1, {"other": "differ", "here": "missing", "there": "extra"})
    assert cli("check", f"s3://{name}/p", f"s3://{name}/p").status == 0


def test_settings_are_set_shown_and_removed(cli: Place, name: str, tmp_path: Path) -> None:
    cors = [{"AllowedMethods": ["GET"], "AllowedOrigins": ["*"]}]
    lifecycle = [{"ID": "x", "Status": "Enabled", "Filter": {"Prefix": "t/"}, "Expiration": {"Days": 7}}]
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{name}/*"}]}  # fmt: skip
    for file, value in (("cors", cors), ("lifecycle", lifecycle), ("policy", policy)):
        (tmp_path / f"{file}.json").write_text(json.dumps(value))
    cli.put(name, {"a": "1"})
    kinds = ("cors", "lifecycle", "policy")
    found = by_line(
        cli,
        *(f"{kind} set s3://{name} {kind}.json" for kind in kinds),
        f"tags set s3://{name} a=1 b=2",
        f"tags set s3://{name}/a c=3",
        f"website set s3://{name} index.html 404.html",
        f"acl set s3://{name}/a public-read",
        *(f"{kind} get s3://{name}" for kind in (*kinds, "tags", "website")),
        f"tags get s3://{name}/a",
        f"acl get s3://{name}/a",
        *(f"{kind} rm s3://{name}" for kind in (*kinds, "tags", "website")),
        f"tags rm s3://{name}/a",
        *(f"{kind} get s3://{name}" for kind in (*kinds, "tags", "website")),
        cwd=tmp_path,
    )
    shown = [one for one in found if one["type"] in ("bucket", "object")]
    assert [shown[0]["cors"], shown[1]["lifecycle"], shown[2]["policy"]] == [cors, lifecycle, policy]
    assert (shown[3]["tags"], shown[5]["tags"]) == ({"a": "1", "b": "2"}, {"c": "3"})
    assert shown[4]["website"] == {"IndexDocument": {"Suffix": "index.html"}, "ErrorDocument": {"Key": "404.html"}}
    assert shown[6]["acl"]["canned"] == "public-read"
    assert [one[kind] for one, kind in zip(shown[7:], (*kinds, "tags", "website"), strict=True)] == [
        [],
        [],
        None,
        {},
        None,
    ]


def test_object_lock_protects(cli: Place) -> None:
    name = "cli-with-object-lock"
    found = by_line(cli, f"mb --lock s3://{name}", f"lock set s3://{name} GOVERNANCE 30d", f"lock get s3://{name}")
    assert (found[-1]["lock"]["mode"], found[-1]["lock"]["days"]) == ("GOVERNANCE", 30)
    cli.put(name, {"a": "1"})
    found = by_line(
        cli, f"retention get s3://{name}/a", f"lock rm s3://{name}", f"retention rm s3://{name}/a --bypass-governance"
    )
    assert found[0]["retention"]["mode"] == "GOVERNANCE"


def test_a_customers_key_travels_as_a_file(cli: Place, name: str, tmp_path: Path) -> None:
    write_files(tmp_path, {"key": "k" * 32, "a.txt": "secret"})
    found = by_line(cli, f"cp {tmp_path}/a.txt s3://{name}/ --sse-c {tmp_path}/key", f"cp s3://{name}/a.txt {tmp_path}/b.txt --sse-c {tmp_path}/key", f"head s3://{name}/a.txt --sse-c {tmp_path}/key")  # fmt: skip
    assert found[-1]["encryption"] == "SSE-C"
    assert files_below(tmp_path)["b.txt"] == "secret"
    refused = cli("cat", f"s3://{name}/a.txt")
    assert refused.status == 1
    assert refused.err.endswith("; give the object's key: --sse-c FILE\n")


def test_what_a_customers_key_encrypts_is_restored_with_it(cli: Place, name: str, tmp_path: Path) -> None:
    write_files(tmp_path, {"key": "k" * 32, "p/a": "old"})
    key = f"--sse-c {tmp_path}/key"
    by_line(cli, f"versioning set s3://{name} on", f"sync {tmp_path}/p s3://{name}/p {key}")
    *_, stored = by_line(cli, f"head s3://{name}/p/a {key}")
    then = datetime.fromisoformat(stored["last_modified"]) + timedelta(seconds=1)
    while datetime.now(UTC) < then + timedelta(seconds=1):
        cli.exists(name)  # times of versions are in whole seconds
    write_files(tmp_path, {"p/a": "new"})
    old = f"{then:%Y-%m-%dT%H:%M:%SZ}"
    by_line(cli, f"cp {tmp_path}/p/a s3://{name}/p/a {key}", f"restore s3://{name}/p/a --as-of {old} {key}")
    assert cli("cat", f"s3://{name}/p/a", *key.split()).lines == ["old"]
    by_line(cli, f"cp {tmp_path}/p/a s3://{name}/p/a {key}", f"restore -r s3://{name}/p --as-of {old} {key}")
    assert cli("cat", f"s3://{name}/p/a", *key.split()).lines == ["old"]
    by_line(
        cli,
        f"cp {tmp_path}/p/a s3://{name}/p/a {key}",
        f"restore s3://{name}/p/a --version-id {stored['version_id']} {key}",
    )
    assert cli("cat", f"s3://{name}/p/a", *key.split()).lines == ["old"]
    refused = cli("restore", f"s3://{name}/p/a", *key.split())
    assert (refused.status, "--sse-c goes with" in refused.err) == (2, True)


def test_a_tree_prints_each_object_and_a_summary(cli: Place, name: str, tmp_path: Path) -> None:
    write_files(tmp_path, {"a": "1", "b/c": "22"})
    dry = cli("cp", "-r", str(tmp_path), f"s3://{name}", "--json", "--dry-run").records
    assert cli.objects(name) == {}
    done = cli("cp", "-r", str(tmp_path), f"s3://{name}", "--json").records
    assert [{**one, "dry_run": True} for one in done] == dry
    assert [(one["source"], one["target"]) for one in done[:-1]] == [
        (f"{tmp_path}/a", f"s3://{name}/a"),
        (f"{tmp_path}/b/c", f"s3://{name}/b/c"),
    ]
    assert done[-1] == {"type": "summary", "command": "cp", "done": 2, "failed": 0, "bytes": 3}


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("cp", "s3://{b}/none", "."), 3),
        (("ls", "s3://no-such-bucket-here"), 3),
        (("ls", "s3://{b}/none"), 3),
        (("cat", "s3://{b}/none*"), 3),
        (("cat", "file.txt"), 2),
        (("mb", "s3://B_A_D"), 2),
        (("ls", "--no-such-option"), 2),
        (("cp", "s3://{b}/a", "s3://{b}/b", "--retries", "x"), 2),
        (("ls", "--endpoint-url", "http://127.0.0.1:9", "--retries", "0"), 5),
    ],
)
def test_an_error_is_one_line_and_its_status_says_what(
    cli: Place, name: str, words: tuple[str, ...], status: int, tmp_path: Path
) -> None:
    result = cli(*(word.format(b=name) for word in words), "--json", cwd=tmp_path)
    assert (result.status, result.err.count("\n")) == (status, 1)
    assert result.err.startswith("dreamobjects: ")
    assert "Traceback" not in result.err
    [error] = [one for one in result.records if one["type"] == "error"]
    assert error["status"] == status


def test_wrong_keys_are_status_4(cli: Place) -> None:
    assert cli("ls", env={"DREAMOBJECTS_SECRET_ACCESS_KEY": "wrong"}).status == 4
    assert cli("ls", env={"DREAMOBJECTS_SECRET_ACCESS_KEY": "", "HOME": "/nonexistent"}).status == 4


def test_one_failure_of_many_is_status_1(cli: Place, name: str, tmp_path: Path) -> None:
    write_files(tmp_path, {"a": "1", "b/c": "2"})
    cli.put(name, {"a/under": "x", "a": "y", "z": "z"})
    result = cli("cp", "-r", f"s3://{name}", str(tmp_path / "new"), "--json")
    assert (result.status, result.records[-1]["done"], result.records[-1]["failed"]) == (1, 2, 1)
    result = cli(
        "run",
        "-",
        "--json",
        stdin=f"cp s3://{name}/z z\nls s3/\ncp s3://{name}/none none".encode(),
        cwd=tmp_path,
    )
    assert (result.status, result.records[-1]["done"], result.records[-1]["failed"]) == (1, 1, 2)
    assert (tmp_path / "z").read_text() == "z"
    result = cli("run", "-", "--json", stdin=b'ls "s3://no-end\nserve\nnonsense\n')
    assert [one["status"] for one in result.records if one["type"] == "error"] == [2, 2, 2]
    result = cli("cat", f"s3://{name}/none", f"s3://{name}/z")
    assert (result.status, result.out) == (1, b"z")


def test_links_are_skipped_or_refused(cli: Place, name: str, tmp_path: Path) -> None:
    write_files(tmp_path, {"real": "1"})
    (tmp_path / "link").symlink_to("real")
    lines = [
        f"cp -r . s3://{name}/skip --symlinks skip",
        f"cp link s3://{name}/ --symlinks skip",
        f"cp link s3://{name}/refuse --symlinks refuse",
        f"cp -r . s3://{name}/follow",
    ]
    assert cli("run", "-", "-j", "1", stdin="\n".join(lines).encode(), cwd=tmp_path).status == 1
    assert set(cli.objects(name)) == {"skip/real", "follow/real", "follow/link"}


@pytest.mark.parametrize(
    ("words", "flag", "direction"),
    [
        ("cp s3://{} . -r --acl private", "--acl", "a download"),
        ("cp s3://{}/k k --cache-control no-store", "--cache-control", "a download"),
        ("sync s3://{} here --metadata a=b", "--metadata", "a download"),
        ("mv s3://{}/k k --checksum sha256", "--checksum", "a download"),
        ("cp s3://{}/k - --if-absent", "--if-absent", "standard output"),
        ("cp s3://{}/k s3://{}/l --resume", "--resume", "a copy between buckets"),
        ("sync s3://{} s3://{}/l --symlinks skip", "--symlinks", "a copy between buckets"),
        ("cp - s3://{}/k --include *.txt", "--include", "standard input"),
        ("cp a s3://{}/k --version-id 1", "--version-id", "an upload"),
        ("cp -r s3://{} . --version-id 1", "--version-id", "for one object"),
        ("sync here s3://{} --delete --checksum sha256", "--delete", "run sync --checksum first, then sync --delete"),
    ],
)
def test_an_option_that_would_be_ignored_is_refused(
    cli: Place, name: str, tmp_path: Path, words: str, flag: str, direction: str
) -> None:
    cli.put(name, {"k": "1"})
    write_files(tmp_path, {"a": "1", "here/b": "1"})
    result = cli(*words.replace("{}", name).split(), stdin=b"new", cwd=tmp_path)
    assert (result.status, result.err.count("\n"), result.out) == (2, 1, b"")
    assert flag in result.err
    assert direction in result.err
    assert cli.objects(name) == {"k": "1"}
    assert files_below(tmp_path) == {"a": "1", "here/b": "1"}


def test_an_error_names_its_request_with_v_and_has_a_traceback_with_vv(cli: Place, name: str) -> None:
    plain, more, most = (cli(*verbose, "cat", f"s3://{name}/none").err for verbose in ((), ("-v",), ("-vv",)))
    assert plain.startswith(f"dreamobjects: s3://{name}/none: NoSuchKey (404)")
    assert plain.endswith("; 'dreamobjects ls' shows what is there\n")
    assert "[request " not in plain
    assert more.count("\n") == 1
    assert "get_object" in more
    assert "[request " in more
    assert "Traceback" in most
    assert most.startswith(more.partition(" [request ")[0])


def test_mv_changes_headers_on_the_way(cli: Place, name: str) -> None:
    cli.put(name, {"a": "content"})
    by_line(cli, f"mv s3://{name}/a s3://{name}/b --cache-control no-cache --acl public-read --metadata k=v")
    assert cli.objects(name) == {"b": "content"}
    head = cli.boto.head_object(Bucket=name, Key="b")
    assert (head["CacheControl"], head["Metadata"]["k"]) == ("no-cache", "v")
    assert cli("cat", "--no-sign-request", f"s3://{name}/b").out == b"content"


def test_a_day_on_ceph(on_ceph: Place, tmp_path: Path) -> None:
    name, cors = on_ceph.make_bucket(), [{"AllowedMethods": ["GET"], "AllowedOrigins": ["*"]}]
    write_files(tmp_path, {"home/a.txt": "1", "home/b/c.txt": "22", "home/x.tmp": "3", "cors.json": json.dumps(cors)})
    on_ceph.boto.create_multipart_upload(Bucket=name, Key="open/1")
    found = by_line(
        on_ceph,
        f"versioning set s3://{name} on",
        f"sync home s3://{name}/home --exclude '*.tmp' --delete",
        f"check home s3://{name}/home --exclude '*.tmp' --by content",
        f"sync home s3://{name}/home --exclude '*.tmp' --delete",
        f"rm s3://{name}/home/a.txt",
        f"restore s3://{name}/home/a.txt",
        f"versions s3://{name}/home/a.txt",
        f"headers -r s3://{name}/home --include '*.txt' --cache-control no-cache --metadata k=v",
        f"head s3://{name}/home/b/c.txt",
        f"acl set s3://{name}/home/a.txt public-read",
        f"acl get s3://{name}/home/a.txt",
        f"tags set s3://{name}/home/a.txt a=1 b=2",
        f"tags get s3://{name}/home/a.txt",
        f"cors set s3://{name} cors.json",
        f"cors get s3://{name}",
        f"find s3://{name} --name '*.txt' --larger 1",
        f"du --depth 2 s3://{name}",
        f"uploads ls s3://{name}",
        f"uploads abort s3://{name} --older-than 7d",
        f"uploads abort s3://{name}/open/ --yes",
        f"presign s3://{name}/home/a.txt --expires 1h",
        f"cp -r s3://{name}/home back",
        f"mv s3://{name}/home/b/c.txt s3://{name}/moved/",
        f"rm -r --versions --yes s3://{name}/home",
        cwd=tmp_path,
    )
    told = [(one["command"], one["done"], one["failed"]) for one in found if one["type"] == "summary"]
    assert told == [("sync", 2, 0), ("check", 2, 0), ("sync", 0, 0), ("rm", 1, 0), ("versions", 1, 0), ("headers", 2, 0), ("find", 1, 0), ("du", 2, 0), ("uploads", 1, 0), ("uploads", 0, 0), ("uploads", 1, 0), ("cp", 2, 0), ("mv", 1, 0), ("rm", told[-1][1], 0)]  # fmt: skip
    shown = [one for one in found if one["type"] in ("object", "bucket")]
    assert (shown[0]["cache_control"], shown[0]["metadata"]["k"]) == ("no-cache", "v")
    assert (shown[1]["acl"]["canned"], shown[2]["tags"], shown[3]["cors"]) == (
        "public-read",
        {"a": "1", "b": "2"},
        cors,
    )
    assert shown[4]["key"] == "home/b/c.txt"
    assert files_below(tmp_path / "back") == {"a.txt": "1", "b/c.txt": "22"}
    assert on_ceph.objects(name) == {"moved/c.txt": "22"}
    assert "Uploads" not in on_ceph.boto.list_multipart_uploads(Bucket=name)
    assert len([one for one in found if one.get("action") == "presign"]) == 1


def test_put_takes_every_key_and_keeps_what_is_there(cli: Place, name: str) -> None:
    cli.put(name, {"old": "old"})
    for key, more in (("/a/b//k", ()), ("old", ("-n",)), ("f*.txt", ("--raw",)), ("new", ("-n", "--symlinks", "skip"))):
        result = cli("pipe", f"s3://{name}/{key}", *more, stdin=b"new")
        assert (result.status, "kept" in result.err) == (0, key == "old")
    assert cli.objects(name) == {"/a/b//k": "new", "old": "old", "f*.txt": "new", "new": "new"}
    for words in ((f"s3://{name}/p/",), (f"s3://{name}",), (f"s3://{name}/f*",), ("--resume", f"s3://{name}/r")):
        assert cli("put", *words, stdin=b"").status == 2


def test_one_version_is_printed_fetched_and_removed(cli: Place, name: str, tmp_path: Path) -> None:
    by_line(cli, f"versioning set s3://{name} on")
    for content in ("first", "second"):
        cli.put(name, {"k": content})
    second, first = [one["version_id"] for one in by_line(cli, f"ls --versions s3://{name}/k")[:2]]
    found = by_line(
        cli,
        f"cp --version-id {first} s3://{name}/k one",
        f"cp --version-id {first} s3://{name}/k s3://{name}/copy",
        f"rm s3://{name}/k",
        f"ls --versions s3://{name}/k",
        f"rm --version-id {first} s3://{name}/k",
        f"head --version-id {second} s3://{name}/k",
        f"ls --versions s3://{name}/k",
        cwd=tmp_path,
    )
    assert ((tmp_path / "one").read_text(), cli.objects(name)) == ("first", {"copy": "first"})
    kinds = [one.get("is_delete_marker", False) for one in found if one["type"] == "version"]
    assert kinds == [True, False, False, True, False]
    assert cli("cat", "--version-id", second, f"s3://{name}/k").out == b"second"


def test_run_reads_a_file_and_special_files_are_not_sent(cli: Place, name: str, tmp_path: Path) -> None:
    write_files(tmp_path, {"in/ok": "1"})
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "in/socket"))
        lines = [f"cp in/socket s3://{name}/", f"cp -r in s3://{name}/copied", f"sync in s3://{name}/synced"]
        (tmp_path / "lines").write_text("# three of them\n\n" + "\n".join(lines))
        dry = cli("--dry-run", "run", "lines", "--json", cwd=tmp_path)
        assert cli.objects(name) == {}
        real = cli("run", "lines", "-j", "2", "--json", cwd=tmp_path)
    assert cli.objects(name) == {"copied/ok": "1", "synced/ok": "1"}
    assert (dry.status, real.status) == (1, 1)
    errors = [one["message"] for one in real.records if one["type"] == "error"]
    assert len(errors) == 3
    assert all("regular file" in one for one in errors)
    assert cli("run", "none", cwd=tmp_path).status == 3
