"""Make links for people without credentials: to read an object, to replace it, to upload it from a browser.

    python examples/share_links.py s3://BUCKET/KEY [HOURS]

This sends nothing to the service, and the object need not exist: the links are signed locally. The credentials and the
endpoint come from the environment, as for every S3 tool.
"""

from __future__ import annotations

import sys
from datetime import timedelta

from event_loop import run

import aiodreamobjects as dream


async def main(uri: str, hours: str = "24") -> None:
    lifetime = timedelta(hours=float(hours))
    async with dream.Session() as session:
        obj = session.object(uri)
        name = obj.key.rpartition("/")[2].replace("\\", "_").replace('"', "_")
        print("Read:", obj.presign_get(lifetime))
        attachment = {"content-disposition": f'attachment; filename="{name}"'}
        print("Save as a file:", obj.presign_get(lifetime, response_headers=attachment))
        print("Replace, with PUT:", obj.presign_put(lifetime))
        try:
            post = obj.presign_post(lifetime, max_bytes=10 << 20)
        except dream.UnsupportedByServiceError as error:
            print("No browser form:", error)
        else:
            print("Browser form, up to 10 MiB:", post.url)
            for field, value in post.fields.items():
                print(f"  {field} = {value}")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    run(main(*sys.argv[1:]))
