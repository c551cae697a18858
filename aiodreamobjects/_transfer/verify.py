"""Check a content against its ETag, if the ETag is a digest, or against a checksum that the service tells."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import NamedTuple

from aiodreamobjects._checksums import Told
from aiodreamobjects._errors import (
    AccessDeniedError,
    ChecksumMismatchError,
    InvalidRequestError,
    NotFoundError,
    ObjectChangedError,
    PreconditionFailedError,
    ServiceError,
    UnsupportedByServiceError,
)
from aiodreamobjects._http.transport import Buffer
from aiodreamobjects._integrity import IF_NO_DIGEST, ContentDigest, md5_of_etag, parts_of_etag
from aiodreamobjects._models import Address, ObjectInfo, Verified
from aiodreamobjects._s3.options import ANY, ReadOptions
from aiodreamobjects._s3.s3 import S3
from aiodreamobjects._transfer.parts import PartSizes, known_parts


class _Expected(NamedTuple):
    """What a content is compared with: its ETag, or a checksum."""

    value: str
    parts: int | None
    """The number of parts whose digests make it up. None: it is the digest of the whole content."""
    algorithm: str = "md5"


def _expectations(info: ObjectInfo, obstacle: str | None, told: Told | None) -> list[_Expected]:
    """Return what the content can be compared with, the best first.

    A checksum that the session requested comes first, since it is usually faster to compute than an MD5. A checksum that an
    unknown service sends by itself comes after the ETag: some services send wrong ones.
    """
    found = []
    if info.etag is not None and md5_of_etag(info.etag, obstacle):
        found.append(_Expected(info.etag, None))
    elif info.etag is not None and (count := parts_of_etag(info.etag, obstacle)):
        found.append(_Expected(info.etag, count))
    if told is not None and (form := re.fullmatch(r"[A-Za-z0-9+/]+={0,2}(?:-([1-9][0-9]{0,4}))?", told.value)):
        checksum = _Expected(told.value, int(form[1]) if form[1] else None, told.algorithm)
        found.insert(0 if told.is_asked else len(found), checksum)
    return found


class ContentCheck:
    """The running digest of a content, and the ETag or checksum to compare it with.

    An ETag is the content's MD5, or the MD5 of its parts' MD5s. In the second case the part sizes are needed. They come
    from our own metadata, from a guess at usual sizes, or from the service. Checksums have the same two forms.
    """

    def __init__(self, expected: _Expected, sizes: PartSizes | None, *, is_certain: bool) -> None:
        self._expected = expected
        self.part_sizes, self.is_certain = sizes, is_certain
        self.digest = ContentDigest(sizes, expected.algorithm)

    @classmethod
    def of(cls, info: ObjectInfo, obstacle: str | None, told: Told | None = None) -> ContentCheck | None:
        """Return a check without sending a request. Return None if there is no digest, or the part sizes are unknown."""
        found = None
        for expected in _expectations(info, obstacle, told):
            check = cls._against(expected, info)
            if check is not None and check.is_certain:
                return check
            found = found or check
        return found

    @classmethod
    def _against(cls, expected: _Expected, info: ObjectInfo) -> ContentCheck | None:
        if expected.parts is None:
            return cls(expected, None, is_certain=True)
        if info.size == 0:
            return None
        sizes, is_certain = known_parts(info.size, expected.parts, info.metadata)
        return None if sizes is None else cls(expected, sizes, is_certain=is_certain)

    @classmethod
    async def asking(
        cls,
        s3: S3,
        address: Address,
        info: ObjectInfo,
        obstacle: str | None,
        options: ReadOptions = ANY,
        told: Told | None = None,
        *,
        had_mismatch: bool = False,
    ) -> ContentCheck | None:
        """Return a check. If the part sizes are not certain, request the sizes of the first and the last part.

        A service that keeps checksums is asked for one first, if the ETag gives no certain check.

        ``had_mismatch``: request the sizes anyway, since certain ones did not match. Another tool may have copied the object
        with our metadata, but cut it differently.
        """
        found, pinned = cls.of(info, obstacle, told), options.pinned(info.etag)
        try:
            if told is None and s3.service.keeps_checksums and not (found is not None and found.is_certain):
                with suppress(AccessDeniedError, InvalidRequestError, UnsupportedByServiceError):
                    told = await s3.checksum_of(address, pinned)
                found = cls.of(info, obstacle, told)
            expected = next((one for one in _expectations(info, obstacle, told) if one.parts), None)
            may_be_wrong = had_mismatch and found is not None and found.part_sizes is not None
            is_enough = found is not None and found.is_certain and not may_be_wrong
            if expected is None or not expected.parts or info.size == 0 or is_enough:
                return found
            first = await s3.size_of_part(address, 1, pinned)
            last = await s3.size_of_part(address, expected.parts, pinned) if first else None
        except (PreconditionFailedError, NotFoundError) as error:
            msg = f"{address} changed while it was downloaded"
            raise ObjectChangedError(msg) from error
        except ServiceError:  # the service does not support partNumber
            return found
        if not first or not last:
            return found
        if info.size is None:  # it cannot be checked whether the parts between have the same size
            return found or cls(expected, PartSizes(first), is_certain=False)
        if (expected.parts - 1) * first + last != info.size:
            return found and cls(expected, found.part_sizes, is_certain=False)
        return cls(expected, PartSizes(first), is_certain=True)

    def is_cut_by(self, size: int) -> bool:
        """Return whether all parts except the last have this size."""
        return self.part_sizes == PartSizes(size)

    async def update(self, data: Buffer) -> None:
        await self.digest.update(data)

    def matches(self) -> bool:
        """Return whether the bytes so far are the whole content."""
        return self.digest.value() == self._expected.value

    def verdict(self, address: Address, size: int | None) -> Verified | None:
        """Return how the content was verified, or raise ChecksumMismatchError. ``size``: the one that the service sent.

        A mismatch proves nothing if the part sizes were guessed. It also proves nothing if the size is right, but the part
        sizes from the metadata give another number of parts than the ETag: another tool has cut the object differently.
        """
        found = self.digest.value()
        if found == self._expected.value:
            if self._expected.algorithm != "md5":
                return "checksum"
            return "md5" if self.part_sizes is None else "parts"
        is_stale = self.part_sizes is not None and not self._has_its_parts(self.part_sizes)
        if not self.is_certain or (is_stale and size == self.digest.position):
            return verified_by_size(size)
        what = "ETag" if self._expected.algorithm == "md5" else self._expected.algorithm
        msg = f"{address}: the bytes that arrived have the {what} {found}, but the object has {self._expected.value}"
        if what == "ETag":
            msg += f"; {IF_NO_DIGEST}"
        raise ChecksumMismatchError(msg)

    def _has_its_parts(self, sizes: PartSizes) -> bool:
        """Return whether the bytes that arrived make as many parts as the ETag or checksum says."""
        return sizes.make(self._expected.parts or 0, max(1, self.digest.position))


async def size_by_head(s3: S3, address: Address, etag: str | None, options: ReadOptions) -> int | None:
    """Return the object's size by a HEAD. Return None if the HEAD fails, has no size or another ETag."""
    try:
        found = await s3.head_object(address, options.pinned(None))
    except ServiceError:
        return None
    return found.size if found.etag == etag else None


def verified_by_size(announced: int | None) -> Verified | None:
    """Return how a content without a digest was verified. Its length proves something only if it was announced."""
    return None if announced is None else "size"
