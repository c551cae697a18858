"""The border to fsspec, which has no types: the names that are used here, and their types."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, MutableMapping
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:

    class AsyncFileSystem:
        async_impl: bool
        cachable: bool
        protocol: str | tuple[str, ...]
        root_marker: str
        asynchronous: bool
        batch_size: int | None
        blocksize: int
        dircache: MutableMapping[str, list[dict[str, Any]]]
        storage_options: dict[str, Any]
        _strip_tokenize_options: ClassVar[tuple[str, ...]]
        _intrans: bool
        _pid: int
        _loop: asyncio.AbstractEventLoop | None
        _fs_token: str

        def __init__(
            self,
            *args: Any,
            asynchronous: bool = False,
            loop: asyncio.AbstractEventLoop | None = None,
            batch_size: int | None = None,
            **kwargs: Any,
        ) -> None: ...
        @property
        def loop(self) -> asyncio.AbstractEventLoop | None: ...
        @classmethod
        def _strip_protocol(cls, path: Any) -> Any: ...
        @classmethod
        def _parent(cls, path: str) -> str: ...
        def invalidate_cache(self, path: str | None = None) -> None: ...
        def open(self, *args: Any, **kwargs: Any) -> Any: ...
        async def _expand_path(
            self, path: Any, recursive: bool = False, maxdepth: int | None = None, assume_literal: bool = False
        ) -> list[str]: ...
        async def _get(self, rpath: Any, lpath: Any, **kwargs: Any) -> Any: ...
        async def _put(self, lpath: Any, rpath: Any, **kwargs: Any) -> Any: ...
        async def _glob(self, path: str, maxdepth: int | None = None, **kwargs: Any) -> Any: ...
        def info(self, path: str, **kwargs: Any) -> dict[str, Any]: ...
        def mv(
            self, path1: Any, path2: Any, recursive: bool = False, maxdepth: int | None = None, **kwargs: Any
        ) -> None: ...
        @property
        def transaction(self) -> Any: ...
        @classmethod
        def clear_instance_cache(cls) -> None: ...
        def __getattr__(self, name: str) -> Any:
            """The synchronous methods: fsspec makes them of the asynchronous ones."""

    class AbstractBufferedFile(io.IOBase):
        path: str
        mode: str
        blocksize: int
        loc: int
        autocommit: bool
        closed: bool
        kwargs: dict[str, Any]
        size: int
        buffer: io.BytesIO
        offset: int | None
        forced: bool
        cache: Any
        details: dict[str, Any]

        def __init__(self, *args: Any, **kwargs: Any) -> None: ...
        def write(self, data: Any) -> int: ...
        def flush(self, force: bool = False) -> None: ...

    class AbstractAsyncStreamedFile:
        path: str
        mode: str
        blocksize: int
        loc: int
        size: int
        closed: bool

        def tell(self) -> int: ...

    class Callback:
        def set_size(self, size: int | None) -> None: ...
        def absolute_update(self, value: int) -> None: ...

    NO_CALLBACK: Callback
    compr: dict[str | None, Callable[..., Any]]

    class FSTimeoutError(TimeoutError): ...

    def get_loop() -> asyncio.AbstractEventLoop: ...
    def reset_lock() -> None: ...
    def tokenize(*args: Any, **kwargs: Any) -> str: ...
    def make_path_posix(path: Any) -> str: ...
    def stringify_path(path: Any) -> Any: ...
    def get_compression(path: str, compression: str | None) -> str | None: ...
    def register_implementation(name: str, cls: type, clobber: bool = False) -> None: ...

else:
    from fsspec.asyn import AbstractAsyncStreamedFile, get_loop, reset_lock
    from fsspec.asyn import AsyncFileSystem as _AsyncFileSystem
    from fsspec.callbacks import DEFAULT_CALLBACK as NO_CALLBACK
    from fsspec.callbacks import Callback
    from fsspec.compression import compr
    from fsspec.core import get_compression
    from fsspec.exceptions import FSTimeoutError
    from fsspec.implementations.local import make_path_posix
    from fsspec.registry import register_implementation
    from fsspec.spec import AbstractBufferedFile
    from fsspec.utils import stringify_path, tokenize

    def _plain(value: object) -> object:
        return str.__str__(value) if isinstance(value, str) else value

    class _ByValue(type(_AsyncFileSystem)):
        """fsspec finds a filesystem again by the repr of its options. One that hides a secret would make two look equal."""

        def __call__(cls, *args: object, **options: object) -> object:
            return super().__call__(*map(_plain, args), **{name: _plain(value) for name, value in options.items()})

    class AsyncFileSystem(_AsyncFileSystem, metaclass=_ByValue):
        pass


__all__ = [
    "NO_CALLBACK",
    "AbstractAsyncStreamedFile",
    "AbstractBufferedFile",
    "AsyncFileSystem",
    "Callback",
    "FSTimeoutError",
    "compr",
    "get_compression",
    "get_loop",
    "make_path_posix",
    "register_implementation",
    "reset_lock",
    "stringify_path",
    "tokenize",
]
