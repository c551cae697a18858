"""A process that starts, opens a side's client, does one small GET, and tells the most memory it had.

python -m benchmarks.cold SIDE SERVER     # the server's fields as JSON
"""

from __future__ import annotations

import asyncio
import json
import sys

from benchmarks.clients import SIDES, Client
from benchmarks.meter import peak_bytes
from benchmarks.store import PAYLOAD, READ_KEYS, Server


async def get_once(client: Client) -> None:
    await client.setup()
    assert len(await client.get(READ_KEYS[0])) == len(PAYLOAD)
    await client.close()


if __name__ == "__main__":
    side, server = SIDES[sys.argv[1]], Server(**json.loads(sys.argv[2]))
    with asyncio.Runner(loop_factory=side.loop_factory()) as runner:
        runner.run(get_once(side.kind(server, 1)))
    print(peak_bytes())
