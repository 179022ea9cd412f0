"""No archive that an attacker puts in place of a blend runs anything, hangs, or is loaded as what it is not."""

import io
import json
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from job.learning.blend import Blend
from job.registry.artifacts import ZIP_TIME
from job.registry.artifacts import dump as dump_member
from job.registry.blends import HEADER, dump, parse
from job.registry.versions import commit
from job.storage.files import Storage
from tests.hostile import ATTACKS, FOLDER, METADATA, Attack, adjust, appended, fresh, payload
from tests.registries import KEY, VERSION, fitted
from tests.test_hostile import Load, load, processes, registry  # noqa: F401 - fixtures

MODEL = f"{FOLDER}/{VERSION}.blend"
MEMBERS = ("logistic_regression", "random_forest")
MOST_SECONDS = 2.0
"""CPU time that no load takes; one that does not end runs into the time limit of its test."""
WRITTEN = "it is not written as this job writes it"
WEIGHTS = "its weights are no shares of 1"
UNKNOWN = "is of no algorithm of this release, nor of one that came with it"

Header = dict[str, Any]


def commit_blend(registry: Storage) -> None:  # noqa: F811
    model = Blend({name: fitted(name) for name in MEMBERS}, (0.75, 0.25))
    metadata = {"fingerprint": "f" * 64, "scores": {"accuracy": 0.5}}
    commit(registry, KEY, VERSION, model=model, scaler=fitted("scaler"), metadata=metadata, format="blend")


def unpacked(data: bytes) -> tuple[Header, list[bytes]]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        header, *files = (archive.read(one) for one in archive.infolist())
    return json.loads(header), files


