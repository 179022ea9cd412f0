"""What describes the networks. PyTorch is not imported: settings and plans need names and numbers only."""

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from job.learning.algorithms import Algorithm, ArtifactFormat, Window
from job.learning.spaces import Range, Space
from job.learning.spec import ModelSpec

SAFETENSORS: Final = ArtifactFormat(
    "safetensors", dump="job.learning.networks.artifact:dump", parse="job.learning.networks.artifact:parse"
)
STEPS_PER_EPOCH: Final = 64
"""Batches are so large that an epoch has as many steps, within bounds."""
LEAST_BATCH: Final = 64
LARGEST_BATCH: Final = 512


def _network(size: Mapping[str, int], spec: ModelSpec, window: Window) -> dict[str, Any]:
    return {
        **size,
        "epochs": 30,
        "patience": 4,
        "batch_rows": min(max(window.rows // STEPS_PER_EPOCH, LEAST_BATCH), LARGEST_BATCH),
        "learning_rate": 1e-3,
        "weight_decay": 0.1,
        "device": "auto" if window.pooled else "cpu",
        "random_state": spec.random_state,
    }


SPACE: Final[Space] = {
    "learning_rate": Range(1e-4, 1e-2, log=True),
    "weight_decay": Range(1e-3, 10.0, log=True),
    "width": (16, 32, 64, 128),
}

NETWORKS: Final = tuple(
    Algorithm(
        name,
        f"job.learning.networks.estimators:{kind}",
        partial(_network, size),
        "permutation",
        version=1,
        seconds_per_row=seconds_per_row,
        library="torch",
        extra="torch",
        also=also,
        artifact=SAFETENSORS,
        validation=0.2,
        fit_record="fit_",
        gpu=True,
        import_seconds=2.7,
        import_bytes=550 * 2**20,
        space=SPACE,
    )
    for name, kind, size, seconds_per_row, also in (
        ("mlp", "MlpClassifier", {"width": 64, "blocks": 2}, 2.5e-4, ()),
        ("gru", "GruClassifier", {"sequence_bars": 32, "width": 32}, 1.8e-3, ()),
        ("tcn", "TcnClassifier", {"sequence_bars": 32, "width": 32}, 5e-4, ()),
        ("tabm", "TabMClassifier", {"members": 16, "width": 64, "blocks": 2}, 1.1e-3, ("tabm",)),
    )
)
