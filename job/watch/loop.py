"""Rounds one after another: look for new bars, work through what they ask for, wait."""

import hashlib
import json
import logging
import time
from collections.abc import Generator, Mapping
from contextlib import closing, suppress
from datetime import UTC, datetime
from typing import Any

from job.cluster.warm import WarmRay
from job.config.settings import Config
from job.core.errors import JobError, RegistryError
from job.core.log_fields import set_run
from job.registry.catalog import open_registry
from job.registry.versions import new_run_id
from job.registry.watching import Heartbeat, write_round
from job.sources.finding import find_series
from job.sources.series import Found
from job.storage.files import Storage
from job.watch.record import Progress, Round, unseen
from job.watch.run import decided, run
from transforms.bars import duration_us

log = logging.getLogger("job")

LOOK_S = 1.0
"""How often a watcher that waits looks whether Ray has been idle for too long."""


def watch(config: Config, *, once: bool = False, progress: Progress = unseen) -> Generator[Round]:
    """Yield rounds as they end, for ever, or one with `once`; nothing is done, or written, where no bar is new.

    A round that fails is told by its problems, and the next one tries again. Of two watchers of one registry one stands
    by until the other is gone; with `once` it does nothing.

    Raises:
        ConfigError: a setting or path cannot be used.
        RegistryError: the registry cannot be written.
        KeyboardInterrupt: on Ctrl-C; what is committed stays.
    """
    registry = open_registry(config, writer=new_run_id(datetime.now(UTC)))
    registry.check_writable()
    every_s = duration_us(config.watch.every) / 1e6
    heart = Heartbeat(registry, lease_s=config.storage.lease_s)
    said = False
    while (other := heart.take()) is not None:
        if once or not said:
            log.info("%s is watched by process %d on %s", registry.url, other.pid, other.host)
        if once:
            return
        said = True
        time.sleep(min(every_s, config.storage.lease_s / 2))
    with closing(heart), closing(WarmRay(config.ray, idle_s=duration_us(config.watch.keep_ray) / 1e6)) as warm:
        while True:
            began = time.monotonic()
            done = _round(config, heart, warm, progress)
            yield done
            if once:
                return
            while (left := began + every_s - time.monotonic()) > 0:
                warm.stop_if_idle()
                time.sleep(min(left, LOOK_S))


def _round(config: Config, heart: Heartbeat, warm: WarmRay, progress: Progress) -> Round:
    """Work through one round, unless the input is as it was after the last one."""
    run_id = new_run_id(datetime.now(UTC))
    set_run(run_id)
    registry = open_registry(config, writer=run_id)
    done = Round(config, registry, run_id, warm, Found(()), progress)
    about = heart.about
    try:
        done.found = find_series(config.data, registry=registry.url)
        asked = digest_of(config, done.found)
        idle = as_before(config, registry, about, asked)
    except JobError as error:  # the storage may be back in the next round
        done.problems.append(("looking for bars", error))
        done.status = "failed"
        with suppress(RegistryError):  # which may be away with it
            write_round(registry, run_id, done.record())
        return done
    if idle:
        done.status = "idle"
        if about.get("failing_since"):
            done.failures.append(f"what failed in round {about['last_round']} waits to be tried again: see its record")
        return done
    try:
        run(done)
        since = (about.get("input") == asked and about.get("failing_since")) or done.started_at.isoformat()
        heart.beat(
            input=None if done.problems else asked,
            decisions=done.decisions,
            failing_since=since if done.failures else None,
            tried_at=done.started_at.isoformat(),
            last_round=run_id,
            status=done.status,
        )
    except JobError as error:
        done.problems.append(("recording", error))
        done.status = "failed"
    return done


def digest_of(config: Config, found: Found) -> str:
    """Return the digest of what would make another round: the files as listed, and what is to be done of them."""
    files = sorted((file.url, file.size, file.stamp) for one in found.series for file in one.files)
    settings = {name: section for name, section in config.masked().items() if name not in {"ray", "watch"}}
    asked = (files, settings, config.watch.predictions)
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def as_before(config: Config, registry: Storage, about: Mapping[str, Any], asked: str) -> bool:
    """Return whether there is nothing to do that the last round, `about` which the heartbeat tells, has not done.

    What failed in it may be mended without new bars, as by a worker that has memory again. It is tried again in the
    next round, and then after as long as it has been failing: a file that stays broken starts no Ray each time.
    """
    if about.get("input") != asked:
        return False
    if config.watch.predictions is not None and about.get("decisions") != decided(registry):
        return False  # other champions were named by hand
    if about.get("failing_since") is None:
        return True
    since, tried = (datetime.fromisoformat(about[name]) for name in ("failing_since", "tried_at"))
    return datetime.now(UTC) - tried < tried - since
