"""The tree verbs, for ``Bucket``. It imports them when the first of them is called."""

from aiodreamobjects._tree.check import CheckBy, CheckTree
from aiodreamobjects._tree.copy import CopyTree, MoveTree
from aiodreamobjects._tree.download import DownloadTree
from aiodreamobjects._tree.names import Patterns
from aiodreamobjects._tree.objects import Objects
from aiodreamobjects._tree.plan import Compare, TreeOptions
from aiodreamobjects._tree.restore import RestoreTree
from aiodreamobjects._tree.run import Run
from aiodreamobjects._tree.upload import HeadersFor, UploadTree
from aiodreamobjects._tree.walk import Symlinks

__all__ = [
    "CheckBy",
    "CheckTree",
    "Compare",
    "CopyTree",
    "DownloadTree",
    "HeadersFor",
    "MoveTree",
    "Objects",
    "Patterns",
    "RestoreTree",
    "Run",
    "Symlinks",
    "TreeOptions",
    "UploadTree",
]
