"""What a service of unknown kind has: found out once a session, before something that it lacks loses data."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from secrets import token_hex
from typing import Final, Literal

import anyio

from aiodreamobjects._concurrency import finish
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
from aiodreamobjects._models import Acl, Address, CannedAcl
from aiodreamobjects._s3.call import Caller
from aiodreamobjects._s3.objects import Objects
from aiodreamobjects._s3.options import ReadOptions, WriteOptions
from aiodreamobjects._s3.uploads import Uploads
from aiodreamobjects._service import Digests, Feature

PROBE_GRACE_SECONDS = 10.0
LONGEST_DIRECTORY = 200
"""Of a name beside an object's, in characters: with four bytes each there is room for the name."""

_NO_ETAG = "0" * 32
_SMALL = b"aiodreamobjects asks what the ETag of this is"
_IGNORED = "it ignores what it does not know; if you know better, give service=dataclasses.replace(session.service, is_known=True)"
_WORDS: Final[Mapping[Feature, str]] = {
    "conditional_writes": "if_absent and if_match for writes",
    "if_match": "if_match for writes",
    "object_acl": "ACLs of objects",
    "tagging": "tags of objects",
}

_log = logging.getLogger("aiodreamobjects")


class Abilities(Objects, Uploads):
    """Requests about objects. A service of unknown kind is asked first whether it has what they rely on.

    What it lacks is kept in ``Gate.service``, for the rest of the session.
    """

    def __init__(self, caller: Caller) -> None:
        super().__init__(caller)
        self._gate = caller.gate
        self._answered: set[Feature] = set()
        self._asking = anyio.Lock()

    # Parts of an object: some gateways take the request for one of the object itself, and replace its content

    async def get_object_acl(self, address: Address) -> Acl:
        found = await super().get_object_acl(address)
        self._answered.add("object_acl")
        return found

    async def get_object_tags(self, address: Address) -> dict[str, str]:
        found = await super().get_object_tags(address)
        self._answered.add("tagging")
        return found

    async def put_object_acl(self, address: Address, acl: CannedAcl | Acl, version_id: str | None = None) -> None:
        await self._require_part("object_acl", lambda: self.get_object_acl(address))
        await super().put_object_acl(address, acl, version_id)

    async def put_object_tags(self, address: Address, tags: Mapping[str, str]) -> None:
        await self._require_part("tagging", lambda: self.get_object_tags(address))
        await super().put_object_tags(address, tags)

    async def _require_part(self, feature: Feature, get: Callable[[], Awaitable[object]]) -> None:
        if self._gate.service.is_known:
            return

        async def ask() -> Feature | None:
            try:
                await get()
            except UnsupportedByServiceError:
                return feature
            except AccessDeniedError:  # who may write it need not be able to read it
                return None
            except NotFoundError as error:
                if error.code != "NoSuchTagSet":
                    raise
            return None

        await self._ask_once(feature, ask)
        self._refuse_lacking(feature)

    # Conditions of writes: some gateways ignore them

    async def require_conditions(self, address: Address, options: WriteOptions) -> None:
        """Raise UnsupportedByServiceError unless the service honours the conditions of this write.

        Asks by a write of nothing under a name beside the object's, on a condition that does not hold. If that is ignored,
        a second write asks for ``if_absent``, and what was written is deleted.
        """
        if not options.is_conditional:
            return
        if not self._gate.service.is_known:
            await self._ask_once("conditional_writes", partial(self._find_ignored_condition, _beside(address)))
        self._refuse_lacking("conditional_writes")
        if options.if_match is not None:
            self._refuse_lacking("if_match")

    async def _find_ignored_condition(self, beside: Address) -> Feature | None:
        async def find() -> Feature | None:
            try:
                stored = await self.put_object(beside, b"", WriteOptions(if_match=_NO_ETAG))
            except (PreconditionFailedError, NotFoundError, AccessDeniedError, InvalidRequestError) as error:
                if error.code == "NoSuchBucket":
                    raise
                return None
            except UnsupportedByServiceError:
                return "conditional_writes"
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

    # ETags that look like digests, and are none

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

        async def ask() -> None:
            beside = _beside(address)
            stored = await self.put_object(beside, _SMALL, WriteOptions())
            await self.delete_object(beside, stored.version_id)

        with suppress(DreamObjectsError):
            await finish(ask(), grace=PROBE_GRACE_SECONDS)
        if self._gate.service.digests != "none":
            raise error

    def _may_be_opaque(self) -> bool:
        return not (self._gate.service.is_known or self._gate.has_seen_md5)

    async def _holds(self, address: Address, body: Buffer, etag: str) -> bool:
        """Return whether the object is what was just put: then its ETag is right, and no digest."""
        got = await self.get_object(address, None, ReadOptions(), streamed=False)
        try:
            memory = memoryview(bytearray(len(body) + 1))
            count = len(got.content) if got.content is not None else await got.read_into(memory)
            found = got.content if got.content is not None else memory[:count]
            return got.etag == etag and found == body
        finally:
            await got.aclose()

    def note_digests(self, digests: Digests) -> None:
        """Remember which ETags of this service are digests, and warn once that others are not compared."""
        if self._gate.service.digests == "all":
            self._gate.note_digests(digests)
            which = "its ETags" if digests == "none" else "its ETags of objects that are made of parts"
            name = self._gate.service.name
            _log.warning("%s: %s look like digests and are none; objects are verified by their size", name, which)

    # What was found out

    async def _ask_once(self, question: Feature, ask: Callable[[], Awaitable[Feature | None]]) -> None:
        """Have the question answered, unless this session has had an answer. One answer may be about another feature."""
        if question in self._answered:
            return
        async with self._asking:
            if question not in self._answered:
                if (lacking := await ask()) is not None:
                    self._gate.note_lack(lacking, _IGNORED)
                self._answered.add(question)

    def _refuse_lacking(self, feature: Feature) -> None:
        service = self._gate.service
        if advice := service.unsupported.get(feature):
            msg = f"{service.name} does not know {_WORDS[feature]}; {advice}"
            raise UnsupportedByServiceError(msg, code="NotImplemented")


def _beside(address: Address) -> Address:
    """Return a name that nobody uses, in the directory of this object: whoever may write one may mostly write the other."""
    directory, name = address.key.rpartition("/")[0][:LONGEST_DIRECTORY], f".aiodreamobjects-{token_hex(8)}"
    return Address(address.bucket, f"{directory}/{name}" if directory else name)
