"""A stand-in for S3 that is faster than any client: nginx with dav and a little Lua, one worker, on 127.0.0.1.

Objects are files: GET, HEAD, ranges, PUT, DELETE and DeleteObjects are real. Signatures are not looked at. Listings are
made up: the bucket ``list-N`` has N keys, of sizes 1 to N, in pages of 1,000 kept ready. Every object has the ETag of
:data:`PAYLOAD`, so nothing else should be stored.

    python -m benchmarks.nginx_s3 [PORT]     # run it until interrupted

Needs Debian's packages ``nginx`` and ``libnginx-mod-http-lua``.
"""

from __future__ import annotations

import getpass
import hashlib
import os
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
    listen 127.0.0.1:@PORT@ backlog=4096; root @HOME@/data;
    etag off; add_header ETag '"@ETAG@"'; add_header x-amz-request-id tx0 always;
    if ($request_method = PUT) { rewrite ^/(.*)$ /.put/$1 last; }
    if ($request_method = POST) { rewrite ^ /.delete-objects last; }
    if ($args ~ "list-type=2") { rewrite ^/([^/]+) /.list/$1 last; }

    location / { dav_methods DELETE; }
    location /@BUCKET@/read/ { open_file_cache max=10000 inactive=600s; open_file_cache_valid 600s; }
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
        configuration.write_text(_configuration(home, port, access_log))
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
            )
        finally:
            process.terminate()
            process.wait()


def _version(program: str) -> str:
    told = subprocess.run([program, "-v"], stderr=subprocess.PIPE, text=True, check=True).stderr
    return told.partition("version: ")[2].strip()


def _configuration(home: Path, port: int, access_log: Path | None) -> str:
    text = CONFIGURATION
    for name, value in {
        "MODULES": MODULES,
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
