"""What Ray is made to do without: above all processes that are of use to a shared cluster only.

They take seconds of CPU to start, just when the workers need it to start themselves, and no setting of Ray's spares
them. So names that are private to Ray are replaced, here and nowhere else, for as long as this process uses it.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pkgutil import resolve_name
from typing import Any, Final
from uuid import uuid4

import ray

Resources = dict[str, dict[str, float]]


class LocalCoordinator:
    """Stands in for the actor that shares a cluster's resources out among Datasets: all are for the one that asks.

    Ray Data starts no task before it was told so, and the actor takes two seconds to come up.
    """

    def __init__(self, **_: object) -> None:
        """See what each node has; a Dataset makes one when its execution starts."""
        nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
        self._nodes: Resources = {node["NodeID"]: node["Resources"] for node in nodes if node["Alive"]}

    def request_resources(self, **_: object) -> None:
        """Ask for nothing: no node can be added."""

    def cancel_request(self) -> None:
        """Take nothing back."""

    def get_reserved_resources(self) -> Resources:
        """Return all there is, by node."""
        return self._nodes


def _nothing(*_: object, **__: object) -> None:
    """Stand in for what starts a process or sends it figures."""


def _dataset_id() -> str:
    return uuid4().hex


Patches = Mapping[str, Mapping[str, Any]]
"""What takes the place of which names, by where Ray keeps them, as `pkgutil.resolve_name` takes it."""

PROCESSES: Final[Patches] = {
    "ray._private.node:Node": dict.fromkeys(("start_monitor", "start_log_monitor", "start_api_server"), _nothing)
}
"""Autoscaler, the driver's view of workers' logs, dashboard. Ray's end waits a second for the first."""

ACTORS: Final[Patches] = {
    "ray.data._internal.cluster_autoscaler.rate_based_cluster_autoscaler": {
        "DefaultAutoscalingCoordinator": LocalCoordinator
    },
    "ray.data._internal.stats:_StatsManager": {
        "gen_dataset_id_from_stats_actor": staticmethod(_dataset_id),
        "register_dataset_to_stats_actor": staticmethod(_nothing),
        "update_execution_metrics": staticmethod(_nothing),
        "update_iteration_metrics": staticmethod(_nothing),
    },
}
"""What shares a cluster out among Datasets, and what keeps figures for the dashboard."""

PREFETCHING: Final[Patches] = {"ray.data._internal.execution.metadata_fetcher": {"_PREFETCH_ON_THREAD": False}}
"""A thread that fetches ahead what is known of blocks: it leaves a CPU idle some 0.2 s after each bundle."""


@contextmanager
def patched(patches: Patches) -> Iterator[None]:
    """Have Ray do without what there are stand-ins for."""
    with ExitStack() as restored:
        for place, names in patches.items():
            owner = resolve_name(place)
            for name, replacement in names.items():
                restored.callback(setattr, owner, name, vars(owner)[name])
                setattr(owner, name, replacement)
        yield
