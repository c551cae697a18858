"""A stand-in for S3 that is faster than any client: nginx with dav and a little Lua, one worker, on 127.0.0.1.

Objects are files: GET, HEAD, ranges, PUT, DELETE and DeleteObjects are real. Signatures are not looked at. Listings are
made up: the bucket ``list-N`` has N keys that count, ``uuid-N`` has N that look like UUIDs, both of sizes 1 to N, and a
bucket whose name begins with ``tree-`` has what its manifest says (:func:`write_manifest`). Prefix, delimiter and any
``start-after`` are real, and every bucket is there; pages of 1,000 are kept ready. Every object has the ETag of
:data:`PAYLOAD`, but those of a ``tree-`` bucket have that of the manifest, and those of BUCKET whose keys begin with
``up/`` have one that is no digest, as have parts: they may be anything. Parts of an upload are kept as files
(:func:`received`), and its completion joins nothing.

The same answers come late at a second endpoint, if that is asked for: each after a round trip, or two if its request
opened the connection, and one more if that waits for the word to go on (``Expect: 100-continue``).

Needs Debian's packages ``nginx`` and ``libnginx-mod-http-lua``.
"""

from __future__ import annotations

import getpass
import hashlib
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from benchmarks.clients import BUCKET, Service
from benchmarks.store import PAYLOAD, Server, ServerUnavailableError

MODULES = Path("/usr/lib/nginx/modules")
START_SECONDS = 10
AUTHORITY, CERTIFICATE = "authority.pem", "certificate.pem"
PARTS = ".parts"
"""The directory of parts, beside those of the buckets; a key has a directory there, with a file for each part."""
MANIFESTS = ".manifests"
SERVER_FILE, LISTING_FILE = "server.conf", "listing.lua"

CONFIGURATION = r"""
load_module @MODULES@/ndk_http_module.so;
load_module @MODULES@/ngx_http_lua_module.so;
daemon off; worker_processes 1; worker_rlimit_nofile 16384; @USER@
pid @HOME@/nginx.pid; error_log @HOME@/error.log warn;
events { worker_connections 4096; }
http {
  access_log off; keepalive_requests 100000000; keepalive_timeout 3600;
  sendfile on; tcp_nopush on; tcp_nodelay on; default_type binary/octet-stream;
  client_max_body_size 0; client_body_buffer_size 1m; client_body_temp_path @HOME@/body; large_client_header_buffers 4 16k;
  lua_package_path "@HOME@/?.lua;;"; init_by_lua_block { require("listing") }
  server { listen 127.0.0.1:@PORT@ backlog=4096; @TLS@ include @HOME@/@SERVER@; }
  @DELAYED@
}
"""

DELAYED = r"""
  server {
    listen 127.0.0.1:@DELAYED_PORT@ backlog=4096; include @HOME@/@SERVER@;
    access_by_lua_block {
      local trips = 1
      if ngx.var.connection_requests == "1" then trips = trips + 1 end
      if ngx.var.http_expect then trips = trips + 1 end
      ngx.sleep(trips * @DELAY@)
    }
  }
"""

