"""Check a content against its ETag, if the ETag is a digest."""

from __future__ import annotations

from aiodreamobjects._errors import (
    ChecksumMismatchError,
    NotFoundError,
    ObjectChangedError,
    PreconditionFailedError,
    ServiceError,
)
from aiodreamobjects._http.transport import Buffer
from aiodreamobjects._integrity import IF_NO_DIGEST, EtagDigest, md5_of_etag, parts_of_etag
from aiodreamobjects._models import Address, ObjectInfo, Verified
from aiodreamobjects._s3.options import ANY, ReadOptions
from aiodreamobjects._s3.s3 import S3
from aiodreamobjects._transfer.parts import PartSizes, known_parts


class ContentCheck:
    """The running digest of a content, and the ETag to compare it with.

    An ETag is the content's MD5, or the MD5 of its parts' MD5s. In the second case the part sizes are needed. They come
    from our own metadata, from a guess at usual sizes, or from the service.
    """

    def __init__(self, etag: str, sizes: PartSizes | None, *, is_certain: bool) -> None:
        self._etag = etag
        self.part_sizes, self.is_certain = sizes, is_certain
        self.digest = EtagDigest(sizes)

    @classmethod
    def of(cls, info: ObjectInfo, obstacle: str | None) -> ContentCheck | None:
        """Return a check without sending a request. Return None if the ETag is no digest or the part sizes are unknown."""
        if info.etag is None:
            return None
        if md5_of_etag(info.etag, obstacle):
            return cls(info.etag, None, is_certain=True)
        count = parts_of_etag(info.etag, obstacle)
        if count is None or info.size == 0:
            return None
        sizes, is_certain = known_parts(info.size, count, info.metadata)
        return None if sizes is None else cls(info.etag, sizes, is_certain=is_certain)

    @classmethod
    async def asking(
        cls,
        s3: S3,
        address: Address,
        info: ObjectInfo,
        obstacle: str | None,
        options: ReadOptions = ANY,
        *,
        had_mismatch: bool = False,
    ) -> ContentCheck | None:
        """Return a check. If the part sizes are not certain, request the sizes of the first and the last part.

        ``had_mismatch``: request them anyway, since certain sizes did not match. Another tool may have copied the object with
        our metadata, but cut it differently.
        """
        found = cls.of(info, obstacle)
        count = parts_of_etag(info.etag, obstacle)
        if count is None or info.size == 0 or (found is not None and found.is_certain and not had_mismatch):
            return found
        pinned = options.pinned(info.etag)
        try:
            first = await s3.size_of_part(address, 1, pinned)
            last = await s3.size_of_part(address, count, pinned) if first else None
        except (PreconditionFailedError, NotFoundError) as error:
            msg = f"{address} changed while it was downloaded"
            raise ObjectChangedError(msg) from error
        except ServiceError:  # the service does not support partNumber
            return found
        if not first or not last:
            return found
        assert info.etag
        if info.size is None:  # it cannot be checked whether the parts between have the same size
            return found or cls(info.etag, PartSizes(first), is_certain=False)
        if (count - 1) * first + last != info.size:
            return found and cls(info.etag, found.part_sizes, is_certain=False)
        return cls(info.etag, PartSizes(first), is_certain=True)

    def is_cut_by(self, size: int) -> bool:
        """Return whether all parts except the last have this size."""
        return self.part_sizes == PartSizes(size)

    async def update(self, data: Buffer) -> None:
        await self.digest.update(data)

    def verdict(self, address: Address, size: int | None) -> Verified | None:
        """Return how the content was verified, or raise ChecksumMismatchError. ``size``: the one that the service sent.

        A mismatch proves nothing if the part sizes were guessed. It also proves nothing if the size is right, but the part
        sizes from the metadata give another number of parts than the ETag: another tool has cut the object differently.
        """
        found = self.digest.value()
        if found == self._etag:
            return "md5" if self.part_sizes is None else "parts"
        is_stale = self.part_sizes is not None and not self._has_its_parts(self.part_sizes)
        if not self.is_certain or (is_stale and size == self.digest.position):
            return verified_by_size(size)
        msg = (
            f"{address}: the bytes that arrived have the ETag {found}, but the object has {self._etag}; {IF_NO_DIGEST}"
        )
        raise ChecksumMismatchError(msg)

    def _has_its_parts(self, sizes: PartSizes) -> bool:
        """Return whether the bytes that arrived make as many parts as the ETag says."""
        return sizes.make(parts_of_etag(self._etag, None) or 0, max(1, self.digest.position))


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
