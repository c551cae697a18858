"""The paths of universal-pathlib for this filesystem: ``UPath("dreamobjects://bucket/key")``. It finds the class by an entry point."""

from __future__ import annotations

from upath._flavour import WrappedFileSystemFlavour
from upath.implementations.cloud import CloudPath

from aiodreamobjects.fsspec._filesystem import DreamObjectsFileSystem


class DreamObjectsPath(CloudPath):  # type: ignore[misc]  # universal-pathlib need not be installed
    """A path whose drive is its bucket, as those of ``s3://``."""

    __slots__ = ()
    # universal-pathlib has a list of the protocols that begin with a bucket, and nowhere else to say so.
    parser = WrappedFileSystemFlavour(DreamObjectsFileSystem, netloc_is_anchor=True, supports_empty_parts=True)
