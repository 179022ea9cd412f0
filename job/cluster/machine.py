"""What a local Ray needs of this machine: a folder with a short name, shared memory, a free port."""

import logging
import os
import socket
import sys
import tempfile
from pathlib import Path
from typing import Final

from job.core.errors import ConfigError

SOCKET_PATH: Final = 107 if sys.platform == "linux" else 103
"""Bytes that the path of a Unix socket may have."""
LONGEST_NAME: Final = "/session_2026-11-29_10-17-37_848064_4194304/sockets/plasma_store.1"
"""What Ray adds to the path of its folder."""
SHORT_FOLDERS: Final = ("/tmp/ray", "/tmp/ray-{user}", "/var/tmp/ray-{user}", "~/.ray")  # noqa: S108
"""Where Ray may be started if not where it would by itself; the first one may belong to somebody else."""
SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - where Linux keeps it
PORT: Final = "RAY_GCS_SERVER_PORT"

log = logging.getLogger("job")


def ray_folder() -> str | None:
    """Return where Ray is to keep its sockets and logs, None for where it does by itself.

    That is RAY_TMPDIR, else TMPDIR, else /tmp. Where it cannot be used, a shorter one is, and a line says so.

    Raises:
        ConfigError: no folder can be used.
    """
    if sys.platform == "win32":
        return None
    own = next((name for name in ("RAY_TMPDIR", "TMPDIR") if os.environ.get(name)), None)
    wanted = Path(os.environ[own] if own else "/tmp") / "ray"  # noqa: S108 - Ray's own default
    obstacle = _obstacle(wanted)
    if obstacle is None:
        return None
    name = f"{own}={wanted.parent}" if own else str(wanted.parent)
    for folder in (Path(one.format(user=os.getuid())).expanduser() for one in SHORT_FOLDERS):
        if folder != wanted and _obstacle(folder) is None:
            log.warning("%s %s, so Ray's files go to %s; RAY_TMPDIR chooses another folder", name, obstacle, folder)
            return str(folder)
    most = SOCKET_PATH - len(LONGEST_NAME) - len("/ray")
    raise ConfigError(
        f"Ray cannot start: {name} {obstacle}, and no other folder can be used: set RAY_TMPDIR, or TMPDIR, to a folder "
        f"that can be written and whose path has at most {most} characters"
    )


def _obstacle(folder: Path) -> str | None:
    """Return why Ray cannot use a folder, None where it can; make it where it is not there."""
    if len(os.fsencode(folder)) + len(LONGEST_NAME) > SOCKET_PATH:
        return "is too long a path for Ray's sockets"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return f"cannot be written ({error.strerror or error})"


def check_machine() -> None:
    """Check what Ray finds out late, or says in many lines.

    Raises:
        ConfigError: there is no shared memory, or the port that was chosen for Ray is taken.
    """
    if sys.platform == "linux" and not SHARED_MEMORY.is_dir():
        raise ConfigError(
            f"Ray cannot start: {SHARED_MEMORY}, its shared memory, is not there: mount it "
            f"(`mount -t tmpfs shm {SHARED_MEMORY}`), or start the container with --shm-size=2g"
        )
    if not (port := os.environ.get(PORT)):
        return
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # what has just closed does not count
            probe.bind(("", int(port) if port.isdecimal() else -1))
    except (OSError, OverflowError):
        raise ConfigError(
            f"Ray cannot start: port {port} ({PORT}) is taken or none: end what listens there, choose another port, "
            f"or unset {PORT} to let Ray choose"
        ) from None
