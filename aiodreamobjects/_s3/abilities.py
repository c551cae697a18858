"""Find out what an unknown service lacks, once in a session, before the lack can lose data."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final, Literal

from aiodreamobjects import _checksums
from aiodreamobjects._concurrency import finish
from aiodreamobjects._encryption import Encryption, feature_of
from aiodreamobjects._errors import (
    AccessDeniedError,
    AlreadyExistsError,
    ChecksumMismatchError,
    DreamObjectsError,
    InvalidRequestError,
    NotFoundError,
    PreconditionFailedError,
    UnsupportedByServiceError,
)
from aiodreamobjects._http.transport import Buffer
from aiodreamobjects._later import Later
from aiodreamobjects._models import Address, CannedAcl, Checksum
from aiodreamobjects._s3.call import Caller
from aiodreamobjects._s3.objects import Objects
from aiodreamobjects._s3.options import ReadOptions, WriteOptions
from aiodreamobjects._s3.uploads import Uploads
from aiodreamobjects._service import Digests, Feature

if TYPE_CHECKING:
    import secrets

    from aiodreamobjects._acls import Acl
else:
    secrets = Later("secrets")

PROBE_GRACE_SECONDS = 10.0
LONGEST_DIRECTORY = 200
"""The longest directory of a probe's key, in characters. At four bytes each, the key stays below S3's 1,024 bytes."""

_NO_ETAG = "0" * 32
_SMALL = b"aiodreamobjects asks what the ETag of this is"
_IGNORED = "it ignores what it does not know; if you know better, give service=dataclasses.replace(session.service, is_known=True)"
_IGNORED_ENCRYPTION = (
    "it ignores such a request, and stores the object as it is; encrypt the content before you store it"
)
_WORDS: Final[Mapping[Feature, str]] = {
    "conditional_writes": "if_absent and if_match for writes",
    "if_match": "if_match for writes",
    "object_acl": "ACLs of objects",
    "tagging": "tags of objects",
    "checksums": "checksum=",
    "object_lock": "Object Lock",
    "bucket_encryption": "the encryption of buckets",
    "public_access_block": "a block of public access",
    "notification": "notifications",
    "logging": "access logs",
    "ownership": "the ownership of objects",
}

_log = logging.getLogger("aiodreamobjects")


class Abilities(Objects, Uploads):
    """Requests about objects. They first ask an unknown service whether it has what they rely on.

    ``Gate.service`` keeps what the service lacks, for the rest of the session.
    """

    def __init__(self, caller: Caller) -> None:
        super().__init__(caller)
        self._gate = caller.gate
        self._answered: set[Feature] = set()
        self._asking = asyncio.Lock()

    # ACLs and tags. Some gateways ignore "?acl" and "?tagging": a PUT of these then replaces the object's content.

    async def get_object_acl(self, address: Address, version_id: str | None = None) -> Acl:
        found = await super().get_object_acl(address, version_id)
        self._answered.add("object_acl")
        return found

    async def get_object_tags(self, address: Address, version_id: str | None = None) -> dict[str, str]:
        found = await super().get_object_tags(address, version_id)
        self._answered.add("tagging")
        return found

    async def put_object_acl(self, address: Address, acl: CannedAcl | Acl, version_id: str | None = None) -> None:
        await self._require_part("object_acl", lambda: self.get_object_acl(address))
        await super().put_object_acl(address, acl, version_id)

    async def put_object_tags(self, address: Address, tags: Mapping[str, str], version_id: str | None = None) -> None:
        await self._require_part("tagging", lambda: self.get_object_tags(address))
        await super().put_object_tags(address, tags, version_id)

    async def put_object_retention(
        self,
        address: Address,
        mode: str | None,
        until: str | None,
        version_id: str | None = None,
        *,
        bypasses: bool = False,
    ) -> None:
        await self._require_lock(address, version_id)
        await super().put_object_retention(address, mode, until, version_id, bypasses=bypasses)

    async def put_object_legal_hold(self, address: Address, status: str, version_id: str | None = None) -> None:
        await self._require_lock(address, version_id)
        await super().put_object_legal_hold(address, status, version_id)

    async def _require_lock(self, address: Address, version_id: str | None) -> None:
        self._refuse_lacking("object_lock")
        await self._require_part("object_lock", lambda: self.get_object_legal_hold(address, version_id))

    async def _require_part(self, feature: Feature, get: Callable[[], Awaitable[object]]) -> None:
        if self._gate.service.is_known:
            return

        async def ask() -> Feature | None:
            try:
                await get()
            except UnsupportedByServiceError:
                return feature
            except AccessDeniedError:  # tells nothing, but credentials may be allowed to write only
                return None
            except NotFoundError as error:
                if error.code != "NoSuchTagSet":
                    raise
            return None

        await self._ask_once(feature, ask)
        self._refuse_lacking(feature)

    # Conditions of writes. Some gateways ignore them.

    async def require(self, address: Address, options: WriteOptions) -> None:
        """Raise UnsupportedByServiceError unless the service encrypts and locks as asked, and honours the conditions."""
        if options.encryption is not None:
            await self._require_encryption(address, options.encryption)
        if options.checksum is not None:
            await self.require_checksum(options.checksum)
        if options.has_lock:
            self._refuse_lacking("object_lock")
        if options.is_conditional:
            await self._require_conditions(address, options)

    async def require_checksum(self, algorithm: Checksum) -> None:
        """Raise ImportError if the algorithm needs a library, UnsupportedByServiceError if the service refuses checksums."""
        self._refuse_lacking("checksums")
        await _checksums.load(algorithm)

    async def _require_conditions(self, address: Address, options: WriteOptions) -> None:
        """Probe an unknown service: put an empty object beside this one, with an ``if_match`` that cannot hold. If the
        service stores it, put it again with ``if_absent``. Delete what was stored.
        """
        if not self._gate.service.is_known:
            await self._ask_once("conditional_writes", partial(self._find_ignored_condition, _beside(address)))
        self._refuse_lacking("conditional_writes")
        if options.if_match is not None:
            self._refuse_lacking("if_match")

    async def _find_ignored_condition(self, beside: Address) -> Feature | None:
        """Return the feature that the service lacks. Return None if it honours conditions, or if the probe is refused."""

        async def find() -> Feature | None:
            try:
                stored = await self.put_object(beside, b"", WriteOptions(if_match=_NO_ETAG))
            except (PreconditionFailedError, NotFoundError, AccessDeniedError, InvalidRequestError) as error:
                if error.code == "NoSuchBucket":
                    raise
                return None
            except UnsupportedByServiceError:
                return "conditional_writes"
            except DreamObjectsError:  # it may be stored, although the put failed
                with suppress(DreamObjectsError):
                    await self.delete_object(beside, None)
                raise
            try:
                again = await self.put_object(beside, b"", WriteOptions(if_absent=True))
            except AlreadyExistsError:
                return "if_match"
            else:
                await self.delete_object(beside, again.version_id)
                return "conditional_writes"
            finally:
                await self.delete_object(beside, stored.version_id)

        return await finish(find(), grace=PROBE_GRACE_SECONDS)

    # Encryption. Ceph RGW 16.2 ignores "AES256", and small gateways ignore all of it.

    async def _require_encryption(self, address: Address, encryption: Encryption) -> None:
        """Ask a service that may ignore it: begin an upload with this encryption, read the reply, and abort it."""
        self._caller.require_encryption(encryption)
        if self._gate.service.encrypts:
            return
        feature = feature_of(encryption)

        async def ask() -> Feature | None:
            created = await self.create_upload(address, WriteOptions(encryption=encryption))
            await self.abort_upload(address, created.upload_id)
            return None if created.is_encrypted else feature

        await self._ask_once(feature, lambda: finish(ask(), grace=PROBE_GRACE_SECONDS))
        self._caller.require_encryption(encryption)

    def not_encrypting(self, address: Address, options: WriteOptions) -> UnsupportedByServiceError:
        """Return the error for an upload that would not be encrypted. Remember the lack."""
        assert options.encryption is not None
        self._gate.note_lack(feature_of(options.encryption), _IGNORED_ENCRYPTION)
        msg = (
            f"{address}: {self._gate.service.name} would not encrypt it with {options.encryption!r}; nothing was stored"
        )
        return UnsupportedByServiceError(msg, code="NotImplemented")

    # ETags that look like digests, but are not

    async def _explain_etag(
        self, error: ChecksumMismatchError, address: Address, body: Buffer, etag: str
    ) -> Literal["size"]:
        try:
            is_right = self._may_be_opaque() and await self._holds(address, body, etag)
        except DreamObjectsError:
            is_right = False
        if not is_right:
            raise error
        self.note_digests("none")
        return "size"

    async def _explain_etag_of_part(self, error: ChecksumMismatchError, address: Address) -> None:
        if not self._may_be_opaque():
            raise error

        # Find out with a small object: put_object compares its ETag with its MD5, and notes the result.
        async def ask() -> None:
            beside, version_id = _beside(address), None
            try:
                version_id = (await self.put_object(beside, _SMALL, WriteOptions())).version_id
            finally:
                await self.delete_object(beside, version_id)

        with suppress(DreamObjectsError):
            await finish(ask(), grace=PROBE_GRACE_SECONDS)
        if self._gate.service.digests != "none":
            raise error

    def _may_be_opaque(self) -> bool:
        return not (self._gate.service.is_known or self._gate.has_seen_md5)

    async def _holds(self, address: Address, body: Buffer, etag: str) -> bool:
        """Return whether the service holds exactly the body that was just put. If so, its ETag is not a digest."""
        got = await self.get_object(address, None, ReadOptions(), streamed=False)
        try:
            found: Buffer | None = got.content
            if found is None:
                memory = memoryview(bytearray(len(body) + 1))  # one byte more, to notice a longer object
                found = memory[: await got.read_into(memory)]
            return got.etag == etag and found == body
        finally:
            await got.aclose()

    def note_digests(self, digests: Digests) -> None:
        """Remember which ETags of this service are digests. Warn once that the others are not compared."""
        if self._gate.service.digests == "all":
            self._gate.note_digests(digests)
            which = "its ETags" if digests == "none" else "its ETags of multipart objects"
            name = self._gate.service.name
            _log.warning("%s: %s look like MD5 digests but are not; only sizes are verified", name, which)

    # Answers are kept

    async def _ask_once(self, question: Feature, ask: Callable[[], Awaitable[Feature | None]]) -> None:
        """Ask unless this session has the answer. The answer may name another feature than the question did."""
        if question in self._answered:
            return
        async with self._asking:
            if question not in self._answered:
                if (lacking := await ask()) is not None:
                    self._gate.note_lack(lacking, _IGNORED_ENCRYPTION if lacking.startswith("sse_") else _IGNORED)
                self._answered.add(question)

    def _refuse_lacking(self, feature: Feature) -> None:
        service = self._gate.service
        if advice := service.unsupported.get(feature):
            msg = f"{service.name} does not support {_WORDS[feature]}; {advice}"
            raise UnsupportedByServiceError(msg, code="NotImplemented")


def _beside(address: Address) -> Address:
    """Return an unused address in the object's directory: a right to write the object mostly covers it too."""
    directory, name = address.key.rpartition("/")[0][:LONGEST_DIRECTORY], f".aiodreamobjects-{secrets.token_hex(8)}"
    return Address(address.bucket, f"{directory}/{name}" if directory else name)
