"""What share of a node each bundle gets."""

import math
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from job.cluster.bundles import SIZE_CLASSES, Capacity, sized
from job.config.settings import Config
from job.core.keys import Key
from job.sources.series import Series
from job.train.task import Task
from job.worker.messages import Bundle

SPEC = next(iter(Config().model_specs()))[2]
GIB = 2**30
CAPACITY = Capacity(cpus=16, node_cpus=16, memory_per_cpu=GIB)


def bundle_of(seconds: float, memory: int = GIB // 2) -> Bundle[Task]:
    series = Series("binance", "A", "1m", ())
    task = Task(key=Key("binance", "A", "1m", "analyst"), spec=SPEC, series=(series,), rows=1, seconds=seconds,
                memory=memory)  # fmt: skip
    return Bundle(series, (task,))


def sizes(bundles: list[Bundle[Task]], capacity: Capacity = CAPACITY, cpus_per_task: int | None = None) -> list[int]:
    groups = sized(bundles, capacity, cpus_per_task=cpus_per_task)
    return [next(size for size, own in groups.items() if any(one is this for one in own)) for this in bundles]


def test_many_bundles_get_one_cpu_each() -> None:
    assert set(sizes([bundle_of(1 + number / 100) for number in range(64)])) == {1}


def test_few_bundles_share_all_cpus() -> None:
    assert sizes([bundle_of(5.0)]) == [16]
    assert sizes([bundle_of(5.0), bundle_of(5.0)]) == [8, 8]
    assert sizes([bundle_of(30.0), bundle_of(1.0), bundle_of(1.0)]) == [15, 1, 1]


def test_one_giant_among_many_gets_more() -> None:
    assert sizes([bundle_of(100.0), *(bundle_of(1.0) for _ in range(60))]) == [10, *[1] * 60]


def test_memory_takes_the_cpus_that_go_with_it_and_at_most_a_node() -> None:
    small = [bundle_of(1.0) for _ in range(40)]
    assert sizes([bundle_of(1.0, 3 * GIB), *small])[:2] == [3, 1]
    assert sizes([bundle_of(1.0, 300 * GIB), *small])[0] == 16


def test_the_setting_wins_over_the_plan_but_not_over_memory() -> None:
    bundles = [bundle_of(100.0), bundle_of(1.0, 5 * GIB)]
    assert sizes(bundles, cpus_per_task=2) == [2, 5]
    assert sizes(bundles, replace(CAPACITY, node_cpus=4), cpus_per_task=8) == [4, 4]


@given(
    costs=st.lists(st.tuples(st.floats(0, 1000), st.integers(1, 64 * GIB)), min_size=1, max_size=30),
    cpus=st.integers(1, 128),
    node=st.integers(1, 64),
)
def test_every_bundle_gets_what_it_needs_in_few_sizes(costs: list[tuple[float, int]], cpus: int, node: int) -> None:
    capacity = Capacity(cpus=max(cpus, node), node_cpus=node, memory_per_cpu=GIB)
    bundles = [bundle_of(seconds, memory) for seconds, memory in costs]
    groups = sized(bundles, capacity, cpus_per_task=None)
    assert sum(map(len, groups.values())) == len(bundles)
    assert len(groups) <= SIZE_CLASSES
    assert list(groups) == sorted(groups, reverse=True)
    for size, own in groups.items():
        assert 1 <= size <= node
        for one in own:
            assert size >= min(math.ceil(one.memory / GIB), node)
