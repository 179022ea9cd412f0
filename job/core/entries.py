"""Entries that users bring: what a table of this project holds, a module of the user's own can hold, too.

Where a setting takes the name of a feature, a label or an algorithm, it also takes an import path such as
`mypackage.alphas:FEATURES`. The digest of the module's source enters the fingerprint of every model that uses it, so a
change to it trains those models again.
"""

import ast
import hashlib
import importlib
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Final

from job.core.errors import ConfigError
from job.core.wording import on_one_line

DIGEST_DIGITS: Final = 12


class EntryError(ConfigError, ValueError):
    """An import path or a name that leads to nothing usable.

    It is a ValueError, too: validation of settings then says which setting holds it.
    """


def is_import_path(name: str) -> bool:
    """Return whether `name` is an import path, `package.module:NAME`, and not the name of an entry of a table."""
    module, colon, attribute = name.partition(":")
    return bool(colon) and all(part.isidentifier() for part in [*module.split("."), *attribute.split(".")])


@cache
def import_entry(path: str) -> object:
    """Return what the import path `package.module:NAME` names. The current folder is searched, too.

    Raises:
        EntryError: there is no such module or name, or the module cannot be imported; with the node and the remedy.
    """
    module, _, attribute = path.partition(":")
    _search_current_folder()
    try:
        found: object = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except ModuleNotFoundError as error:
        raise EntryError(
            f"{path}: no module {error.name!r} on node {platform.node()}: put it into the folder that the job is "
            "started from (`ray job submit --working-dir .` ships it), or install it on every node"
        ) from None
    except AttributeError:
        raise EntryError(f"{path}: module {module} on node {platform.node()} has no {attribute!r}") from None
    except Exception as error:  # noqa: BLE001 - importing a user's module runs code that may raise anything
        reason = f"{type(error).__name__}: {on_one_line(error)}"
        raise EntryError(f"{path}: module {module} cannot be imported on node {platform.node()} ({reason})") from None
    return found


def _search_current_folder() -> None:
    if os.getcwd() not in sys.path:  # noqa: PTH109 - what Python itself puts on the path
        sys.path.append(os.getcwd())  # noqa: PTH109


@cache
def source_digest(*paths: str) -> str:
    """Return 12 hex digits of the SHA-256 over the `sources` of import paths.

    Raises:
        EntryError: as `import_entry`, for a path without source.
    """
    found: dict[str, bytes] = {}
    for path in paths:
        if not (of_path := sources(path)):
            import_entry(path)  # which says what is wrong where there is no such module
            raise EntryError(f"{path}: its module is not made from Python source: put the entry into a .py file")
        found |= of_path
    digest = hashlib.sha256()
    for name, source in sorted(found.items()):
        digest.update(name.encode() + b"\0" + source + b"\0")
    return digest.hexdigest()[:DIGEST_DIGITS]


def sources(path: str) -> dict[str, bytes]:
    """Return the source of an import path's module, by module, and of what it imports of its own top-level package.

    Modules that those import in turn are among them. Nothing is imported. Empty where there is no such source.
    """
    _search_current_folder()
    module = path.partition(":")[0]
    top = module.partition(".")[0]
    found: dict[str, bytes] = {}
    pending = [module]
    while pending:
        name = pending.pop()
        if name in found or name.partition(".")[0] != top or (file := _source_file(name)) is None:
            continue
        found[name] = file.read_bytes()
        pending.extend(_imported(ast.parse(found[name]), name, is_package=file.name == "__init__.py"))
    return found


def _source_file(module: str) -> Path | None:
    """Return the file that a module is made from; None for what is no module, or is not made from source.

    `importlib.util.find_spec` would import the packages that the module is in.
    """
    folders: Sequence[str] | None = None
    origin: str | None = None
    parts = module.split(".")
    for count in range(1, len(parts) + 1):
        name = ".".join(parts[:count])
        found = (finder.find_spec(name, folders) for finder in sys.meta_path)
        spec = next((spec for spec in found if spec is not None), None)
        if spec is None or (count < len(parts) and spec.submodule_search_locations is None):
            return None
        folders, origin = spec.submodule_search_locations, spec.origin
    return Path(origin) if origin is not None and origin.endswith(".py") else None


def _imported(tree: ast.Module, module: str, *, is_package: bool) -> Iterator[str]:
    """Yield every module that a module may import, with the packages that they are in; some names are none."""
    package = module if is_package else module.rpartition(".")[0]
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        for name in names:
            parts = name.split(".")
            yield from (".".join(parts[:count]) for count in range(1, len(parts) + 1))
