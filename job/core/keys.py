"""The name of a model: which series, timeframe and kind it stands for, and its folder in the registry."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Protocol, TypeVar
from urllib.parse import quote, unquote

from job.core.errors import DataError
from transforms.bars import duration_us

POOLED: Final = "pooled"
ALL: Final = "all"
RESERVED: Final = frozenset(
    {"aliases", "comparisons", "listings", "model_metadata.json", "pruned", "rejected", "runs", "tuning", "watch"}
)
"""Top-level names of a registry that are no exchanges."""

DEVICES: Final = frozenset({"CON", "PRN", "AUX", "NUL", *(f"{port}{n}" for port in ("COM", "LPT") for n in range(10))})
"""Names that mean a device on Windows, whatever follows a dot."""


@dataclass(frozen=True, order=True)
class Key:
    """Identity of a model across versions. A pooled model has exchange `pooled` and symbol `all` or the exchange."""

    exchange: str
    symbol: str
    timeframe: str
    model_type: str

    @property
    def parts(self) -> tuple[str, str, str, str]:
        """Its fields: what it is sorted by, faster than by comparing keys."""
        return self.exchange, self.symbol, self.timeframe, self.model_type

    @property
    def folder(self) -> str:
        """Folder of the series below the registry's root, safe on every file system: `binance/BTC%2FUSDT`."""
        return f"{encode(self.exchange)}/{encode(self.symbol)}"

    @property
    def stem(self) -> str:
        """What every version's name starts with: `analyst_1h`."""
        return f"{self.model_type}_{self.timeframe}"

    def __str__(self) -> str:
        return f"{self.exchange}/{self.symbol} {self.model_type} {self.timeframe}"


def model_owner(exchange: str, symbol: str, group_by: Collection[str]) -> tuple[str, str]:
    """Return (exchange, symbol) in the key of the model that is trained on a series, among others where pooled."""
    if "symbol" in group_by:
        return exchange, symbol
    return POOLED, exchange if "exchange" in group_by else ALL


class Kind(Protocol):
    """Anything that is of one kind of model and one timeframe."""

    @property
    def model_type(self) -> str:
        """Such as `analyst`."""

    @property
    def timeframe(self) -> str:
        """Such as `15m`."""


def kind_order(of: Kind) -> tuple[str, int]:
    """Sort key by which people read models: by kind, then from the longest timeframe to the shortest."""
    return of.model_type, -duration_us(of.timeframe)


class Keyed(Protocol):
    """Anything that is about a model."""

    @property
    def key(self) -> Key:
        """The model."""


T = TypeVar("T", bound=Keyed)


def by_kind(some: Iterable[T]) -> dict[str, list[T]]:
    """Return what there is of each kind and timeframe, by names such as `analyst 15m`, in the order of `kind_order`."""
    kinds: dict[str, list[T]] = {}
    for one in sorted(some, key=lambda one: kind_order(one.key)):
        kinds.setdefault(f"{one.key.model_type} {one.key.timeframe}", []).append(one)
    return kinds


def sums_by_kind(counted: Iterable[tuple[Key, Mapping[str, int]]]) -> dict[str, Counter[str]]:
    """Return the sums of what is counted of models, by kind as `by_kind` has them; only the sums are held in memory."""
    sums: dict[tuple[str, str], Counter[str]] = {}
    for key, counts in counted:
        sums.setdefault((key.model_type, key.timeframe), Counter()).update(counts)
    ordered = sorted(sums, key=lambda kind: (kind[0], -duration_us(kind[1])))
    return {" ".join(kind): sums[kind] for kind in ordered}


@lru_cache(2**16)
def encode(name: str) -> str:
    """Map any name to one safe path component; `decode` gives the name back.

    Everything but letters, digits, `_`, `-`, `.` and `~` is percent-encoded as UTF-8. Where a name ends with a dot
    (as `..` does), or is one of the registry's own, its last character is encoded too, so that it cannot leave its
    folder; where it means a device on Windows, its first.

    Raises:
        DataError: the name is empty.
    """
    if not name:
        raise DataError("an exchange or symbol has no name: set data.exchange, or data.columns for the symbol")
    encoded = quote(name, safe="", errors="surrogatepass")
    if encoded.endswith(".") or encoded in RESERVED:
        encoded = f"{encoded[:-1]}%{ord(encoded[-1]):02X}"
    if encoded.partition(".")[0].upper() in DEVICES:
        encoded = f"%{ord(encoded[0]):02X}{encoded[1:]}"
    return encoded


def decode(component: str) -> str:
    """Inverse of `encode`."""
    return unquote(component, errors="surrogatepass")