SERVER = r"""
    root @HOME@/data;
    etag off; add_header ETag $etag; add_header x-amz-request-id tx0 always;
    set $asked "$request_method $args"; set $etag '"@ETAG@"';
    if ($asked ~ "^PUT .*partNumber=([0-9]+)") { set $part $1; set $etag '"part"'; rewrite ^/(.*)$ /.put/@PARTS@/$1/$part last; }
    if ($uri ~ "^/@BUCKET@/up/") { set $etag '"large"'; }
    if ($request_method = PUT) { rewrite ^/(.*)$ /.put/$1 last; }
    if ($asked ~ "^POST .*upload(s|Id=)") { rewrite ^ /.multipart last; }
    if ($asked ~ "^DELETE .*uploadId=") { return 204; }
    if ($request_method = POST) { rewrite ^ /.delete-objects last; }
    if ($args ~ "list-type=2") { rewrite ^/([^/]+) /.list/$1 last; }
    if ($uri ~ "^/[^/]+/?$") { return 200; }

    location / { dav_methods DELETE; }
    location /@BUCKET@/read/ { open_file_cache max=10000 inactive=600s; open_file_cache_valid 600s; }
    location /tree- {
      rewrite_by_lua_block {
        local bucket, key = ngx.var.uri:match("^/([^/]+)/(.*)$")
        local etag = require("listing").etag(bucket or "", key or "")
        if etag then
          local asked = ngx.var.http_if_match
          if asked and asked ~= "*" and asked ~= '"' .. etag .. '"' and asked ~= etag then return ngx.exit(412) end
          ngx.var.etag = '"' .. etag .. '"'
        end
        ngx.req.clear_header("If-Match")
      }
    }
    location /.put/ {
      internal; alias @HOME@/data/; dav_methods PUT; create_full_put_path on;
      header_filter_by_lua_block {
        if ngx.status < 300 then ngx.status = 200; ngx.header["Content-Length"] = 0; ngx.header["Location"] = nil end
      }
    }
    location /.list/ { internal; content_by_lua_block {
      ngx.header["content-type"] = "application/xml"
      ngx.print(require("listing").page(ngx.var.uri:match("([^/]+)$"), ngx.req.get_uri_args()))
    } }
    location /.multipart { internal; content_by_lua_block {
      ngx.req.read_body()
      local bucket, key = ngx.var.request_uri:match("^/([^/?]+)/([^?]+)")
      local verb, content = "Initiate", "<UploadId>upload</UploadId>"
      if ngx.req.get_uri_args()["uploadId"] then
        verb, content = "Complete", '<ETag>&quot;large&quot;</ETag>'
        local list = not key:find("..", 1, true) and io.open("@HOME@/data/@PARTS@/" .. bucket .. "/" .. key .. "/list", "w")
        if not list then return ngx.exit(404) end
        list:write(ngx.req.get_body_data() or "")
        list:close()
      end
      ngx.header["content-type"] = "application/xml"
      ngx.print('<?xml version="1.0" encoding="UTF-8"?>\n<', verb, 'MultipartUploadResult><Bucket>', bucket, '</Bucket><Key>',
        key, '</Key>', content, '</', verb, 'MultipartUploadResult>')
    } }
    location /.delete-objects { internal; content_by_lua_block {
      ngx.req.read_body()
      local bucket = ngx.var.request_uri:match("^/([^/?]+)")
      local xml = { '<?xml version="1.0" encoding="UTF-8"?>\n<DeleteResult>' }
      local body = ngx.req.get_body_data() or ""
      local is_quiet = body:find("<Quiet>true</Quiet>", 1, true)
      for key in body:gmatch("<Key>(.-)</Key>") do
        if not key:find("..", 1, true) then os.remove("@HOME@/data/" .. bucket .. "/" .. key) end
        if not is_quiet then xml[#xml + 1] = "<Deleted><Key>" .. key .. "</Key></Deleted>" end
      end
      xml[#xml + 1] = "</DeleteResult>"
      ngx.header["content-type"] = "application/xml"
      ngx.print(xml)
    } }
"""

