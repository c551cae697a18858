"""OpenStack Swift with its s3api on loopback, from Debian's packages, which ``debian install`` beside this file installs.

One proxy, one server each for accounts, containers and objects, memcached; one replica.
"""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from servers.ports import free_port, wait_until_listening
from servers.programs import started

ACCOUNT = ("test:tester", "testing")
OTHER_ACCOUNT = ("test2:tester2", "testing2")
KINDS = ("account", "container", "object")
COMMANDS = ("swift-proxy-server", *(f"swift-{kind}-server" for kind in KINDS), "memcached")
PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])

COMMON = """
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
user = {user}
swift_dir = {home}
log_address = {home}/no-log
devices = {home}/devices
mount_check = false
disable_fallocate = true
"""
PROXY = """
[pipeline:main]
pipeline = catch_errors healthcheck cache listing_formats bulk s3api tempauth copy slo dlo versioned_writes symlink proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:healthcheck]
use = egg:swift#healthcheck
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:{memcached}
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:bulk]
use = egg:swift#bulk
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
s3_acl = false
check_bucket_owner = false
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin
user_test2_tester2 = testing2 .admin
[filter:copy]
use = egg:swift#copy
[filter:slo]
use = egg:swift#slo
[filter:dlo]
use = egg:swift#dlo
[filter:versioned_writes]
use = egg:swift#versioned_writes
allow_object_versioning = true
[filter:symlink]
use = egg:swift#symlink
"""
STORAGE = """
[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
"""
RINGS = """
from swift.common.ring import RingBuilder
for kind, port in {ports}.items():
    ring = RingBuilder(2, 1, 0)
    device = dict(region=1, zone=1, ip="127.0.0.1", port=port, device="disk", weight=1.0)
    ring.add_dev(device | dict(replication_ip="127.0.0.1", replication_port=port))
    ring.rebalance()
    ring.get_ring().save(kind + ".ring.gz")
"""
"""Three runs of swift-ring-builder for each ring would take seven seconds."""


def is_installed() -> bool:
    return all(shutil.which(command, path=PATH) for command in COMMANDS)


@contextmanager
def swift(home: Path) -> Iterator[str]:
    """Its endpoint. The hash's prefix and the policy are those of Debian's /etc/swift/swift.conf."""
    (home / "devices" / "disk").mkdir(parents=True)
    ports = {kind: free_port() for kind in KINDS}
    proxy, memcached = free_port(), free_port()
    subprocess.run(["/usr/bin/python3", "-c", RINGS.format(ports=ports)], cwd=home, check=True)
    configs = {kind: STORAGE.format(kind=kind) for kind in KINDS} | {"proxy": PROXY.format(memcached=memcached)}
    with ExitStack() as stack:
        command = [
            "memcached",
            "-l",
            "127.0.0.1",
            "-p",
            str(memcached),
            *(["-u", "nobody"] if os.geteuid() == 0 else []),
        ]
        stack.enter_context(started(command, home / "memcached.log", PATH=PATH))
        for kind, rest in configs.items():
            config = home / f"{kind}-server.conf"
            common = COMMON.format(port=ports.get(kind, proxy), user=getpass.getuser(), home=home)
            config.write_text(common + rest)
            stack.enter_context(started([f"swift-{kind}-server", str(config)], home / f"{kind}-server.log", PATH=PATH))
        for port in (memcached, *ports.values(), proxy):
            wait_until_listening(port)
        yield f"http://127.0.0.1:{proxy}"
