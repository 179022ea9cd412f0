"""One model trained by several workers at once: placed on nodes and watched by Ray Train, which restarts nothing."""

import asyncio
import logging
import os
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from job.cluster.retries import RAY_ERROR_LOGGER

if TYPE_CHECKING:
    from job.learning.matrices import Workers

T = TypeVar("T")

SETTINGS: Final = {
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "600",  # a node that is gone may be replaced
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
}
Step = Callable[["Workers", Any], str | None]
"""What a worker does with its share of the work; that of rank 0 returns the outcome."""


class GroupEndedError(Exception):
    """The outcome is there, and no other worker is waited for."""


class Exchange:
    """An actor by which the workers of a group give each other what all must know."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._given: dict[int, dict[int, Any]] = defaultdict(dict)
        self._taken: dict[int, int] = defaultdict(int)
        self._changed = asyncio.Condition()
        self._ended = False
        self._outcome: str | None = None

    async def gather(self, turn: int, rank: int, reference: list[Any]) -> list[Any] | None:
        """Return, once all workers have given theirs, the references of a turn by rank; None after the end."""
        async with self._changed:
            self._given[turn][rank] = reference[0]
            self._changed.notify_all()
            await self._changed.wait_for(lambda: self._ended or len(self._given[turn]) == self._workers)
            if self._ended:
                return None
            given = [one for _, one in sorted(self._given[turn].items())]
            self._taken[turn] += 1
            if self._taken[turn] == self._workers:
                del self._given[turn], self._taken[turn]
            return given

    async def end(self, outcome: str | None) -> None:
        """Keep the outcome and let go of every worker that waits."""
        async with self._changed:
            self._ended, self._outcome = True, outcome
            self._changed.notify_all()

    async def outcome(self) -> str | None:
        """Return the outcome, None where no worker came to one."""
        return self._outcome


class RayWorkers:
    """The workers of a group, as one of them sees them inside Ray Train; see `job.learning.matrices.Workers`."""

    def __init__(self, exchange: Any) -> None:
        from ray.train import get_context  # noqa: PLC0415 - no other worker needs Ray Train

        self.rank: int = get_context().get_world_rank()
        self.host: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
        self._exchange, self._turn = exchange, 0

    def gather(self, part: T) -> list[T]:
        """Return what every worker gave, by rank.

        Raises:
            GroupEndedError: another worker has come to the outcome.
        """
        self._turn += 1
        given = ray.get(self._exchange.gather.remote(self._turn, self.rank, [ray.put(part)]))
        if given is None:
            raise GroupEndedError
        found: list[T] = ray.get(given)
        return found


def _work(exchange: Any, step: Step, shares: Any) -> None:
    """Do one worker's part, and tell the outcome if it is the first one's to tell."""
    workers = RayWorkers(exchange)
    try:
        outcome = step(workers, ray.get(shares)[workers.rank])
    except GroupEndedError:
        return
    if workers.rank == 0:
        ray.get(exchange.end.remote(outcome))


def run_spread(step: Step, shares: Sequence[Any], *, cpus: int, memory: int, debug: bool = False) -> str | None:
    """Run `step` on a worker for each of `shares`, as far apart as nodes allow, and return the outcome.

    None where a worker died or could not be started: all others are ended, and what Ray said of it is logged as it is
    of the workers of a Dataset.

    Args:
        step: called with the workers and a share; it is shipped by pickle.
        shares: what each worker gets.
        cpus: CPUs of each.
        memory: bytes of each.
        debug: whether Ray Train may print what it does.
    """
    os.environ.update({name: os.environ.get(name, value) for name, value in SETTINGS.items()})
    from ray.train import TrainingFailedError  # noqa: PLC0415 - takes time
    from ray.train.v2.api.config import FailureConfig, RunConfig, ScalingConfig  # noqa: PLC0415
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer  # noqa: PLC0415

    if not debug:
        logging.getLogger("ray.train").setLevel(logging.CRITICAL)
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    exchange: Any = ray.remote(Exchange).options(num_cpus=0, scheduling_strategy=here).remote(len(shares))
    with tempfile.TemporaryDirectory() as folder:  # Ray Train wants one, though nothing is kept there
        trainer: Any = DataParallelTrainer(
            partial(_work, exchange, step, ray.put([*shares])),
            scaling_config=ScalingConfig(
                num_workers=len(shares),
                resources_per_worker={"CPU": cpus, "memory": memory},
                placement_strategy="SPREAD",
            ),
            run_config=RunConfig(  # type: ignore[arg-type]  # that of an older release is declared
                storage_path=folder,
                failure_config=FailureConfig(max_failures=0, controller_failure_limit=0, max_preemption_failures=0),
            ),
        )
        # It would handle Ctrl-C by itself, and the run's record would say nothing of it.
        trainer._register_sigint_handler = lambda _controller: None
        try:
            trainer.fit()
        except TrainingFailedError as error:
            logging.getLogger(RAY_ERROR_LOGGER).exception("workers of a group failed", exc_info=error)
    outcome: str | None = ray.get(exchange.outcome.remote())
    ray.kill(exchange)
    return outcome
