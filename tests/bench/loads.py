# SPDX-License-Identifier: GPL-2.0-or-later
"""The loads other than the batches: requests, frames, a build, and what is not to be harmed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bench import batches
from bench.experiment import DEFAULT, LEARNED, Figures, Load, Service, program, script
from bench.programs import GUEST_FOLDER, PROJECT
from bench.targets import Target, harmless, ratios

MESSAGES_S = 90  # the trial of a policy is a part of it, but not most of it
WORK_MS = 4.0  # of the 16.7 that a frame has
LOOPS = "/var/tmp/frame-loops"
PROJECT_FOLDER = "/var/tmp/project"
QUIET_S = 30
COPY_MB = 256
THROUGHPUT_GAIN, LATENCY_GAIN, OTHERS_WAIT = 3.0, 2.2, 2.0
FRAME_GAIN, BUILD_COST = 3.0, 1.03

SLEEPER = Service("others", program("sleeper", 5), endless=True)
FRAMES = Service("frames", f"{GUEST_FOLDER}/frames $(cat {LOOPS})", endless=True)
BUILD = Service("build", script("build", "run", PROJECT_FOLDER))
SERVICE = Service("service", script("service", QUIET_S))
SEQUENTIAL = Service("job", script("timed", "xz", "--stdout", "-3", "/var/tmp/one-file"))

CALIBRATE = f"{program('frames', '--calibrate', WORK_MS)} >{LOOPS}"
CONFIGURE = script("build", "prepare", f"{GUEST_FOLDER}/{PROJECT}", PROJECT_FOLDER)
ONE_FILE = "cat /usr/lib/x86_64-linux-gnu/lib*.so.* | head -c 8M >/var/tmp/one-file"
BIG_FILE = f"head -c {COPY_MB}M /dev/urandom >/var/tmp/big-file && sync /var/tmp/big-file"


def request_figures(found: Mapping[str, Any]) -> Figures:
    """Throughput, and latencies in microseconds."""
    return {
        "requests_per_s": found["requests_per_s"],
        "request_p50_us": found["request_us"]["p50"],
        "request_p99_us": found["request_us"]["p99"],
        "request_p99.9_us": found["request_us"]["p99.9"],
        "wakeup_p50_us": found["wakeup_us"]["p50"],
        "wakeup_p99_us": found["wakeup_us"]["p99"],
        "wakeup_p99.9_us": found["wakeup_us"]["p99.9"],
    }


def frame_figures(found: Mapping[str, Any]) -> Figures:
    """Frame times in microseconds, and the share of frames that were late or dropped."""
    return {
        "frame_p50_us": found["frame_us"]["p50"],
        "frame_p99_us": found["frame_us"]["p99"],
        "missed_share": found["missed_share"],
    }


def sleeper_figures(found: Mapping[str, Any]) -> Figures:
    """How late the others woke up, in microseconds."""
    return {"others_p50_us": found["late_us"]["p50"], "others_p99_us": found["late_us"]["p99"]}


def service_figures(found: Mapping[str, Any]) -> Figures:
    """Latencies of a quiet service, in microseconds."""
    return {f"service_{name}_us": value for name, value in found["request_us"].items()}


def batch_figures(found: Mapping[str, Any]) -> Figures:
    """The makespan of a batch beside others."""
    return {"batch_s": found["makespan_s"]}


FIGURES: dict[str, Callable[[Any], Figures]] = {
    "messages": request_figures,
    "others": sleeper_figures,
    "frames": frame_figures,
    "service": service_figures,
    "batch": batch_figures,
    "build": lambda found: {"build_s": found["build_s"]},
    "job": lambda found: {"job_s": found["seconds"]},
    "copy": lambda found: {"copy_s": found["seconds"]},
    "switches": lambda found: {"switches_per_s": 2 * found},
}


def figures(answers: Mapping[str, Any]) -> Figures:
    """The figures of all services of a load."""
    return {key: value for name in answers for key, value in FIGURES[name](answers[name]).items()}


def batch_beside(kind: str) -> tuple[Service, tuple[str, ...]]:
    """A batch as one load of several, and how to prepare it."""
    alone = batches.load(kind, "first")
    return alone.services[0], alone.prepare


MESSAGES = Load(
    "messages",
    (Service("messages", program("messages", "-m", 2, "-t", 4, "-r", MESSAGES_S)), SLEEPER),
    figures,
    "requests_per_s",
    more_is_better=True,
)
MESSAGE_TARGETS = (
    Target(
        "requests per second over the kernel default",
        ratios("requests_per_s"),
        at_least=THROUGHPUT_GAIN,
        unit="times",
    ),
    Target(
        "request P99 better than the kernel default's",
        ratios("request_p99_us", DEFAULT, LEARNED),
        at_least=LATENCY_GAIN,
        unit="times",
    ),
    Target(
        "wakeup P99 of other cgroups over the kernel default's",
        ratios("others_p99_us"),
        at_most=OTHERS_WAIT,
        unit="times",
    ),
)

BUILD_ALONE = Load("build", (BUILD,), figures, "build_s", prepare=(CONFIGURE,))
BUILD_FRAMES = Load(
    "build-frames", (BUILD, FRAMES), figures, "frame_p99_us", prepare=(CONFIGURE, CALIBRATE)
)
FRAME_TARGETS = (
    Target(
        "P99 frame time better than the kernel default's",
        ratios("frame_p99_us", DEFAULT, LEARNED),
        at_least=FRAME_GAIN,
        unit="times",
    ),
    Target(
        "build time over the kernel default's",
        ratios("build_s"),
        at_most=BUILD_COST,
        unit="times",
    ),
)

DESKTOP = Load(
    "desktop",
    (
        Service("others", program("sleeper", 16.7, QUIET_S)),
        *(Service(f"idler{ms}", program("sleeper", ms), endless=True) for ms in (100, 500, 1000)),
    ),
    lambda answers: sleeper_figures(answers["others"]),
    "others_p99_us",
)
JOB = Load("sequential", (SEQUENTIAL,), figures, "job_s", prepare=(ONE_FILE,))
COPY_LINE = "dd if=/var/tmp/big-file of=/var/tmp/copy bs=64K iflag=direct oflag=direct".split()
COPY = Load(
    "copy",
    (Service("copy", script("timed", *COPY_LINE)),),
    figures,
    "copy_s",
    prepare=(BIG_FILE,),
)
SERVED = Load("service", (SERVICE,), figures, "service_p99_us")
HARMLESS: dict[str, tuple[Load, str, tuple[Target, ...]]] = {
    "desktop": (
        DESKTOP,
        "an idle desktop: small programs that wake up now and then",
        (harmless("others_p50_us", "median wakeup"), harmless("others_p99_us", "wakeup P99")),
    ),
    "sequential": (JOB, "one sequential job (xz)", (harmless("job_s", "time"),)),
    "copy": (
        COPY,
        f"a copy of {COPY_MB} MB that waits for the disk",
        (harmless("copy_s", "time"),),
    ),
    "service": (
        SERVED,
        "a service with few requests, served well already",
        (harmless("service_p50_us", "median"), harmless("service_p99_us", "P99")),
    ),
}

PIPE = Load(
    "pipe",
    (Service("switches", program("probe_load", "pipe", 5000)),),
    figures,
    "switches_per_s",
    more_is_better=True,
)


def mixtures() -> dict[str, tuple[Load, str, tuple[Target, ...]]]:
    """Two to four different workloads at once; none of them may be slower than it was."""
    batch, prepare = batch_beside("compress")
    logs, prepare_logs = batch_beside("logs")
    all_of = {
        "mix-2": (
            (batch, SERVICE),
            prepare,
            "a batch and a service",
            ("batch_s", "service_p99_us"),
        ),
        "mix-3": (
            (logs, BUILD, FRAMES),
            (*prepare_logs, CONFIGURE, CALIBRATE),
            "a batch, a build and a frame loop",
            ("batch_s", "build_s", "frame_p99_us"),
        ),
        "mix-4": (
            (batch, SEQUENTIAL, SERVICE, FRAMES),
            (*prepare, ONE_FILE, CALIBRATE),
            "a batch, a sequential job, a service and a frame loop",
            ("batch_s", "job_s", "service_p99_us", "frame_p99_us"),
        ),
    }
    return {
        name: (
            Load(name, services, figures, names[0], prepare=prepared),
            title,
            tuple(harmless(figure, figure) for figure in names),
        )
        for name, (services, prepared, title, names) in all_of.items()
    }
