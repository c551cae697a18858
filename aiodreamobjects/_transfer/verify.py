"""Whether a content is the one that its ETag tells of, as far as an ETag does."""

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
from aiodreamobjects._s3.s3 import S3
from aiodreamobjects._transfer.parts import PartSizes, known_parts


class ContentCheck:
    """The digest of a content as it passes, and what it is compared with.

    An ETag is the content's MD5, or the MD5 of its parts' MD5s. For the latter one must know where the parts were cut:
    by our own metadata, by the usual sizes, or, where these do not tell, by asking the service.
    """

    def __init__(self, etag: str, sizes: PartSizes | None, *, is_certain: bool) -> None:
        self._etag = etag
        self.part_sizes, self.is_certain = sizes, is_certain
        self.digest = EtagDigest(sizes)

    @classmethod
    def of(cls, info: ObjectInfo, obstacle: str | None) -> ContentCheck | None:
        """None where the ETag says nothing of the content, or it cannot be told where the parts were cut."""
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
        cls, s3: S3, address: Address, info: ObjectInfo, obstacle: str | None, *, doubts: bool
    ) -> ContentCheck | None:
        """The same; where nothing else is certain the service is asked for the sizes of the first part and the last.

        ``doubts``: what is certain was not right; another tool may have copied our metadata, and cut elsewhere.
        """
        found = cls.of(info, obstacle)
        count = parts_of_etag(info.etag, obstacle)
        if count is None or info.size == 0 or (found is not None and found.is_certain and not doubts):
            return found
        assert info.etag
        try:
            first = await s3.size_of_part(address, 1, info.etag)
            last = await s3.size_of_part(address, count, info.etag) if first else None
        except (PreconditionFailedError, NotFoundError) as error:
            msg = f"{address} changed while it was downloaded"
            raise ObjectChangedError(msg) from error
        except ServiceError:  # it knows nothing of parts
            return found
        if not first or not last:
            return found
        if info.size is None:  # the parts between may be of other sizes
            return found or cls(info.etag, PartSizes(first), is_certain=False)
        if (count - 1) * first + last != info.size:
            return found and cls(info.etag, found.part_sizes, is_certain=False)
        return cls(info.etag, PartSizes(first), is_certain=True)

    def is_cut_by(self, size: int) -> bool:
        """Whether all parts, but the last, have this size."""
        return self.part_sizes == PartSizes(size)

    async def update(self, data: Buffer) -> None:
        await self.digest.update(data)

    def verdict(self, address: Address, size: int | None) -> Verified | None:
        """Return how the content was verified. ``size``: as the service tells it. Raises ChecksumMismatchError.

        A mismatch proves nothing where the cuts were only guessed; nor where the object's metadata tells cuts that do not
        make as many parts of what arrived, and what arrived has the size that was told: another tool has cut it anew.
        """
        found = self.digest.value()
        if found == self._etag:
            return "md5" if self.part_sizes is None else "parts"
        is_stale = self.part_sizes is not None and not self._has_its_parts(self.part_sizes)
        if not self.is_certain or (is_stale and size == self.digest.position):
            return verified_by_size(size)
        msg = f"{address}: the bytes that arrived have the ETag {found}, the object has {self._etag}; {IF_NO_DIGEST}"
        raise ChecksumMismatchError(msg)

    def _has_its_parts(self, sizes: PartSizes) -> bool:
        """Whether what arrived makes as many parts as the ETag counts."""
        return sizes.make(parts_of_etag(self._etag, None) or 0, max(1, self.digest.position))


async def size_by_head(s3: S3, address: Address, etag: str | None) -> int | None:
    """Return the size of the object that has this ETag; None where the service does not tell."""
    try:
        found = await s3.head_object(address)
    except ServiceError:
        return None
    return found.size if found.etag == etag else None


def verified_by_size(announced: int | None) -> Verified | None:
    """Of a content whose digest was not compared. Its length says something only where it was announced."""
    return None if announced is None else "size"
