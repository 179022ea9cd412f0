"""Networks: bits that depend on nothing else, stopping in time, sequences through training, storage and prediction."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

pytest.importorskip("torch", reason="torch is absent, which networks need: pip install '.[torch]'")
pytest.importorskip("tabm", reason="tabm is absent, which networks need: pip install '.[torch]'")

import torch

from job.core.errors import ConfigError, TrainingError
from job.learning import fitting
from job.learning.algorithms import Window
from job.learning.estimators import ALGORITHMS, build
from job.learning.networks.artifact import NETWORKS, dump
from job.learning.networks.optimizing import view_of
from job.learning.sequences import Sequences, with_complete
from job.learning.splits import Fold, last_part
from job.learning.training import train
from job.worker.scorer import load_scorer
from tests.oracles_training import FEATURES, KEY, made_samples, model_spec
from tests.test_scoring import KEY as SCORED_KEY
from tests.test_scoring import commit, config, small_bars
from transforms.bars import clean

pytestmark = pytest.mark.torch

ROOT = Path(__file__).parents[1]
LENGTH = 32
SMALL: dict[str, Any] = {"epochs": 2, "width": 16}


def problem(rows: int = 1_500, *, signal: float = 2.0, seed: int = 0) -> tuple[Any, Any]:
    random = np.random.default_rng(seed)
    matrix = random.standard_normal((rows, len(FEATURES))).astype(np.float32)
    return matrix, (random.uniform(size=rows) < 1 / (1 + np.exp(-signal * matrix[:, 0]))).astype(np.int8)


def network(name: str, **parameters: Any) -> Any:
    return ALGORITHMS[name].estimator(**SMALL | parameters)


def some_rows(name: str, matrix: Any, index: Any) -> Any:
    return Sequences.of_run(matrix, LENGTH).at(index) if name in {"gru", "tcn"} else matrix[index]


@pytest.mark.parametrize("name", NETWORKS)
def test_a_row_has_the_same_bits_whatever_stands_beside_it(name: str) -> None:
    matrix, label = problem()
    model = network(name).fit(matrix, label)
    everything = model.predict_proba(some_rows(name, matrix, np.arange(1_500)))
    random = np.random.default_rng(1)
    for index in (
        np.arange(1, 1_500),
        np.arange(511, 1_024),
        np.arange(1_499, -1, -1),
        random.permutation(1_500)[:700],
        *random.integers(0, 1_500, (20, 1)),
    ):
        assert np.array_equal(model.predict_proba(some_rows(name, matrix, index)), everything[index])
    assert model.predict_proba(matrix[:0]).shape == (0, 2)
    assert np.array_equal(model.predict(matrix), everything[:, 1] > 0.5)


def test_one_row_of_many_bars_takes_no_batch_of_them() -> None:
    """So that what is loaded, which predicts once to be checked, takes no seconds whatever it says of its bars."""
    matrix, label = problem()
    model = network("gru", epochs=1).fit(matrix[:40], label[:40]).set_params(sequence_bars=1_024)
    given: list[int] = []
    model.module_.register_forward_hook(lambda _, inputs, __: given.append(inputs[0].shape[:2].numel()))
    alone = model.predict_proba(matrix[:1])
    assert max(given) <= 2**17
    rows = Sequences.of_run(matrix, 1_024)
    assert np.array_equal(model.predict_proba(rows.at(np.arange(70)))[:1], alone)


@pytest.mark.parametrize("name", NETWORKS)
def test_fits_beside_each_other_change_no_bit_and_nothing_around_them(name: str) -> None:
    matrix, label = problem(600)
    torch.set_num_threads(2)
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    alone = [dump(network(name, random_state=seed).fit(matrix, label)) for seed in range(3)]
    with ThreadPoolExecutor(3) as pool:
        beside = [*pool.map(lambda seed: dump(network(name, random_state=seed).fit(matrix, label)), range(3))]
    assert beside == alone
    assert len(set(alone)) == 3
    assert torch.get_num_threads() == 2
    assert torch.equal(torch.random.get_rng_state(), before)


def test_windows_are_views_of_the_bars() -> None:
    sequences = Sequences(np.zeros((1_000, 4), np.float32), np.arange(31, 1_000), LENGTH)
    view, starts = view_of(sequences, torch.device("cpu"))
    assert view.shape == (969, LENGTH, 4)
    assert view.untyped_storage().nbytes() == sequences.bars.nbytes
    assert view.data_ptr() == sequences.bars.ctypes.data
    assert starts.tolist() == list(range(969))


def test_a_row_of_a_sequence_is_the_bars_that_end_with_it() -> None:
    matrix, label = problem(400)
    model = network("gru").fit(matrix, label)
    p = model.predict_proba(Sequences(matrix, np.array([100, 200]), LENGTH))
    changed = matrix.copy()
    changed[:69] += 1  # before the first sequence, and between the two
    changed[101:169] += 1
    assert np.array_equal(model.predict_proba(Sequences(changed, np.array([100, 200]), LENGTH)), p)
    for bar in (85, 100):  # what is longer ago is forgotten in part
        changed = matrix.copy()
        changed[bar] += 1
        first, second = model.predict_proba(Sequences(changed, np.array([100, 200]), LENGTH)) == p
        assert not first.any()
        assert second.all()


@pytest.mark.parametrize("bars", [2, 3, 8, 9, 31])
def test_the_convolutions_see_every_bar(bars: int) -> None:
    matrix, label = problem(300)
    model = network("tcn", sequence_bars=bars, learning_rate=0.01).fit(matrix, label)
    ends = np.array([150])
    p = model.predict_proba(Sequences(matrix, ends, bars))
    for bar in range(150 - bars + 1, 151):
        changed = matrix.copy()
        changed[bar] += 3
        assert not np.array_equal(model.predict_proba(Sequences(changed, ends, bars)), p)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_weights_of_the_lowest_validation_loss_are_kept(name: str) -> None:
    matrix, label = problem()
    fold = Fold(np.arange(1_000), np.arange(1_010, 1_500))
    model = network(name, epochs=40, patience=2, learning_rate=0.02, batch_rows=32).fit(matrix, label, validation=fold)
    losses, epochs = model.fit_["loss"]["validation"], model.fit_["epochs"]
    assert 0 < epochs < len(losses) - 1
    assert len(losses) == len(model.fit_["loss"]["training"]) + 1 == epochs + 2 + 1
    p = model.predict_proba(some_rows(name, matrix, fold.test))[:, 1]
    if name != "tabm":  # its loss is that of its members, not of their mean
        loss = -np.log(np.where(label[fold.test] == 1, p, 1 - p)).mean()
        assert loss == pytest.approx(min(losses), abs=2e-6)
    assert model.fit_["device"] == "cpu"


@pytest.mark.parametrize("name", NETWORKS)
def test_where_nothing_is_found_the_base_rate_is_said(name: str) -> None:
    matrix, label = problem()
    up = (np.arange(1_500) % 4 == 0).astype(np.int8)
    fold = Fold(np.arange(1_000), np.arange(1_010, 1_500))
    shuffled = np.where(np.arange(1_500) < 1_000, label, 1 - label).astype(np.int8)
    model = network(name, epochs=20, patience=3, learning_rate=0.01).fit(matrix, shuffled, validation=fold)
    assert model.fit_["epochs"] == 0
    assert np.unique(model.predict_proba(matrix)[:, 1]) == pytest.approx([label[:1_000].mean()], abs=1e-6)
    heavy = np.where(up == 1, 3.0, 1.0)
    weighted = network(name, epochs=1, learning_rate=1e-9).fit(matrix, up, heavy)
    assert weighted.predict_proba(matrix)[:, 1].mean() == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_fit_that_diverges_says_so(name: str) -> None:
    matrix, label = problem(600)
    fold = Fold(np.arange(400), np.arange(410, 600))
    for validation in (fold, None):
        with pytest.raises(
            TrainingError, match=r"the network diverged in epoch \d: lower its learning_rate or weight_"
        ):
            network(name, learning_rate=10.0, weight_decay=1e3, batch_rows=16).fit(matrix, label, validation=validation)


def test_a_model_that_predicts_no_probability_is_refused() -> None:
    matrix, label = problem(600)
    model = network("mlp").fit(matrix, label)
    for weights in model.module_.parameters():
        weights.data.fill_(-3e38)
    with pytest.raises(TrainingError, match="a MlpClassifier predicts nan, which is no probability: train another"):
        fitting.probability_of_up(model, matrix)


@pytest.mark.parametrize("name", ["mlp", "gru"])
def test_a_fit_stops_by_the_last_purged_part_of_its_window(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[int, Fold | None]] = []
    plain = fitting.fit_scaled

    def watched(matrix: Any, label: Any, spec: Any, **more: Any) -> Any:
        given.append((len(label), more["validation"]))
        return plain(matrix, label, spec, **more)

    monkeypatch.setattr(fitting, "fit_scaled", watched)
    samples = made_samples(600, signal=1.0, horizon=7)
    trained = train(samples, model_spec(name, params={"epochs": 2}), key=KEY)
    labeled = with_complete(samples, LENGTH).filter("complete") if name == "gru" else samples
    assert len(given) == 5  # three folds, the holdout, and another seed
    for rows, fold in given:
        window = labeled[:rows]
        times, ends = (window[column].to_physical().to_numpy() for column in ("available_at", "label_end"))
        expected = last_part(times, ends, share=0.2)
        assert fold is not None
        assert expected is not None
        assert fold.train.tolist() == expected.train.tolist()
        assert fold.test.tolist() == expected.test.tolist()
        assert ends[fold.train].max() <= times[fold.test[0]]
        assert len(fold.train) + len(fold.test) == rows - 6
    assert trained.metadata["fit"]["epochs"] <= 2
    assert set(trained.metadata["fit"]["loss"]) == {"training", "validation"}


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("mlp", {"width": 0}, "params of mlp: width: expected a number from 1 to 4096, got 0"),
        ("gru", {"sequence_bars": 1}, "params of gru: sequence_bars: expected a number from 2 to 4096, got 1"),
        ("tabm", {"weight_decay": float("nan")}, "params of tabm: weight_decay: expected a number from 0 to 1000, got"),
        ("tcn", {"device": "gpu"}, "params of tcn: device: expected cpu, cuda, auto, got 'gpu'"),
        ("mlp", {"sequence_bars": 8}, "unknown parameter params.sequence_bars of mlp"),
    ],
)
def test_parameters_out_of_range_are_refused(name: str, params: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        build(model_spec(name, params=params), Window(1_000))


@pytest.mark.parametrize("name", ["gru", "tabm"])
def test_pools_are_trained_over_all_series(name: str) -> None:
    """Rows of two series stand between each other; a sequence is of one of them."""
    parts = [made_samples(500, seed=seed, signal=2.0).with_columns(series=pl.lit(str(seed))) for seed in (1, 2)]
    spec = model_spec(name, params={"epochs": 4})
    trained = train(pl.concat(parts), spec, key=KEY, n_jobs=2)
    assert trained.metadata["parameters"]["device"] == "auto"
    assert trained.metadata["fit"]["device"] == ("cuda" if torch.cuda.is_available() else "cpu")
    again = train(pl.concat(parts[::-1]), spec, key=KEY)
    assert again.holdout.equals(trained.holdout)
    for part in parts:
        own = fitting.predict_proba(trained.model, trained.scaler, part, FEATURES)
        name_ = part["series"][0]
        held = trained.holdout.filter(series=name_)["p_raw"].to_numpy()
        assert np.array_equal(own[-len(held) :], held)


@pytest.mark.parametrize("name", ["gru", "tcn"])
def test_stored_sequences_predict_as_they_were_scored_and_nothing_later_matters(name: str, tmp_path: Path) -> None:
    registry, trained, _ = commit(tmp_path, config(algorithm=name, params={"epochs": 2}))
    scorer = load_scorer(registry, SCORED_KEY)
    assert scorer.definition.sequence_bars == LENGTH
    frame = scorer.definition.features_of(small_bars(), clean(small_bars())).frame
    predicted = scorer.predict(frame, SCORED_KEY)
    assert predicted.height == frame["complete"].sum() == frame.height - (LENGTH - 1)
    both = trained.holdout.join(predicted, on="available_at", how="left")
    assert both["probability_up"].to_list() == trained.holdout["p"].to_list()
    known = dict(predicted.select("available_at", "probability_up").iter_rows())
    for cut in (4_000, 6_003, 7_777):
        early = scorer.definition.features_of(small_bars()[:cut], clean(small_bars())).frame
        found = dict(scorer.predict(early, SCORED_KEY).select("available_at", "probability_up").iter_rows())
        assert len(found) > 300
        assert all(known[at] == p for at, p in found.items())
    start = predicted["timestamp"][-50]
    late = scorer.definition.features_of(small_bars(), clean(small_bars()), start=start).frame
    assert scorer.predict(late, SCORED_KEY).equals(predicted.tail(50))


@pytest.fixture(scope="module")
def without_torch(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What a process without PyTorch prints that loads a forest and a network."""
    folder = tmp_path_factory.mktemp("models")
    for algorithm in ("random_forest", "mlp"):
        commit(folder / algorithm, config(algorithm=algorithm))
    script = f"""
import sys
import numpy as np
import job.learning.training, job.train.plan, job.registry.versions
print("torch" in sys.modules)
class Absent:
    def find_spec(self, name, *_):
        if name == "torch":
            raise ModuleNotFoundError("No module named 'torch'")
sys.meta_path.insert(0, Absent())
from job.core.errors import JobError
from job.core.keys import Key
from job.storage.files import Storage
from job.worker.scorer import load_scorer
for algorithm in ("random_forest", "mlp"):
    try:
        scorer = load_scorer(Storage(f"{folder}/{{algorithm}}"), {SCORED_KEY!r})
        print(scorer.raw_probabilities(np.zeros((9, len(scorer.definition.names)), np.float32)).size)
    except JobError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_a_process_without_torch_loads_all_others_and_names_the_extra(without_torch: list[str]) -> None:
    _, forest, refused = without_torch
    assert forest == "9"
    assert "cannot import job.learning.networks.estimators" in refused
    assert refused.endswith("pip install '.[torch]'")


def test_importing_the_entries_imports_no_torch(without_torch: list[str]) -> None:
    assert without_torch[0] == "False"


@pytest.mark.parametrize("others", [["tcn"], ["gru", "tcn"]])
def test_a_blend_gives_each_member_what_it_sees(others: list[str], tmp_path: Path) -> None:
    """Its samples are those of the member that sees most; the others get the last bars of the sequences, or one."""
    few = {"epochs": 2, "width": 8}
    params: dict[str, Any] = {"of": ["logistic_regression", *others], **dict.fromkeys(others, few)}
    params["tcn"] = {**few, "sequence_bars": 8}
    registry, trained, _ = commit(tmp_path, config(algorithm="blend", params=params))
    scorer = load_scorer(registry, SCORED_KEY)
    assert scorer.definition.sequence_bars == (LENGTH if "gru" in others else 8)
    frame = scorer.definition.features_of(small_bars(), clean(small_bars())).frame
    both = trained.holdout.join(scorer.predict(frame, SCORED_KEY), on="available_at", how="left")
    assert both["probability_up"].to_list() == trained.holdout["p"].to_list()
    _, alone, _ = commit(tmp_path / "alone", config(algorithm="tcn", params=params["tcn"]))
    if others == ["tcn"]:  # with the GRU, there are fewer samples
        assert dump(trained.model.members["tcn"]) == dump(alone.model)
