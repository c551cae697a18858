"""A service below a path: it checks the signatures of what arrives with botocore, and hands it to a service without one.

It knows one account, and signs anew for the service behind it, by version 4, for the path without its own.
"""

from __future__ import annotations

import asyncio
import http.client
import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlsplit

from botocore.auth import HmacV1Auth, S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from servers.threads import ThreadedServer

UNSIGNED = b"<Error><Code>SignatureDoesNotMatch</Code><Message>says the server below the path</Message></Error>"
OF_THE_SIGNATURE = {"authorization", "host", "x-amz-date", "date", "connection"}


class DatedV1Auth(HmacV1Auth):  # type: ignore[misc]  # botocore has no types
    """botocore's version 2, at another time than now."""

    date = ""

    def _get_date(self) -> str:
        return self.date


class MountedServer(ThreadedServer):
    """Serves ``backend`` at ``endpoint``. ``targets`` are the requests that arrived."""

    def __init__(self, path: str, backend: str, access_key: str, secret_key: str) -> None:
        super().__init__("mounted-s3")
        self._path, self._backend = path, urlsplit(backend).netloc
        self._credentials = Credentials(access_key, secret_key)
        self._region = "us-east-1"
        self.targets: list[str] = []

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}{self._path}"

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self._listening.set_result(server.sockets[0].getsockname()[1])
        await self._stopping.wait()
        server.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request a connection."""
        try:
            request_line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").rstrip().split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            if headers.get("expect") == "100-continue":
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            method, target, _ = request_line.split(" ")
            self.targets.append(f"{method} {target}")
            writer.write(await asyncio.to_thread(self._answer, method, target, headers, body))
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def _answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> bytes:
        path = urlsplit(target).path
        is_ours = path == self._path or path.startswith(f"{self._path}/")
        is_form = headers.get("content-type", "").startswith("multipart/form-data")
        if not is_ours or not (is_form or self._is_right(method, target, headers)):
            return b"HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (
                len(UNSIGNED),
                UNSIGNED,
            )
        query = [
            pair for pair in parse_qsl(urlsplit(target).query, keep_blank_values=True) if not is_of_signature(*pair)
        ]
        kept = {name: value for name, value in headers.items() if name not in OF_THE_SIGNATURE}
        url = f"http://{self._backend}{path.removeprefix(self._path) or '/'}"
        request = AWSRequest(method, url, headers=kept, params=dict(query), data=body)
        if not is_form and not self._is_bare(target, headers):
            S3SigV4Auth(self._credentials, "s3", self._region).add_auth(request)
        prepared = request.prepare()
        connection = http.client.HTTPConnection(self._backend, timeout=20)
        try:
            sent = {name: value for name, value in prepared.headers.items() if name.lower() != "content-length"}
            if method in ("PUT", "POST"):
                sent["Content-Length"] = str(len(body))
            connection.request(method, prepared.url.partition(self._backend)[2], body or None, sent)
            response = connection.getresponse()
            content = response.read()
            told = [(name, value) for name, value in response.getheaders() if name.lower() not in DROPPED]
            length = response.getheader("content-length", "0") if method == "HEAD" else str(len(content))
            lines = [f"HTTP/1.1 {response.status} OK", f"Content-Length: {length}", "Connection: close"]
            lines += [f"{name}: {value}" for name, value in told]
            return "\r\n".join([*lines, "", ""]).encode("latin-1") + content
        finally:
            connection.close()

    def _is_bare(self, target: str, headers: Mapping[str, str]) -> bool:
        return "authorization" not in headers and "ignature=" not in target

    def _is_right(self, method: str, target: str, headers: Mapping[str, str]) -> bool:
        """Whether the signature is the one that botocore makes of this request, with its whole path in version 4."""
        if self._is_bare(target, headers):
            return True
        url = f"http://{headers['host']}{target}"
        told = dict(parse_qsl(urlsplit(target).query, keep_blank_values=True))
        authorization = headers.get("authorization", "")
        resource = urlsplit(target).path.removeprefix(self._path) or "/"
        if authorization.startswith("AWS "):
            return authorization.rpartition(":")[2] == self._v2(method, url, resource, headers, headers["date"])
        if "Signature" in told:
            return told["Signature"] == self._v2(method, url, resource, headers, told["Expires"])
        if authorization:
            fields = dict(part.strip().split("=", 1) for part in authorization.partition(" ")[2].split(","))
            scope, names, given = fields["Credential"], fields["SignedHeaders"], fields["Signature"]
            moment = headers["x-amz-date"]
            auth = S3SigV4Auth(self._credentials, "s3", scope.split("/")[2])
        else:
            scope, names, given = told["X-Amz-Credential"], told["X-Amz-SignedHeaders"], told["X-Amz-Signature"]
            moment = told["X-Amz-Date"]
            auth = S3SigV4QueryAuth(self._credentials, "s3", scope.split("/")[2])
            url = url.partition("&X-Amz-Signature=")[0]
        request = AWSRequest(method, url, headers={name: headers[name] for name in names.split(";")})
        request.context["timestamp"] = moment
        made: str = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
        return given == made

    def _v2(self, method: str, url: str, resource: str, headers: Mapping[str, str], date: str) -> str:
        auth = DatedV1Auth(self._credentials)
        auth.date = date
        url = re.sub("=(?=&|$)", "", url)  # "?cors=" is signed as "?cors"
        return str(auth.get_signature(method, urlsplit(url), AWSRequest(headers=headers).headers, auth_path=resource))


DROPPED = {"content-length", "connection", "transfer-encoding"}


def is_of_signature(name: str, _: str) -> bool:
    return name.startswith("X-Amz-") or name in ("Signature", "Expires", "AWSAccessKeyId")
