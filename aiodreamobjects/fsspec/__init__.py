"""A filesystem for fsspec: ``dreamobjects://bucket/key`` in pandas, pyarrow, dask, zarr, duckdb, xarray.

Install ``aiodreamobjects[fsspec]``. The names ``dreamobjects`` and ``dream`` are then known to fsspec. ``register(s3=True)`` takes
over ``s3`` too.
"""

try:
    from aiodreamobjects.fsspec._border import register_implementation
except ModuleNotFoundError as error:
    message = "aiodreamobjects.fsspec needs an extra: pip install 'aiodreamobjects[fsspec]'"
    raise ModuleNotFoundError(message, name=error.name) from error

from aiodreamobjects.fsspec._files import DreamObjectsAsyncFile, DreamObjectsFile
from aiodreamobjects.fsspec._filesystem import PROTOCOLS, DreamObjectsFileSystem

__all__ = ["DreamObjectsAsyncFile", "DreamObjectsFile", "DreamObjectsFileSystem", "register"]


def register(*, s3: bool = False) -> None:
    """Make the filesystem known to fsspec, as installing the package does. With ``s3``, for ``s3://`` addresses too."""
    for name in (*PROTOCOLS, *(("s3",) if s3 else ())):
        register_implementation(name, DreamObjectsFileSystem, clobber=True)
