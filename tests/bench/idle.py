# SPDX-License-Identifier: GPL-2.0-or-later
"""What the idle daemon costs: resident memory and CPU over two quiet minutes in the lab."""

from __future__ import annotations

import json

from lab.machine import Machine
from lab.place import say

WINDOW_S = 120
BUDGET_MB = 40.0
BUDGET_PERCENT = 0.1
CGROUP = "/sys/fs/cgroup/system.slice/schedcpd.service"

# Sleeping in the guest keeps the host's questions, which cost the guest CPU, out of the window.
PROBE = f"""
pid=$(systemctl show --value -p MainPID schedcpd)
before=$(awk '/^usage_usec/ {{print $2}}' {CGROUP}/cpu.stat)
sleep {WINDOW_S}
after=$(awk '/^usage_usec/ {{print $2}}' {CGROUP}/cpu.stat)
rss=$(awk '/^VmRSS/ {{print $2}}' /proc/$pid/status)
echo "{{\\"cpu_us\\": $((after - before)), \\"rss_kb\\": $rss}}"
"""


def measure(machine: Machine) -> dict[str, float]:
    """Resident memory in MB and CPU as a percentage of one CPU."""
    say(f"watching the idle daemon for {WINDOW_S} s ...")
    found = json.loads(machine.run(PROBE, timeout_s=WINDOW_S + 60).stdout)
    cpu_percent = found["cpu_us"] / (WINDOW_S * 1e6) * 100
    return {"rss_mb": found["rss_kb"] / 1024, "cpu_percent": cpu_percent, "window_s": WINDOW_S}
