"""How a service is reached, and clients that are told so. Imports what is asked for, and no more."""

from __future__ import annotations

from typing import Any, Protocol

PARTS, PART_BYTES = 8, 8 << 20
"""Of an object, in flight."""


class Access(Protocol):
    @property
    def endpoint(self) -> str: ...

    @property
    def certificate(self) -> str:
        """The PEM file to trust; empty for plain http."""
        ...

    @property
    def access_key(self) -> str: ...

    @property
    def secret_key(self) -> str: ...

    @property
    def region(self) -> str: ...


def boto_arguments(access: Access) -> dict[str, str]:
    return {
        "endpoint_url": access.endpoint,
        "aws_access_key_id": access.access_key,
        "aws_secret_access_key": access.secret_key,
        "region_name": access.region,
        **({"verify": access.certificate} if access.certificate else {}),
    }


def boto_settings(connections: int) -> dict[str, Any]:
    return {
        "max_pool_connections": connections,
        "signature_version": "s3v4",
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
    }


def transfer_config(requests: int = PARTS) -> Any:
    from boto3.s3.transfer import TransferConfig

    return TransferConfig(
        max_concurrency=requests,
        multipart_chunksize=PART_BYTES,
        multipart_threshold=PART_BYTES,
        preferred_transfer_client="classic",
    )


def obstore_store(access: Access, bucket: str) -> Any:
    from pathlib import Path

    from obstore.store import S3Store

    trust = {"root_certificate": Path(access.certificate).read_text()} if access.certificate else {"allow_http": True}
    return S3Store(
        bucket,
        endpoint=access.endpoint,
        access_key_id=access.access_key,
        secret_access_key=access.secret_key,
        region=access.region,
        virtual_hosted_style_request=False,
        client_options=trust,
    )
