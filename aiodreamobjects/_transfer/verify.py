"""Whether a content is the one that its ETag tells of, as far as an ETag does."""

from __future__ import annotations

from aiodreamobjects._errors import (
    ChecksumMismatchError,
    NotFoundError,
    ObjectChangedError,
    PreconditionFailedError,
    ServiceError,
)
from aiodreamobjects._integrity import EtagDigest, md5_of_etag, parts_of_etag
from aiodreamobjects._models import Address, ObjectInfo, Verified
from aiodreamobjects._transfer.parts import PartSizes, known_parts
from aiodreamobjects._wire.contract import Buffer, Wire


class ContentCheck:
    """The digest of a content as it passes, and what it is compared with.

    An ETag is the content's MD5, or the MD5 of its parts' MD5s. For the latter one must know where the parts were cut:
    by our own metadata, by the usual sizes, or, where these do not tell, by asking the service.
    """

    def __init__(self, etag: str, size: int, sizes: PartSizes | None, *, is_certain: bool) -> None:
        self._etag, self._size = etag, size
        self.part_sizes, self.is_certain = sizes, is_certain
        self.digest = EtagDigest(sizes)

    @classmethod
    def of(cls, info: ObjectInfo, encryption: str | None) -> ContentCheck | None:
        """None where the ETag says nothing of the content, or it cannot be told where the parts were cut."""
        if info.etag is None or info.size is None:
            return None
        if md5_of_etag(info.etag, encryption):
            return cls(info.etag, info.size, None, is_certain=True)
        count = parts_of_etag(info.etag, encryption)
        if count is None or not info.size:
            return None
        sizes, is_certain = known_parts(info.size, count, info.metadata)
        return None if sizes is None else cls(info.etag, info.size, sizes, is_certain=is_certain)

    @classmethod
    async def asking(
        cls, wire: Wire, address: Address, info: ObjectInfo, encryption: str | None, *, doubts: bool
    ) -> ContentCheck | None:
        """The same; where nothing else is certain the service is asked for the sizes of the first part and the last.

        ``doubts``: what is certain was not right; another tool may have copied our metadata, and cut elsewhere.
        """
        found = cls.of(info, encryption)
        count = parts_of_etag(info.etag, encryption)
        if count is None or not info.size or (found is not None and found.is_certain and not doubts):
            return found
        assert info.etag
        try:
            first = await wire.size_of_part(address, 1, info.etag)
            last = await wire.size_of_part(address, count, info.etag) if first else None
        except (PreconditionFailedError, NotFoundError) as error:
            msg = f"{address} changed while it was downloaded"
            raise ObjectChangedError(msg) from error
        except ServiceError:  # it knows nothing of parts
            return found
        if not first or not last:
            return found
        if (count - 1) * first + last != info.size:
            return found and cls(info.etag, info.size, found.part_sizes, is_certain=False)
        return cls(info.etag, info.size, PartSizes(first), is_certain=True)

    def is_cut_by(self, size: int) -> bool:
        """Whether all parts, but the last, have this size."""
        return self.part_sizes == PartSizes(size)

    async def update(self, data: Buffer) -> None:
        await self.digest.update(data)

    def verdict(self, address: Address) -> Verified:
        """ChecksumMismatchError for other bytes. Where the cuts were only guessed, a mismatch proves nothing."""
        found = self.digest.value()
        if found == self._etag:
            return "md5" if self.part_sizes is None else "parts"
        if not self.is_certain:
            return "size"
        msg = f"{address}: the bytes that arrived have the ETag {found}, the object has {self._etag}"
        raise ChecksumMismatchError(msg)
