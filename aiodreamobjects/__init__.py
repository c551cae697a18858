"""High-concurrency object operations on DreamObjects and every service like it.

Open one session, share it among all tasks::

    import aiodreamobjects as dream

    async with dream.Session() as session:
        bucket = await session.create_bucket("my-new-bucket")
        await bucket.object("hello.txt").put("Hello World!")
"""

import typing

__version__ = "0.1.0"

# The names and their modules are in ``_public``. A module is imported when the first of its names is used: ``dreamobjects --help``
# uses none, and most programs need few.
if typing.TYPE_CHECKING:
    from aiodreamobjects._public import *  # noqa: F403 - its __all__ lists them
    from aiodreamobjects._public import __all__ as __all__
else:

    def __getattr__(name: str) -> object:
        if name == "__all__" or not name.startswith("_"):
            from aiodreamobjects import _public  # noqa: PLC0415 - here, or it is not lazy

            module = "_public" if name == "__all__" else _public.MODULE_OF.get(name)
            if module is not None:
                found = globals()[name] = getattr(__import__(f"{__name__}.{module}", fromlist=(name,)), name)
                return found
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__getattr__("__all__")})
