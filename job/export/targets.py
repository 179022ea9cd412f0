"""Where versions can be exported to: what a target must do, and the table of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any, Final, Protocol

from job.core.environment import installed
from job.core.errors import ConfigError
from job.core.keys import Key
from job.registry.aliases import Aliases


@dataclass(frozen=True)
class Version:
    """A committed version: its files by name, metadata first, and the SHA-256 of the metadata, which names the others.

    `series` and `name` together are its identity in a target.
    """

    key: Key
    name: str
    sha256: str
    metadata: Mapping[str, Any]
    files: Mapping[str, bytes]


class Target(Protocol):
    """A connected target. All of a target's errors are RegistryErrors of one line."""

    def add(self, version: Version, *, dry_run: bool) -> str | None:
        """Export a version, unless one of its name is there: then return the digest of the metadata of that one.

        It is there whole or not at all. A dry run only looks.
        """

    def set_aliases(self, key: Key, aliases: Aliases) -> None:
        """Let the target's aliases of a model name the exported versions that the registry's name, and no others."""


@dataclass(frozen=True)
class TargetEntry:
    """An entry of the table.

    Attributes:
        connect: dotted name of the function that takes the address (None: what the environment says) and returns the
            `Target`.
        library: that it needs.
        extra: of this project that installs the library.
    """

    connect: str
    library: str
    extra: str


TARGETS: Final = {"mlflow": TargetEntry("job.export.mlflow_server:connect", library="mlflow-skinny", extra="mlflow")}


def connect(name: str, address: str | None) -> Target:
    """Connect to a target of the table.

    Raises:
        ConfigError: its library is not installed, no address is given, or nothing answers there.
    """
    entry = TARGETS[name]
    if installed(entry.library) is None and installed(entry.library.removesuffix("-skinny")) is None:
        raise ConfigError(
            f"export to {name} needs {entry.library}, which is not installed: "
            f"pip install -c constraints.txt '.[{entry.extra}]'"
        )
    target: Target = resolve_name(entry.connect)(address)
    return target
