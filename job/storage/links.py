"""Follow symbolic links of local folders: what they lead to is listed once, and no link leads around in a circle."""

import os
from typing import Any, Final

Infos = dict[str, dict[str, Any]]

BROKEN: Final = "links that lead nowhere"
CIRCLE: Final = "links that lead back to a folder above them"
TWICE: Final = "links to what is read anyway"


def follow(fs: Any, infos: Infos) -> tuple[Infos, dict[str, str]]:
    """Put the files that links lead to in place of the links.

    Returns:
        Files by the names under which they are found, and for each link that is left out the reason.
    """
    links = {name: info for name, info in infos.items() if info.get("islink")}
    if not links:
        return infos, {}
    files = {name: info for name, info in infos.items() if name not in links}
    known = {os.path.realpath(name) for name in files}
    left_out: dict[str, str] = {}
    waiting, entered = sorted(links), set[str]()
    while waiting:
        link = waiting.pop(0)
        real, parent = os.path.realpath(link), os.path.realpath(link.rpartition("/")[0])
        target, found, reason = target_of(fs, link), Infos(), ""
        if real in entered:
            reason = TWICE
        elif target is None:
            reason = BROKEN
        elif target["type"] != "directory":
            found = {link: target}
        elif f"{parent}/".startswith(f"{real.rstrip('/')}/"):
            reason = CIRCLE
        else:
            found = fs.find(link, detail=True)
        entered.add(real)
        inner = sorted(name for name, info in found.items() if info.get("islink") and name != link)
        waiting += inner
        new = {name: info for name, info in found.items() if name not in inner and os.path.realpath(name) not in known}
        known |= set(map(os.path.realpath, new))
        files |= new
        if link in links and not new:
            left_out[link] = reason or TWICE
    through = {link for link in left_out if any(name.startswith(f"{link}/") for name in files)}
    return files, {link: reason for link, reason in left_out.items() if link not in through}


def target_of(fs: Any, link: str) -> dict[str, Any] | None:
    """Return the details of what a link leads to, None where that is nothing."""
    try:
        info: dict[str, Any] = fs.info(link)
    except OSError:
        return None
    return info
