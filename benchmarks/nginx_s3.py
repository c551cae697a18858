"""A stand-in for S3 that is faster than any client: nginx with dav and a little Lua, one worker, on 127.0.0.1.

Objects are files: GET, HEAD, ranges, PUT, DELETE and DeleteObjects are real. Signatures are not looked at. Listings are
made up: the bucket ``list-N`` has N keys, of sizes 1 to N, in pages of 1,000 kept ready. Every object has the ETag of
:data:`PAYLOAD`; those of BUCKET whose keys begin with ``large/`` have one that is no digest, as have parts: they may be
anything, and always hold what ``If-Match`` asks for. Parts of an upload are kept as files (:func:`received`), and its
completion joins nothing.

    python -m benchmarks.nginx_s3 [PORT]     # run it until interrupted

Needs Debian's packages ``nginx`` and ``libnginx-mod-http-lua``; for TLS, with a certificate of its own, ``openssl``.
"""

from __future__ import annotations

import getpass
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.ports import free_port, is_listening
from benchmarks.store import BUCKET, PAYLOAD, Server, ServerUnavailableError

MODULES = Path("/usr/lib/nginx/modules")
START_SECONDS = 10
AUTHORITY, CERTIFICATE, KEY = "authority.pem", "certificate.pem", "key.pem"
PARTS = ".parts"
"""The directory of parts, beside those of the buckets; a key has a directory there, with a file for each part."""

CONFIGURATION = r"""
load_module @MODULES@/ndk_http_module.so;
load_module @MODULES@/ngx_http_lua_module.so;
daemon off; worker_processes 1; worker_rlimit_nofile 16384; @USER@
pid @HOME@/nginx.pid; error_log @HOME@/error.log warn;
events { worker_connections 4096; }
http {
  access_log @ACCESS_LOG@; keepalive_requests 100000000; keepalive_timeout 3600;
  sendfile on; tcp_nopush on; tcp_nodelay on; default_type binary/octet-stream;
  client_max_body_size 0; client_body_buffer_size 1m; client_body_temp_path @HOME@/body; large_client_header_buffers 4 16k;
  init_by_lua_block {
    local ready = {}
    package.loaded.listing = { page = function(bucket, total, from, most)
      local name = total .. " " .. from .. " " .. most
      if ready[name] then return ready[name] end
      local count = math.max(0, math.min(most, total - from))
      local more = from + count < total
      local xml = { '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>',
        bucket, '</Name><Prefix></Prefix><MaxKeys>', most, '</MaxKeys><EncodingType>url</EncodingType><KeyCount>', count,
        '</KeyCount><IsTruncated>', tostring(more), '</IsTruncated>' }
      if more then xml[#xml + 1] = '<NextContinuationToken>' .. (from + count) .. '</NextContinuationToken>' end
      for i = from + 1, from + count do
        xml[#xml + 1] = string.format('<Contents><Key>logs/2026/11/22/part-%09d.json.gz</Key>' ..
          '<LastModified>2026-11-22T05:18:%02d.000Z</LastModified><ETag>&quot;%032x&quot;</ETag><Size>%d</Size>' ..
          '<StorageClass>STANDARD</StorageClass></Contents>', i, i % 60, i, i)
      end
      xml[#xml + 1] = '</ListBucketResult>'
      ready[name] = table.concat(xml)
      return ready[name]
    end }
  }
  server {
    listen 127.0.0.1:@PORT@ backlog=4096; @TLS@ root @HOME@/data;
    etag off; add_header ETag $etag; add_header x-amz-request-id tx0 always;
    set $asked "$request_method $args"; set $etag '"@ETAG@"';
    if ($asked ~ "^PUT .*partNumber=([0-9]+)") { set $part $1; set $etag '"part"'; rewrite ^/(.*)$ /.put/@PARTS@/$1/$part last; }
    if ($request_method = PUT) { rewrite ^/(.*)$ /.put/$1 last; }
    if ($asked ~ "^POST .*upload(s|Id=)") { rewrite ^ /.multipart last; }
    if ($asked ~ "^DELETE .*uploadId=") { return 204; }
    if ($request_method = POST) { rewrite ^ /.delete-objects last; }
    if ($args ~ "list-type=2") { rewrite ^/([^/]+) /.list/$1 last; }

    location / { dav_methods DELETE; }
    location /@BUCKET@/read/ { open_file_cache max=10000 inactive=600s; open_file_cache_valid 600s; }
    location /@BUCKET@/large/ {
      set $etag '"large"';
      access_by_lua_block { ngx.req.clear_header("If-Match") }
    }
    location /.put/ {
      internal; alias @HOME@/data/; dav_methods PUT; create_full_put_path on;
      header_filter_by_lua_block {
        if ngx.status < 300 then ngx.status = 200; ngx.header["Content-Length"] = 0; ngx.header["Location"] = nil end
      }
    }
    location /.list/ { internal; content_by_lua_block {
      local args = ngx.req.get_uri_args()
      local from = args["continuation-token"] or (args["start-after"] or ""):match("part%-(%d+)%.json") or "0"
      local bucket = ngx.var.uri:match("([^/]+)$")
      ngx.header["content-type"] = "application/xml"
      ngx.print(require("listing").page(bucket, tonumber(bucket:match("^list%-(%d+)$") or "0"), tonumber(from),
        math.min(1000, tonumber(args["max-keys"] or "1000"))))
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
      for key in (ngx.req.get_body_data() or ""):gmatch("<Key>(.-)</Key>") do
        if not key:find("..", 1, true) then os.remove("@HOME@/data/" .. bucket .. "/" .. key) end
        xml[#xml + 1] = "<Deleted><Key>" .. key .. "</Key></Deleted>"
      end
      xml[#xml + 1] = "</DeleteResult>"
      ngx.header["content-type"] = "application/xml"
      ngx.print(xml)
    } }
  }
}
"""

