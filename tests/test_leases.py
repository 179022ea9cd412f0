"""Leases: alive, expired, or abandoned by a process that is gone."""

import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psutil
import pytest

from job.registry.leases import Lease

NOW = datetime.now(UTC)


def test_a_lease_of_this_process_is_live_until_it_expires() -> None:
    lease = Lease.of_this_process(60)
    assert lease.live(datetime.now(UTC))
    assert not lease.live(datetime.now(UTC) + timedelta(seconds=61))
    assert lease.pid == os.getpid()


def test_a_lease_survives_json() -> None:
    lease = Lease.of_this_process(60)
    again = Lease.from_record(lease.record())
    assert replace(again, expires_at=lease.expires_at) == lease
    assert abs(again.expires_at - lease.expires_at) < timedelta(milliseconds=1)


def test_a_process_that_is_gone_ends_its_lease_on_its_own_host_only() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        started = psutil.Process(process.pid).create_time()
        lease = replace(Lease.of_this_process(60), pid=process.pid, process_started=started)
        assert lease.live(datetime.now(UTC))
    assert not lease.live(datetime.now(UTC))
    assert replace(lease, host="elsewhere").live(datetime.now(UTC)), "what runs there cannot be seen from here"


def test_a_number_that_another_process_has_now_is_not_taken_for_the_old_one() -> None:
    lease = Lease.of_this_process(60)
    assert not replace(lease, process_started=lease.process_started - 100).live(datetime.now(UTC))


@pytest.mark.parametrize("record", [{}, {"expires_at": "soon"}, {"expires_at": None, "host": "x"}, []])
def test_what_is_no_lease_is_refused(record: dict[str, object]) -> None:
    with pytest.raises((LookupError, ValueError, TypeError)):
        Lease.from_record(record)