LISTING = r"""
local PAGE, MOST_PAGES = 1000, 2500
local sources, ready, kept = {}, {}, 0

local function made_up(count, key)
  return { count = count, key = key, size = function(i) return i end, etag = function(i) return string.format("%032x", i) end }
end

local function counted(count)
  return made_up(count, function(i) return string.format("logs/2026/11/22/part-%09d.json.gz", i) end)
end

local function random(count)
  return made_up(count, function(i)
    local digits = ngx.md5(i)
    local first = math.floor((i - 1 + tonumber(digits:sub(1, 8), 16) / 2 ^ 32) / count * 2 ^ 32)
    return string.format("%08x-%s-4%s-a%s-%s.json", first, digits:sub(9, 12), digits:sub(13, 15), digits:sub(16, 18), digits:sub(19, 30))
  end)
end

local function manifest(bucket)
  local file = io.open("@HOME@/data/@MANIFESTS@/" .. bucket)
  if not file then return nil end
  local keys, sizes, etags, places = {}, {}, {}, {}
  for line in file:lines() do
    local key, size, etag = line:match("^([^\t]*)\t(%d+)\t(.*)$")
    keys[#keys + 1], sizes[#sizes + 1], etags[#etags + 1] = key, size, etag
    places[key] = #keys
  end
  file:close()
  return {
    count = #keys, key = function(i) return keys[i] end, size = function(i) return sizes[i] end,
    etag = function(i) return etags[i] end, place = function(key) return places[key] end,
  }
end

local function source_of(bucket)
  if not sources[bucket] then
    local kind, count = bucket:match("^(%a+)%-(%d+)$")
    local make = kind == "list" and counted or kind == "uuid" and random
    local made = make and make(tonumber(count)) or manifest(bucket)
    if not made then return counted(0) end
    sources[bucket] = made
  end
  return sources[bucket]
end

-- How many keys are smaller than a text, or equal to it if that is to count.
local function count_before(source, text, or_equal)
  local low, high = 0, source.count
  while low < high do
    local middle = math.floor((low + high) / 2) + 1
    local key = source.key(middle)
    if key < text or (or_equal and key == text) then low = middle else high = middle - 1 end
  end
  return low
end

-- How many keys are smaller than all behind those with this prefix.
local function count_through(source, prefix)
  local last = prefix:match("^(.-)\255*$")
  if last == "" then return source.count end
  return count_before(source, last:sub(1, -2) .. string.char(last:byte(-1) + 1))
end

local function entry(source, i)
  return '<Contents><Key>' .. source.key(i) .. '</Key>' ..
    string.format('<LastModified>2026-11-22T05:18:%02d.000Z</LastModified><ETag>&quot;', i % 60) .. source.etag(i) ..
    '&quot;</ETag><Size>' .. source.size(i) .. '</Size><StorageClass>STANDARD</StorageClass></Contents>'
end

local function build(bucket, source, prefix, delimiter, from, to, most)
  local xml, place, count = {}, from, 0
  while place < to and count < most do
    local stop = delimiter ~= "" and source.key(place + 1):find(delimiter, #prefix + 1, true)
    if stop then
      local group = source.key(place + 1):sub(1, stop + #delimiter - 1)
      xml[#xml + 1] = '<CommonPrefixes><Prefix>' .. group .. '</Prefix></CommonPrefixes>'
      place = count_through(source, group)
    else
      place = place + 1
      xml[#xml + 1] = entry(source, place)
    end
    count = count + 1
  end
  local more = place < to and most > 0
  return '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>' ..
    bucket .. '</Name><Prefix>' .. ngx.escape_uri(prefix) .. '</Prefix><MaxKeys>' .. most ..
    '</MaxKeys><EncodingType>url</EncodingType><KeyCount>' .. count .. '</KeyCount><IsTruncated>' .. tostring(more) ..
    '</IsTruncated>' .. (more and '<NextContinuationToken>' .. place .. '</NextContinuationToken>' or '') ..
    table.concat(xml) .. '</ListBucketResult>'
end

local function text(argument)
  return type(argument) == "string" and argument or ""
end

local function page(bucket, args)
  local source, prefix, delimiter = source_of(bucket), text(args.prefix), text(args.delimiter)
  local most = math.min(PAGE, tonumber(args["max-keys"]) or PAGE)
  local from = tonumber(args["continuation-token"])
  if not from then
    from = text(args["start-after"]) == "" and 0 or count_before(source, args["start-after"], true)
  end
  local to = source.count
  if prefix ~= "" then
    from, to = math.max(from, count_before(source, prefix)), count_through(source, prefix)
  end
  local name = table.concat({ bucket, prefix, delimiter, from, most }, "\n")
  if ready[name] then return ready[name] end
  local built = build(bucket, source, prefix, delimiter, from, to, most)
  if most < PAGE then return built end
  if kept == MOST_PAGES then ready, kept = {}, 0 end
  ready[name], kept = built, kept + 1
  return built
end

local function etag(bucket, key)
  local source = source_of(bucket)
  local place = source.place and source.place(key)
  return place and source.etag(place)
end

return { page = page, etag = etag }
"""


