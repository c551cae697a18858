"""All steps of DreamHost's old sample for boto 2, and the one step that it called impossible: the forced delete.

    python examples/quickstart.py

Without settings it uses an embedded server. For another service, set DREAMOBJECTS_ENDPOINT_URL (such as
https://s3.us-east-005.dream.io), DREAMOBJECTS_ACCESS_KEY_ID and DREAMOBJECTS_SECRET_ACCESS_KEY.
"""

import asyncio
import secrets
import tempfile
from pathlib import Path

from embedded_server import embedded_server_unless_configured

import aiodreamobjects as dream


async def main() -> None:
    async with dream.Session() as session:
        print(f"Connected to {session.service.name}, {session.service.endpoint}\n\nYour buckets")
        bucket = await session.create_bucket(f"my-new-bucket-{secrets.token_hex(6)}")
        async for info in session.buckets():
            print(f"{info.name}\t{info.created}")

        hello, plans = bucket.object("hello.txt"), bucket.object("secret_plans.txt")
        await hello.put("Hello World!")
        await plans.put("Tell no one.")
        await bucket.object("perl_poetry.pdf").put(b"%PDF-1.4 ...", content_type="application/pdf")
        await bucket.object("goodbye.txt").put("Goodbye!")
        print("\nObjects in the bucket")
        async for obj in bucket.list():
            print(f"{obj.key}\t{obj.size}\t{obj.last_modified}")

        print("\nACLs: one object public, one private")
        try:
            await hello.set_acl("public-read")
            await plans.set_acl("private")
            print(f"{hello.key}\t{(await hello.acl()).canned}\n{plans.key}\t{(await plans.acl()).canned}")
        except dream.UnsupportedByServiceError as error:
            print(f"Not on this service: {error}")

        with tempfile.TemporaryDirectory() as documents:
            path = Path(documents, "perl_poetry.pdf")
            await bucket.object("perl_poetry.pdf").download(path)
            print(f"\nDownloaded {path.name}, {path.stat().st_size} bytes")
        await bucket.object("goodbye.txt").delete()
        print(f"Deleted goodbye.txt. It exists: {await bucket.object('goodbye.txt').exists()}")

        print(f"\nLinks: unsigned, and signed for an hour\n{hello.url(scheme=session.service.scheme)}")
        print(plans.presign_get(3600))

        await bucket.delete(force=True)  # without force: BucketNotEmptyError
        print(f"\nDeleted {bucket.name} with all that was in it. It exists: {await bucket.exists()}")


if __name__ == "__main__":
    with embedded_server_unless_configured():
        asyncio.run(main())
