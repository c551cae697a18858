"""Import a module when it is first used, not when the program starts. docs/architecture.md says where this is done."""

from __future__ import annotations


class Later:
    """Stands for a module, and imports it when the first of its names is used.

    Type checkers and ``lint-imports`` see the real import beside it, under ``if TYPE_CHECKING``.
    """

    def __init__(self, module: str) -> None:
        self._module = module

    def __getattr__(self, name: str) -> object:
        # Not import_module: -X importtime does not show what that imports.
        found = getattr(__import__(self._module, fromlist=(name,)), name)
        setattr(self, name, found)  # so the next use costs no more than that of a real module
        return found
