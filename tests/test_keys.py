"""Any name becomes one path component that stays where it is put, and comes back unchanged."""

from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from job.core.errors import DataError
from job.core.keys import ALL, POOLED, RESERVED, Key, decode, encode

ODD_NAMES = (
    "BTC/USDT:USDT",
    "1000PEPE",
    "..",
    ".",
    "...",
    "../../etc/passwd",
    "runs",
    "aliases",
    "a b",
    " ",
    "%2E%2E",
    "50%",
    "Ünïcödé",
    "比特币/USDT",
    "\x00",
    "a\\b",
    "C:",
    "*?[x]",
    "#1",
    "a\nb",
    "trailing.",
    ".hidden",
    "~",
    "model_metadata.json",
    "\udcff",
)
names = st.one_of(
    st.sampled_from(ODD_NAMES),
    st.text(alphabet=st.characters(codec=None), min_size=1),
    st.text(alphabet="./%2Ee~ \\", min_size=1),
)


@given(names)
@settings(max_examples=500)
def test_encoding_is_reversible(name: str) -> None:
    assert decode(encode(name)) == name


@given(names)
@settings(max_examples=500)
def test_an_encoded_name_is_one_component_that_stays_in_its_folder(name: str) -> None:
    encoded = encode(name)
    assert set(encoded) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-~%")
    assert PurePosixPath("store", encoded).parts == ("store", encoded)
    assert Path("/store", encoded).resolve() == Path("/store") / encoded
    assert not encoded.endswith(".")
    assert encoded not in RESERVED


@given(names, names)
@settings(max_examples=500)
def test_different_names_are_stored_apart(one: str, other: str) -> None:
    assert (encode(one) == encode(other)) == (one == other)


@pytest.mark.parametrize("name", ["BTCUSDT", "BTC_USDT_USDT", "BTC-USD", "BRK.B", "1000PEPE"])
def test_usual_names_are_kept_as_they_are(name: str) -> None:
    assert encode(name) == name


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_the_stores_own_names_are_no_exchanges(name: str) -> None:
    assert Key(name, "X", "1h", "analyst").folder.partition("/")[0] not in RESERVED


def test_an_empty_name_is_refused() -> None:
    with pytest.raises(DataError, match=r"has no name: set data\.exchange"):
        encode("")


def test_a_key_names_its_folder_and_its_versions() -> None:
    key = Key("binance", "BTC/USDT:USDT", "1h", "analyst")
    assert key.folder == "binance/BTC%2FUSDT%3AUSDT"
    assert key.stem == "analyst_1h"
    assert str(key) == "binance/BTC/USDT:USDT analyst 1h"


def test_keys_are_ordered_by_exchange_symbol_and_timeframe() -> None:
    keys = [
        Key(POOLED, ALL, "1h", "analyst"),
        Key("kraken", "A", "5m", "analyst"),
        Key("kraken", "A", "1h", "tactician"),
    ]
    assert sorted(keys) == [keys[2], keys[1], keys[0]]