CERTIFICATE_SETTINGS = """
[req]
distinguished_name = name
[name]
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:FALSE
extendedKeyUsage = serverAuth
subjectAltName = IP:127.0.0.1, DNS:localhost
authorityKeyIdentifier = keyid
"""


@contextmanager
def nginx_s3(port: int | None = None, access_log: Path | None = None) -> Iterator[Server]:
    """The stand-in, running in a process and a directory of its own for as long as the block.

    Raises ServerUnavailableError where nginx or its Lua module is missing, or does not start.
    """
    program = shutil.which("nginx", path=os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"]))
    if program is None or not (MODULES / "ngx_http_lua_module.so").exists():
        msg = "not installed: apt-get install nginx libnginx-mod-http-lua"
        raise ServerUnavailableError(msg)
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="nginx-s3-", dir=memory if memory.is_dir() else None) as name:
        home, port = Path(name), port or free_port()
        (home / "data" / BUCKET).mkdir(parents=True)
        configuration = home / "nginx.conf"
        tls_port = free_port() if _make_certificate(home) else None
        configuration.write_text(_configuration(home, port, tls_port, access_log))
        process = subprocess.Popen([program, "-c", configuration, "-e", home / "error.log"], start_new_session=True)
        try:
            _wait(process, port, home)
            yield Server(
                "nginx",
                f"http://127.0.0.1:{port}",
                "AKIDEXAMPLE",
                "secret",
                "us-east-1",
                version=_version(program),
                makes_up_listings=True,
                tls_endpoint=f"https://127.0.0.1:{tls_port}" if tls_port else "",
                certificate=str(home / AUTHORITY) if tls_port else "",
                objects=str(home / "data"),
                process=_worker(process.pid),
            )
        finally:
            process.terminate()
            process.wait()


def received(objects: Path, bucket: str, key: str) -> list[Path]:
    """The files that make up what was uploaded: one, or the parts that its completion listed. Empty if there is nothing.

    ``objects`` is :attr:`Server.objects`. FileNotFoundError if a part was listed and not sent.
    """
    whole, parts = objects / bucket / key, objects / PARTS / bucket / key
    if whole.exists():
        return [whole]
    if not (parts / "list").exists():
        return []
    numbers = re.findall(r"<PartNumber>(\d+)</PartNumber>", (parts / "list").read_text())
    return [(parts / number).resolve(strict=True) for number in numbers]


def forget(objects: Path, bucket: str, key: str) -> None:
    """Delete what was uploaded, and its parts."""
    (objects / bucket / key).unlink(missing_ok=True)
    shutil.rmtree(objects / PARTS / bucket / key, ignore_errors=True)


def _make_certificate(home: Path) -> bool:
    """For 127.0.0.1, by an authority of its own; False where there is no openssl."""
    program = shutil.which("openssl")
    if program is None:
        return False
    settings = "openssl.conf"
    (home / settings).write_text(CERTIFICATE_SETTINGS)
    make = f"req -x509 -config {settings} -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
    for words in (
        f"-extensions authority -subj /CN=authority -keyout authority.key -out {AUTHORITY}",
        f"-extensions server -subj /CN=localhost -keyout {KEY} -out {CERTIFICATE} -CA {AUTHORITY} -CAkey authority.key",
    ):
        subprocess.run([program, *f"{make} {words}".split()], cwd=home, stderr=subprocess.DEVNULL, check=True)
    return True


def _worker(master: int) -> int:
    """The only child of nginx."""
    return int(Path(f"/proc/{master}/task/{master}/children").read_text().split()[0])


def _version(program: str) -> str:
    told = subprocess.run([program, "-v"], stderr=subprocess.PIPE, text=True, check=True).stderr
    return told.partition("version: ")[2].strip()


def _configuration(home: Path, port: int, tls_port: int | None, access_log: Path | None) -> str:
    text = CONFIGURATION
    tls = f"listen 127.0.0.1:{tls_port} ssl backlog=4096; ssl_certificate @HOME@/{CERTIFICATE}; ssl_certificate_key @HOME@/{KEY};"
    for name, value in {
        "MODULES": MODULES,
        "TLS": tls if tls_port else "",
        "PARTS": PARTS,
        "HOME": home,
        "PORT": port,
        "BUCKET": BUCKET,
        "USER": f"user {getpass.getuser()};" if os.geteuid() == 0 else "",
        "ETAG": hashlib.md5(PAYLOAD, usedforsecurity=False).hexdigest(),
        "ACCESS_LOG": access_log or "off",
    }.items():
        text = text.replace(f"@{name}@", str(value))
    return text


def _wait(process: subprocess.Popen[bytes], port: int, home: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not is_listening(port):
        if process.poll() is not None or time.monotonic() > deadline:
            log = home / "error.log"
            msg = f"nginx did not start: {log.read_text() if log.exists() else 'no log'}"
            raise ServerUnavailableError(msg)
        time.sleep(0.02)


def main() -> None:
    with nginx_s3(int(sys.argv[1]) if sys.argv[1:] else None) as server:
        print(server.endpoint, flush=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})


if __name__ == "__main__":
    main()
