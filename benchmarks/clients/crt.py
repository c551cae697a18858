"""The AWS CRT."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

from benchmarks.clients import LARGE, Client


class Crt(Client):
    """boto3 gives the CRT no endpoint and no certificate to trust, so its client is made here."""

    packages = ("awscrt",)
    notes: ClassVar[Mapping[str, str]] = {
        LARGE: "`awscrt.s3.S3Client` itself, from file to file: boto3 cannot give it another endpoint; parts of 8 MiB, 8 "
        "connections an object; its own threads, one a core, and its own choice of memory"
    }
    ends_badly = True

    async def open(self) -> None:
        auth, io, s3, self._http = (importlib.import_module(f"awscrt.{name}") for name in ("auth", "io", "s3", "http"))
        service, tls = self.service, None
        if service.certificate:
            options = io.TlsContextOptions()
            options.override_default_trust_store_from_path(ca_filepath=service.certificate)
            tls = io.ClientTlsContext(options).new_connection_options()
        credentials = auth.AwsCredentialsProvider.new_static(service.access_key, service.secret_key)
        self._s3 = s3.S3Client(
            region=service.region,
            tls_mode=s3.S3RequestTlsMode.ENABLED if tls else s3.S3RequestTlsMode.DISABLED,
            tls_connection_options=tls,
            signing_config=s3.create_default_s3_signing_config(region=service.region, credential_provider=credentials),
            part_size=self.settings.part_bytes,
        )
        self._types, self._host = s3.S3RequestType, urlsplit(service.endpoint).netloc

    async def download(self, key: str, path: str) -> None:
        await self._request("GET", key, type=self._types.GET_OBJECT, recv_filepath=path)

    async def upload(self, path: str, key: str) -> None:
        size = str(Path(path).stat().st_size)
        await self._request("PUT", key, size, type=self._types.PUT_OBJECT, send_filepath=path)

    async def _request(self, method: str, key: str, size: str | None = None, **arguments: Any) -> None:
        headers = self._http.HttpHeaders([("host", self._host), *([("content-length", size)] if size else [])])
        request = self._s3.make_request(
            request=self._http.HttpRequest(method, f"/{self.bucket}/{key}", headers),
            max_active_connections_override=self.settings.parts,
            **arguments,
        )
        await asyncio.wrap_future(request.finished_future)
