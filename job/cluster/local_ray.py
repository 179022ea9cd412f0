"""Start Ray on this machine, with workers that start fast."""

import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Final

import ray
from ray.exceptions import RayError

from job.cluster.machine import check_machine, ray_folder
from job.cluster.observing import job_config
from job.cluster.ray_patches import AGENTS, PROCESSES, WORKERS, patched
from job.cluster.worker_parent import worker_parent
from job.config.settings import RaySettings
from job.core.environment import INSTALLED, ROOT
from job.core.errors import ConfigError
from job.core.wording import on_one_line

PRELOAD: Final = "RAY_preload_python_modules"
WORKER_MODULES: Final = "job.cluster.worker_imports"
"""What each worker of a local Ray imports when it starts, and not in its first task, whose time it would take."""


@contextmanager
def local_ray(settings: RaySettings, environment: Mapping[str, str], level: int) -> Iterator[None]:
    """Have Ray run on this machine. Its workers inherit this process's environment, which a runtime_env would slow.

    Raises:
        ConfigError: something that Ray needs of this machine is not to be had.
    """
    check_machine()
    folder = ray_folder()
    os.environ.update(environment)
    if not INSTALLED:
        paths = dict.fromkeys([str(ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))])
        os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    logging.getLogger("ray._private.authentication").setLevel(logging.ERROR)  # that its local token is on is no news
    starts = {} if sys.platform == "win32" else {**AGENTS, **WORKERS}  # there, no process can become another
    with ExitStack() as stack:
        given = {}  # for this Ray only: one that the caller starts later imports none of it
        if PRELOAD not in os.environ:
            given = {PRELOAD: WORKER_MODULES, **stack.enter_context(worker_parent(folder))}
        os.environ.update(given)
        try:
            with patched(PROCESSES), patched(starts):
                ray.init(
                    address="local",
                    num_cpus=settings.num_cpus,
                    num_gpus=settings.num_gpus,
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=level,
                    job_config=job_config(settings),
                    _temp_dir=folder,
                )
        except (OSError, ValueError, RuntimeError, RayError) as error:  # all that Ray raises where none starts
            reason = on_one_line(error)
            raise ConfigError(
                f"Ray cannot start on this machine: {reason[:300]}{'…' * (len(reason) > 300)}; its logs are in "
                "session_latest/logs of Ray's folder (RAY_TMPDIR): free memory, disk space or ports, or join a cluster "
                "with ray.address"
            ) from error
        finally:
            for name in given:
                os.environ.pop(name)
        stack.callback(ray.shutdown)
        yield
