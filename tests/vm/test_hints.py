# SPDX-License-Identifier: GPL-2.0-or-later
"""The packaged task probe with real processes, and what the daemon makes of what it tells."""

from __future__ import annotations

import json

import pytest

from bench.hint_delay import CPU_TIME, wrong_with
from lab.machine import Machine
from lab.place import REPO
from vm.guest import await_policy, schedctl

# Each of the short jobs is followed by another one; the long one has twelve times as much to do.
UNEVEN = """
long=$(mktemp -p /var/tmp)
for i in $(seq 12); do cat /usr/bin/python3.13; done >"$long"
(while :; do xz -6 --threads=1 --stdout "$long" >/dev/null; done) &
for i in $(seq 8); do
    (while :; do xz -6 --threads=1 --stdout /usr/bin/python3.13 >/dev/null; done) &
done
wait
"""


@pytest.mark.long
def test_every_process_is_seen_and_its_figures_are_right(machine: Machine) -> None:
    machine.copy_in(REPO / "tests/bench/hint_guest.py", "/root/hint_guest.py")
    argv = "cd /usr/lib/schedcp/probes && exec python3 /root/hint_guest.py 100 30000"
    done = machine.run(["sh", "-c", argv], timeout_s=1200)
    wrong = wrong_with(json.loads(done.stdout.splitlines()[-1]))
    # CPU time is told up to the last tick, and those of an emulated machine can be late: the bench
    # has a clock that counts instructions for it.
    assert [one for one in wrong if not one.startswith(CPU_TIME)] == []


def test_a_batch_with_a_long_job_is_run_longest_first_by_itself(machine: Machine) -> None:
    machine.start(UNEVEN, unit="batch", user="user")
    await_policy(machine, "scx_longest")
    assert "the longest is expected to take" in schedctl(machine, "why", "batch.service").stdout