@contextmanager
def nginx_s3(round_trip_ms: int = 0, *, has_tls: bool = False) -> Iterator[Server]:
    """Run the stand-in for the `with` block, in a process and a directory of its own.

    ``round_trip_ms`` makes a :attr:`Server.delayed`, and ``has_tls`` a :attr:`Server.tls`. Raise ServerUnavailableError
    if something is not installed, or nginx does not start.
    """
    program = shutil.which("nginx", path=os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"]))
    if program is None or not (MODULES / "ngx_http_lua_module.so").exists():
        msg = "not installed: apt-get install nginx libnginx-mod-http-lua"
        raise ServerUnavailableError(msg)
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="nginx-s3-", dir=memory if memory.is_dir() else None) as name:
        home, port = Path(name), free_port()
        (home / "data" / BUCKET).mkdir(parents=True)
        configuration = home / "nginx.conf"
        tls_port = _make_certificate(home) if has_tls else None
        delayed_port = free_port() if round_trip_ms else None
        delayed = DELAYED.replace("@DELAYED_PORT@", str(delayed_port)).replace("@DELAY@", str(round_trip_ms / 1e3))
        text = CONFIGURATION.replace("@DELAYED@", delayed if delayed_port else "")
        for file, content in ((configuration, text), (home / SERVER_FILE, SERVER), (home / LISTING_FILE, LISTING)):
            file.write_text(_filled(content, home, port, tls_port))
        process = subprocess.Popen([program, "-c", configuration, "-e", home / "error.log"], start_new_session=True)
        try:
            _wait(process, port, home)
            service = Service(f"http://127.0.0.1:{port}", "AKIDEXAMPLE", "secret", "us-east-1")
            tls = replace(service, endpoint=f"https://127.0.0.1:{tls_port}", certificate=str(home / AUTHORITY))
            yield Server(
                "nginx",
                service,
                version=_version(program),
                makes_up_listings=True,
                tls=tls if tls_port else None,
                delayed=replace(service, endpoint=f"http://127.0.0.1:{delayed_port}") if delayed_port else None,
                objects=str(home / "data"),
                process=_worker(process.pid),
            )
        finally:
            process.terminate()
            process.wait()


def write_manifest(objects: Path, bucket: str, entries: Iterable[tuple[str, int, str]]) -> None:
    """Write what a bucket lists: keys in the order of their bytes, sizes and ETags. Do so before its first request."""
    lines = [f"{key}\t{size}\t{etag}\n" for key, size, etag in entries]
    (objects / MANIFESTS).mkdir(exist_ok=True)
    (objects / MANIFESTS / bucket).write_text("".join(lines))


def received(objects: Path, bucket: str, key: str) -> list[Path]:
    """Return the files of an uploaded object: one, or the parts that its completion listed; none if there is no object.

    ``objects`` is :attr:`Server.objects`. Raise FileNotFoundError if a listed part was not sent.
    """
    whole, parts = objects / bucket / key, objects / PARTS / bucket / key
    if whole.exists():
        return [whole]
    if not (parts / "list").exists():
        return []
    numbers = re.findall(r"<PartNumber>(\d+)</PartNumber>", (parts / "list").read_text())
    return [(parts / number).resolve(strict=True) for number in numbers]


def _make_certificate(home: Path) -> int:
    """Make a certificate for 127.0.0.1, by an authority of its own. Return a port for it."""
    try:
        import trustme
    except ImportError as error:
        msg = "not installed: pip install trustme"
        raise ServerUnavailableError(msg) from error

    authority = trustme.CA()
    authority.cert_pem.write_to_path(home / AUTHORITY)
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    certificate.private_key_and_cert_chain_pem.write_to_path(home / CERTIFICATE)
    return free_port()


def _worker(master: int) -> int:
    """Return the process id of nginx's only child."""
    return int(Path(f"/proc/{master}/task/{master}/children").read_text().split()[0])


def _version(program: str) -> str:
    told = subprocess.run([program, "-v"], stderr=subprocess.PIPE, text=True, check=True).stderr
    return told.partition("version: ")[2].strip()


def _filled(text: str, home: Path, port: int, tls_port: int | None) -> str:
    tls = f"listen 127.0.0.1:{tls_port} ssl backlog=4096; ssl_certificate @HOME@/{CERTIFICATE}; ssl_certificate_key @HOME@/{CERTIFICATE};"
    for name, value in {
        "MODULES": MODULES,
        "TLS": tls if tls_port else "",
        "PARTS": PARTS,
        "MANIFESTS": MANIFESTS,
        "SERVER": SERVER_FILE,
        "HOME": home,
        "PORT": port,
        "BUCKET": BUCKET,
        "USER": f"user {getpass.getuser()};" if os.geteuid() == 0 else "",
        "ETAG": hashlib.md5(PAYLOAD, usedforsecurity=False).hexdigest(),
    }.items():
        text = text.replace(f"@{name}@", str(value))
    return text


def _wait(process: subprocess.Popen[bytes], port: int, home: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not _is_listening(port):
        if process.poll() is not None or time.monotonic() > deadline:
            log = home / "error.log"
            msg = f"nginx did not start: {log.read_text() if log.exists() else 'no log'}"
            raise ServerUnavailableError(msg)
        time.sleep(0.02)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _is_listening(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
