"""Sphinx configuration: ``sphinx-build -W --keep-going -n -b html docs docs/_build``."""

from __future__ import annotations

import ast
import re
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sphinx.util.typing import stringify_annotation

import aiodreamobjects

if TYPE_CHECKING:
    from docutils.nodes import Element, TextElement
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

project = "aiodreamobjects"
author = "The aiodreamobjects authors"
copyright = "The aiodreamobjects authors"
release = version = aiodreamobjects.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode", "sphinx_copybutton"]
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"aiodreamobjects {release}"
html_copy_source = False
html_show_sourcelink = False

add_module_names = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 110
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"

nitpicky = True
nitpick_ignore = [
    # The standard library's: no inventory is fetched, so that a build needs no network.
    *(
        ("py:class", name)
        for name in (
            "AbstractAsyncContextManager",
            "aiodreamobjects.asgi.content.ResponseOptions",  # the docstring describes each of them
            "aiohttp.web_request.Request",
            "aiohttp.web_response.StreamResponse",
            "collections.abc.AsyncIterable",
            "collections.abc.AsyncIterator",
            "collections.abc.Awaitable",
            "collections.abc.AsyncGenerator",
            "collections.abc.Callable",
            "collections.abc.Iterable",
            "collections.abc.Mapping",
            "collections.abc.MutableMapping",
            "collections.abc.Sequence",
            "contextlib.AbstractAsyncContextManager",
            "concurrent.futures._base.Executor",
            "Executor",  # the same, as the options of verbs have it
            "builtins.object",  # a class has a method of that name
            "timedelta",
            "datetime",  # as the options of verbs have it, whose types are text
            "Mapping[str",  # the same, cut at its comma
            "datetime.datetime",
            "datetime.timedelta",
            "os.PathLike",
            "pathlib.Path",
        )
    ),
    # aioboto3's and aiobotocore's, for the same reason.
    ("py:class", "aioboto3.Session"),
    ("py:class", "aiobotocore.session.AioSession"),
    ("py:class", "S3Client"),  # of types_aiobotocore_s3, known to type checkers only
    # No public classes: what a Listing, an Applied, or bind is of, keys that a Recipe hides, and whatever has the ``write`` of an aiofiles file.
    # Names of types, which have no page of their own: "Types of arguments" says what they are.
    *(("py:class", name) for name in aiodreamobjects.__all__ if not isinstance(getattr(aiodreamobjects, name), type)),
    ("py:class", "T"),
    ("py:class", "aiodreamobjects._bucket.T"),
    ("py:class", "aiodreamobjects._session.H"),
    ("py:class", "aiodreamobjects._config.Credentials"),
    ("py:class", "aiodreamobjects._listing.pages.T"),
    ("py:class", "aiodreamobjects.asgi.forms.FormRequest"),
    ("py:class", "aiodreamobjects._transfer.body.AsyncWriter"),
]

# What signatures say, and what they shall say.
READABLE = {
    # Literals with a public name.
    **{
        stringify_annotation(getattr(aiodreamobjects, name), "smart"): f"~aiodreamobjects.{name}"
        for name in (
            *("CannedAcl", "Compare", "IfChanged", "Symlinks", "TreeReason", "Uploadable"),
            *("Verified", "Verify", "VersioningStatus"),
        )
    },
    "BotoSession": "aioboto3.Session | aiobotocore.session.AioSession",
    "= <factory>": "= ...",
}


def resolve_public_name(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: TextElement) -> Element | None:
    """Link ``aiodreamobjects._models.ObjectInfo``, where it is defined, to ``aiodreamobjects.ObjectInfo``."""
    package, _, path = node.get("reftarget", "").partition("._")
    name = path.rpartition(".")[2]
    if node.get("refdomain") != "py" or package != "aiodreamobjects" or name not in aiodreamobjects.__all__:
        return None
    domain = env.get_domain("py")
    public = f"aiodreamobjects.{name}"
    for kind in (node["reftype"], "obj"):
        if found := domain.resolve_xref(env, node["refdoc"], app.builder, kind, public, node, content):
            return found
    return None


def make_readable(*event: Any) -> tuple[str | None, str | None]:
    """``acl: CannedAcl`` in place of the eight names that one may be, and the like."""
    arguments, result = event[-2:]
    for said, better in READABLE.items():
        arguments = arguments and arguments.replace(said, better)
        result = result and result.replace(said, better)
    return arguments, result


EXAMPLES = Path(__file__).parent.parent / "examples"
FILES = {"web_service": ("app.py", "files.py", "__main__.py"), "worker": ("tasks.py", "__main__.py")}
"""What the page of a directory shows; of a script, itself."""


def write_example(name: str, files: tuple[str, ...]) -> None:
    """Write the page of an example: its docstring, its output, its code."""
    root = EXAMPLES / name if name in FILES else EXAMPLES
    title, _, usage = (ast.get_docstring(ast.parse((root / files[0]).read_text())) or "").partition("\n")
    parts = [f"# {title.partition(':')[0].rstrip('.')}", title]
    for block in usage.strip().split("\n\n"):
        is_code = block.startswith("    ")
        parts.append(f"```sh\n{textwrap.dedent(block)}\n```" if is_code else block.replace("``", "`"))
    parts += ["What it prints:", f"```{{literalinclude}} ../outputs/{name}.txt\n:language: text\n```"]
    for file in files:
        shown = (root / file).relative_to(EXAMPLES.parent).as_posix()
        parts += [f"## `{shown}`", f"```{{literalinclude}} ../../{shown}\n```"]
    text, page = "\n\n".join(parts) + "\n", Path(__file__).parent / "examples" / f"{name}.md"
    page.parent.mkdir(exist_ok=True)
    if not page.exists() or page.read_text() != text:  # otherwise it is read again at each build
        page.write_text(text)


def setup(app: Sphinx) -> None:
    for name in re.findall(r"^examples/(\w+)$", Path(__file__).with_name("examples.md").read_text(), re.MULTILINE):
        write_example(name, FILES.get(name, (f"{name}.py",)))
    app.connect("autodoc-process-signature", make_readable)
    app.connect("missing-reference", resolve_public_name)


# The manual page of the command, from the same page: sphinx-build -b man docs build/man
man_pages = [("cli", "dreamobjects", "work with DreamObjects and every other S3 service", [], 1)]