def packed(files: Sequence[tuple[str, bytes]], *, date: Any = ZIP_TIME, how: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files:
            archive.NameToInfo.pop(name, None)  # or two files of one name would be warned of
            archive.writestr(zipfile.ZipInfo(name, date), data, how)
    return buffer.getvalue()


def named(header: Header, files: Sequence[bytes]) -> list[tuple[str, bytes]]:
    """Return the files of an archive under the names that a blend gives them."""
    text = json.dumps(header, separators=(",", ":")).encode()
    members = header.get("members") if isinstance(header, dict) else None
    described = [one if isinstance(one, dict) else {} for one in members] if isinstance(members, list) else []
    names = [f"{at}.{one.get('format', 'skops')}" for at, one in enumerate(described)]
    return [(HEADER, text), *zip(names, files, strict=False)]


def header(change: Callable[[Header], object]) -> Callable[[bytes], bytes]:
    """Change the header, and write the archive as this job would."""

    def changed(data: bytes) -> bytes:
        described, files = unpacked(data)
        other = change(described)
        return packed(named(described if other is None else other, files))  # type: ignore[arg-type]

    return changed


def weights(*values: object) -> Callable[[bytes], bytes]:
    return header(lambda described: described | {"weights": list(values)})


def member(at: int, change: Callable[[bytes], bytes], **described: object) -> Callable[[bytes], bytes]:
    """Change a member's bytes, and what the header says of it."""

    def changed(data: bytes) -> bytes:
        of, files = unpacked(data)
        files[at] = change(files[at])
        of["members"][at] |= described
        return packed(named(of, files))

    return changed


def raw(text: bytes) -> Callable[[bytes], bytes]:
    """Put any bytes in the header's place."""
    return lambda data: packed([(HEADER, text), *named(*unpacked(data))[1:]])


def rewritten(change: Callable[[list[tuple[str, bytes]]], Any], **how: Any) -> Callable[[bytes], bytes]:
    """Change the list of files."""

    def changed(data: bytes) -> bytes:
        files = named(*unpacked(data))
        return packed(change(files) or files, **how)

    return changed


def listed(at: int, value: bytes) -> Callable[[bytes], bytes]:
    """Write bytes into the central header of the last file; members are archives that have such headers, too."""

    def change(data: bytes) -> bytes:
        start = data.rfind(b"PK\x01\x02") + at
        return data[:start] + value + data[start + len(value) :]

    return change


def commented(data: bytes) -> bytes:
    buffer = io.BytesIO(data)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.comment = b"x"
    return buffer.getvalue()


def without_second(described: Header) -> Header:
    return {"weights": [1.0], "members": described["members"][:1]}


BLENDS = (
    Attack("nothing", lambda _: b"", "File is not a zip file"),
    Attack("pickle", payload, "File is not a zip file"),
    Attack("half", lambda data: data[: len(data) // 2], ""),
    Attack("a byte before", lambda data: b"x" + data, WRITTEN),
    Attack("a byte behind", lambda data: data + b"x", WRITTEN),
    Attack("comment", commented, WRITTEN),
    Attack("another date", rewritten(lambda _: None, date=(2020, 1, 1, 0, 0, 0)), WRITTEN),
    Attack("compressed", rewritten(lambda _: None, how=zipfile.ZIP_DEFLATED), "it holds compressed files"),
    Attack("bomb", appended("2.skops", bytes(10**8)), "it holds compressed files"),
    Attack("a file more", rewritten(lambda files: files.append(("2.skops", b"x"))), WRITTEN),
    Attack("a file less", rewritten(lambda files: files[:-1]), WRITTEN),
    Attack("no file", rewritten(lambda _: [("", b"")]), "Expecting value"),
    Attack("two of one name", rewritten(lambda files: [*files[:2], ("0.skops", files[2][1])]), WRITTEN),
    Attack("a name that climbs", rewritten(lambda files: [*files[:2], ("../1.skops", files[2][1])]), WRITTEN),
    Attack("other order", rewritten(lambda files: [files[0], files[2], files[1]]), WRITTEN),
    Attack("header last", rewritten(lambda files: [*files[1:], files[0]]), ""),
    Attack("no header", rewritten(lambda files: files[1:]), ""),
    Attack("size of gigabytes", listed(24, b"\xff\xff\xff\x7f"), "its files are larger than it is"),
    Attack("encrypted", listed(8, b"\x01"), ""),
    Attack("header of no text", raw(b"\xff\xfe\x00"), ""),
    Attack("header of no JSON", raw(b"{"), "Expecting property name"),
    Attack("header with spaces", raw(b'{ "weights": [], "members": [] }'), ""),
    Attack("header of many levels", raw(b"[" * 60_000), ""),
    Attack("header of a megabyte", raw(b" " * 2**20), "its files are larger than it is"),
    Attack("header of one key twice", raw(b'{"weights":[0.5,0.5],"weights":[0.75,0.25],"members":[]}'), ""),
    Attack("header of a list", raw(b"[]"), "its header has other keys than weights and members"),
    Attack("a key more", header(lambda of: of | {"path": "x"}), "its header has other keys than weights and members"),
    Attack("one member", header(without_second), "its header has no list of two members or more"),
    Attack("no member", header(lambda _: {"weights": [], "members": []}), "its header has no list of two members"),
    Attack("fewer weights", weights(1.0), "its header has no list of two members or more with as many weights"),
    Attack("members in words", header(lambda of: of | {"members": "ab"}), "its header has no list of two members"),
    Attack("negative weight", weights(1.5, -0.5), WEIGHTS),
    Attack("weights of 2", weights(1.0, 1.0), WEIGHTS),
    Attack("weights of 0", weights(0.0, 0.0), WEIGHTS),
    Attack("no number", weights(float("nan"), 0.25), WEIGHTS),
    Attack("infinite weight", weights(float("inf"), 0.25), WEIGHTS),
    Attack("whole weights", weights(1, 0), WEIGHTS),
    Attack("true weights", weights(True, 0.0), WEIGHTS),
    Attack("weights in words", weights("0.75", "0.25"), WEIGHTS),
    Attack("member without format", header(lambda of: of["members"][0].pop("format") and None), "its header has a mem"),
    Attack("member of a list", header(lambda of: of | {"members": [[], {}]}), "its header has a member without"),
    Attack("member of numbers", member(0, bytes, algorithm=1), "its header has a member without the names"),
    Attack("member twice", member(1, bytes, algorithm=MEMBERS[0]), "its header names a member twice"),
    Attack("blend in a blend", member(1, bytes, algorithm="blend"), UNKNOWN),
    Attack("member of a system call", member(1, bytes, algorithm="os:system"), UNKNOWN),
    Attack("member of a module", member(1, bytes, algorithm="antigravity:fly"), UNKNOWN),
    Attack("member of a megabyte", member(1, bytes, algorithm="x" * 60_000), UNKNOWN),
    Attack("member that is pickled", member(1, payload, format="pkl"), "is stored as 'pkl', not as skops"),
    Attack("member of another format", member(1, bytes, format="blend"), "is stored as 'blend', not as skops"),
    Attack("member of a format that climbs", member(1, bytes, format="/../../x"), "is stored as '/../../x', not as"),
    Attack("member of another algorithm", member(1, bytes, algorithm="extra_trees"), "is of type RandomForestClass"),
    Attack("member is a pickle under its name", member(1, payload), "is no skops artifact of this job"),
    Attack("member of nothing", member(1, lambda _: b""), "is no skops artifact of this job"),
    Attack(
        "member is a scaler",
        member(1, lambda _: dump_member(fitted("scaler"), format="skops")),
        "is of type StandardScaler",
    ),
    Attack(
        "member of fewer features", member(0, fresh(LogisticRegression(), width=18)), "different numbers of features"
    ),
    Attack("first of three classes", member(0, fresh(LogisticRegression(), classes=(0, 1, 2))), "are not down and up"),
    Attack("member of other classes", member(0, fresh(LogisticRegression(), classes=(1, 2))), "are not down and up"),
    Attack("member of a pair", member(0, fresh(StandardScaler(), width=18)), "is of type StandardScaler"),
)
OF_MEMBERS = tuple(
    Attack(f"{attack.estimator}: {attack.name}", member(MEMBERS.index(attack.estimator), attack.change), attack.says)
    for attack in ATTACKS
    if attack.role == "model" and attack.estimator in MEMBERS and "holds no model and scaler" not in attack.says
)
"""What is refused of a model is refused of a member, in the same words."""


@pytest.mark.timeout(90)
@pytest.mark.parametrize("attack", [*BLENDS, *OF_MEMBERS], ids=lambda attack: attack.name)
def test_hostile_blends_are_refused(attack: Attack, registry: Storage, load: Load) -> None:  # noqa: F811
    commit_blend(registry)
    committed = registry.read(MODEL)
    data = attack.change(committed)
    assert data != committed
    registry.replace(MODEL, data)
    assert "is not the model that was committed" in str(load(registry).error)
    adjust(registry, "model", data)
    answer = load(registry)
    assert answer.seconds < MOST_SECONDS
    assert answer.error is not None
    assert attack.says in answer.error
    assert answer.parsed


def test_the_same_check_passes_an_honest_blend(registry: Storage, load: Load) -> None:  # noqa: F811
    commit_blend(registry)
    answer = load(registry)
    assert (answer.error, answer.parsed) == (None, True)
    assert answer.predictions
    assert packed(named(*unpacked(registry.read(MODEL)))) == registry.read(MODEL), "what attacks rewrite is the same"


@pytest.mark.parametrize(
    "blend",
    [None, 1, [], {"members": None}, {"members": []}, {"members": {"x": 1}}, {"members": {"x": {"algorithm": [1]}}}],
)
def test_what_metadata_says_of_a_blend_makes_nothing_fail(blend: object, registry: Storage, load: Load) -> None:  # noqa: F811
    commit_blend(registry)
    registry.replace(METADATA, json.dumps(json.loads(registry.read(METADATA)) | {"blend": blend}).encode())
    assert load(registry).error is None


@pytest.mark.parametrize("path", ["antigravity:fly", "../x:y", "os:system", 5])
def test_metadata_of_a_blend_makes_nothing_run(path: object, registry: Storage, load: Load) -> None:  # noqa: F811
    commit_blend(registry)
    blend = {"members": {"x": {"algorithm": {"path": path, "source": "0" * 12}}}}
    registry.replace(METADATA, json.dumps(json.loads(registry.read(METADATA)) | {"blend": blend}).encode())
    answer = load(registry)
    assert "was trained by the algorithm" in str(answer.error)
    assert not answer.parsed


def test_flipped_bits_of_a_blend_are_refused() -> None:
    """Every byte counts: checksums or the members' own checks tell of it."""
    data = dump(Blend({name: fitted(name) for name in MEMBERS}, (0.75, 0.25)))
    assert dump(parse(data)) == data
    for place in range(0, len(data), 997):
        flipped = bytes([*data[:place], data[place] ^ (1 << place % 8), *data[place + 1 :]])
        with pytest.raises(Exception):  # noqa: B017, PT011 - whichever, `artifacts.parse` makes one error of all
            parse(flipped)


def test_names_of_attacks_are_unique() -> None:
    names = [attack.name for attack in (*BLENDS, *OF_MEMBERS)]
    assert len({*names}) == len(names)
    assert len(BLENDS) > 50
