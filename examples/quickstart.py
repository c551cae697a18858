"""All steps of DreamHost's old sample for boto 2, and the one step it called impossible: the forced delete.

    python examples/quickstart.py

runs on an embedded server. To run it on DreamObjects, or any other service, set DREAMOBJECTS_ENDPOINT_URL (such as
https://s3.us-east-005.dream.io), DREAMOBJECTS_ACCESS_KEY_ID and DREAMOBJECTS_SECRET_ACCESS_KEY. It makes one bucket
with a random name, and deletes it at the end.
"""

from __future__ import annotations

import secrets
import tempfile
from pathlib import Path

from embedded_server import embedded_server_unless_configured
from event_loop import run

import aiodreamobjects as dream


async def main() -> None:
    async with dream.Session() as session:
        print(f"Connected to {session.service.name}, {session.service.endpoint}")

        print("\nCreating a bucket")
        bucket = await session.create_bucket(f"my-new-bucket-{secrets.token_hex(6)}")

        print("\nListing owned buckets")
        async for info in session.buckets():
            print(f"{info.name}\t{info.created}")

        print("\nCreating objects")
        hello = bucket.object("hello.txt")
        await hello.put("Hello World!")
        plans = bucket.object("secret_plans.txt")
        await plans.put("Tell no one.")
        await bucket.object("goodbye.txt").put("Goodbye!")
        await bucket.object("perl_poetry.pdf").put(b"%PDF-1.4 ...", content_type="application/pdf")

        print("\nListing a bucket's content")
        async for obj in bucket.list():
            print(f"{obj.key}\t{obj.size}\t{obj.last_modified}")

        print("\nChanging ACLs: one object public, one private")
        try:
            await hello.set_acl("public-read")
            await plans.set_acl("private")
            print(f"{hello.key}\t{(await hello.acl()).canned}\n{plans.key}\t{(await plans.acl()).canned}")
        except dream.UnsupportedByServiceError as error:
            print(f"Not on this service: {error}")

        print("\nDownloading an object to a file")
        with tempfile.TemporaryDirectory() as documents:
            path = Path(documents, "perl_poetry.pdf")
            await bucket.object("perl_poetry.pdf").download(path)
            print(f"{path.name}\t{path.stat().st_size}")

        print("\nDeleting an object")
        await bucket.object("goodbye.txt").delete()
        print(f"goodbye.txt exists: {await bucket.object('goodbye.txt').exists()}")

        print("\nGenerating download URLs, unsigned and signed for an hour")
        print(hello.url(scheme=session.service.scheme))
        print(plans.presign_get(3600))

        print("\nDeleting the bucket, which is not empty")
        try:
            await bucket.delete()
        except dream.BucketNotEmptyError:
            print("Refused: it is not empty")
        await bucket.delete(force=True)
        print(f"Forced. {bucket.name} exists: {await bucket.exists()}")


if __name__ == "__main__":
    with embedded_server_unless_configured():
        run(main())
