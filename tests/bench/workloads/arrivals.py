# SPDX-License-Identifier: GPL-2.0-or-later
"""How soon the daemon knows new cgroups, and what they cost it; run in the lab, as root.

    arrivals COUNT PER_S    make so many service cgroups with a process each, so many a second
    crowd COUNT SECONDS     make so many empty cgroups, then watch the daemon for that long

Prints JSON: for each cgroup the seconds until its workload was known and until it was profiled and
planned, and the daemon's CPU use (percent of one CPU) and resident memory (MB) meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path

from dbus_next.aio.message_bus import MessageBus
from dbus_next.constants import BusType, MessageType
from dbus_next.message import Message

ROOT = Path("/sys/fs/cgroup/schedcpbench.slice")
DAEMON = Path("/sys/fs/cgroup/system.slice/schedcpd.service")
BUS = "org.freedesktop.DBus"
WORKLOADS = "/org/schedcp/Daemon1/workload/"
PLANNED = "Objective"  # a property of a workload that nothing but a plan changes
SETTLE_S = 10.0


def daemon_cpu_s() -> float:
    """The CPU time of the daemon so far."""
    text = (DAEMON / "cpu.stat").read_text()
    return int(text.split("usage_usec ", 1)[1].split()[0]) / 1e6


def daemon_mb() -> float:
    """The resident memory of the daemon's largest process."""
    sizes = []
    for pid in (DAEMON / "cgroup.procs").read_text().split():
        status = Path(f"/proc/{pid}/status").read_text()
        sizes.append(int(status.split("VmRSS:", 1)[1].split()[0]) / 1024)
    return max(sizes)


class Watch:
    """When each workload was known, and when it had its first plan, by cgroup number."""

    def __init__(self) -> None:
        self.known: dict[int, float] = {}
        self.planned: dict[int, float] = {}

    def take(self, message: Message) -> None:
        """Look at a signal of the daemon."""
        if message.message_type is not MessageType.SIGNAL:
            return
        now = time.monotonic()
        changed = message.member == "PropertiesChanged" and message.path.startswith(WORKLOADS)
        if message.member == "InterfacesAdded" and message.body[0].startswith(WORKLOADS):
            self.known.setdefault(int(message.body[0].removeprefix(WORKLOADS)), now)
        elif changed and PLANNED in message.body[1]:
            self.planned.setdefault(int(message.path.removeprefix(WORKLOADS)), now)


async def listen(watch: Watch) -> MessageBus:
    """A connection that hears what the daemon says."""
    bus = await MessageBus(bus_type=BusType.SYSTEM).connect()
    bus.add_message_handler(watch.take)
    rule = "type='signal',sender='org.schedcp.Daemon1'"
    await bus.call(Message(BUS, "/org/freedesktop/DBus", BUS, "AddMatch", signature="s",
                           body=[rule]))  # fmt: skip
    return bus


def new_cgroup(number: int) -> Path:
    """A new cgroup, named as a service."""
    folder = ROOT / f"arrival-{os.getpid()}-{number}.service"
    folder.mkdir(parents=True)
    return folder


def enter(folder: Path) -> int:
    """A process that sleeps in a cgroup; its pid. The cgroup is populated when this returns."""
    pid = os.posix_spawn("/usr/bin/sleep", ["sleep", "600"], os.environ)
    (folder / "cgroup.procs").write_text(str(pid))
    return pid


async def arrivals(count: int, per_s: float) -> None:
    """Make the cgroups at a steady rate, and tell what the daemon did."""
    watch = Watch()
    bus = await listen(watch)
    made: dict[int, float] = {}
    pids = []
    began, cpu_s = time.monotonic(), daemon_cpu_s()
    for number in range(count):
        await asyncio.sleep(max(began + number / per_s - time.monotonic(), 0.0))
        folder = new_cgroup(number)
        made[folder.stat().st_ino] = time.monotonic()
        pids.append(enter(folder))
    took_s = time.monotonic() - began
    used_s = daemon_cpu_s() - cpu_s
    deadline = time.monotonic() + SETTLE_S
    while len(watch.planned.keys() & made.keys()) < count and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    print(json.dumps({
        "count": count,
        "per_s": count / took_s,
        "known_s": [watch.known[one] - at for one, at in made.items() if one in watch.known],
        "planned_s": [
            watch.planned[one] - watch.known[one]
            for one in made if one in watch.planned and one in watch.known
        ],
        "cpu_percent": 100 * used_s / took_s,
        "rss_mb": daemon_mb(),
    }))  # fmt: skip
    bus.disconnect()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def crowd(count: int, length_s: float) -> None:
    """Make empty cgroups and watch the daemon."""
    ROOT.mkdir(exist_ok=True)
    for number in range(count):
        (ROOT / f"empty-{number}.service").mkdir(exist_ok=True)
    time.sleep(SETTLE_S)
    cpu_s = daemon_cpu_s()
    time.sleep(length_s)
    used_s = daemon_cpu_s() - cpu_s
    print(json.dumps({"cpu_percent": 100 * used_s / length_s, "rss_mb": daemon_mb()}))


def main(argv: list[str]) -> None:
    """What the module's first lines say."""
    match argv:
        case ["arrivals", count, per_s]:
            asyncio.run(arrivals(int(count), float(per_s)))
        case ["crowd", count, seconds]:
            crowd(int(count), float(seconds))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
