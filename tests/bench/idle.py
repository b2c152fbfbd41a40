# SPDX-License-Identifier: GPL-2.0-or-later
"""What the idle daemon costs: resident memory and CPU over two quiet minutes in the lab."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from lab import image, kernels, snapshot
from lab.machine import Machine
from lab.place import REPO, Lab, say

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


def main() -> int:
    """Measure in a machine in which nothing happens, print beside the budget, write the figures."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--deb", type=Path, required=True, help="the package to install in the lab")
    parser.add_argument("--out", type=Path, default=REPO / "build" / "bench" / "idle.json")
    options = parser.parse_args()
    lab = Lab.from_env()
    saved = snapshot.get(image.build(lab, options.deb), kernels.get(lab))
    with Machine.resume(saved) as machine:
        figures = measure(machine) | {"accelerator": machine.spec.accel}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(figures, indent=2) + "\n")
    print(f"idle daemon, {WINDOW_S} s, {figures['accelerator']}")
    print(f"  resident memory  {figures['rss_mb']:6.1f} MB   budget {BUDGET_MB:g} MB")
    print(f"  CPU              {figures['cpu_percent']:6.3f} %    budget {BUDGET_PERCENT:g} %")
    print(f"figures: {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
