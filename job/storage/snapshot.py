"""A storage as one listing showed it, for who asks about thousands of folders at once."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from job.storage.files import Storage


class Snapshot(Storage):
    """The files of a storage at one moment: what is listed comes from memory, what is read from the storage.

    A plan that asks of each of its models which versions, aliases and comparisons there are makes one listing instead
    of several for each model. A file that came later is not listed, but is found by its name.
    """

    def __init__(self, storage: Storage) -> None:
        self.__dict__.update(vars(storage))
        self._paths = storage.list()

    def listings(self, *prefixes: str) -> Iterator[Sequence[str]]:
        """Yield the paths of all whole files below each of the folders `prefixes` (default: all), as they were."""
        for prefix in dict.fromkeys(prefixes) or [""]:
            if not prefix:
                yield self._paths
                continue
            # "0" is the character after "/", so between the two is what lies in the folder.
            first, last = (bisect_left(self._paths, f"{prefix}{end}") for end in "/0")
            yield self._paths[first:last]

    def sizes(self, *prefixes: str) -> dict[str, int]:
        """Return the bytes of all whole files below the folders `prefixes` that held any, by path, sorted."""
        held = [prefix for prefix in prefixes if any(self.listings(prefix))]
        return super().sizes(*held) if held or not prefixes else {}

    def exists(self, path: str) -> bool:
        """Return whether there is a file (not a folder) at `path`."""
        at = bisect_left(self._paths, path)
        return self._paths[at : at + 1] == [path] or super().exists(path)
