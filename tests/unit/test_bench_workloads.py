# SPDX-License-Identifier: GPL-2.0-or-later
"""The bench's workloads, each run small on this machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.workloads import batch
from bench.workloads.jobs import KINDS, TEST_MODULES, missing
from lab.place import REPO

WORKLOADS = REPO / "tests" / "bench" / "workloads"
ENV = {**os.environ, "PYTHONPATH": str(REPO / "tests"), batch.SMALL: "0.02"}


def python(module: str, *arguments: str) -> Any:
    """What a Python workload answers."""
    line = [sys.executable, "-m", f"bench.workloads.{module}", *arguments]
    return json.loads(subprocess.run(line, env=ENV, check=True, stdout=subprocess.PIPE).stdout)


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled programs."""
    if shutil.which("gcc") is None or shutil.which("make") is None:
        pytest.skip("no compiler here")
    out = tmp_path_factory.mktemp("programs")
    line = ["make", "-s", "-C", str(WORKLOADS), f"OUT={out}"]
    subprocess.run(line, check=True)
    return out


def run(program: Path, *arguments: str) -> Any:
    """What a compiled workload answers."""
    done = subprocess.run([program, *arguments], check=True, stdout=subprocess.PIPE, timeout=60)
    return json.loads(done.stdout)


@pytest.mark.parametrize("kind", [name for name in KINDS if name not in ("tests", "video")])
def test_a_batch_does_all_its_jobs(kind: str, tmp_path: Path) -> None:
    if missing(KINDS[kind]):
        pytest.skip(f"needs {', '.join(missing(KINDS[kind]))}")
    where = (kind, "first", str(tmp_path / "batch"))
    units = python("batch", "prepare", *where)["units"]
    assert units[str(batch.LONG_FACTOR)] > units["1.0"]
    found = python("batch", "run", *where)
    assert sorted(job["job"] for job in found["jobs"]) == list(range(batch.JOBS))
    assert found["makespan_s"] == max(job["end_s"] for job in found["jobs"])
    long, *short = (job["cpu_s"] for job in sorted(found["jobs"], key=lambda job: job["job"]))
    assert long > max(short)


def test_waves_arrive_one_after_the_other(tmp_path: Path) -> None:
    where = ("checksum", "waves", str(tmp_path / "batch"))
    python("batch", "prepare", *where)
    jobs = python("batch", "run", *where)["jobs"]
    gap_s = batch.WAVE_GAP_S * 0.02
    for job in jobs:
        assert job["arrived_s"] >= job["job"] // (batch.JOBS // batch.WAVES) * gap_s


def test_a_job_that_fails_fails_the_batch(tmp_path: Path) -> None:
    place = tmp_path / "batch"
    python("batch", "prepare", "compress", "first", str(place))
    (place / "job-07").unlink()
    line = [sys.executable, "-m", "bench.workloads.batch", "run", "compress", "first", str(place)]
    done = subprocess.run(line, env=ENV, check=False, capture_output=True, text=True)
    assert done.returncode != 0
    assert "job 7 failed" in done.stderr


@pytest.mark.parametrize("variant", batch.VARIANTS)
def test_a_variant_has_forty_jobs_and_few_long_ones(variant: str) -> None:
    jobs = batch.VARIANTS[variant]
    long = [job for job in jobs if job.factor > 1]
    assert len(jobs) == batch.JOBS
    assert len(long) == (batch.SEVERAL if variant == "several" else 1)


def test_the_modules_of_the_test_suite_have_no_doubles() -> None:
    assert len(set(TEST_MODULES)) == len(TEST_MODULES) >= batch.LONG_FACTOR


def test_messages_serve_requests_and_their_percentiles_are_in_order(programs: Path) -> None:
    found = run(programs / "messages", *"-m 2 -t 2 -r 1 -F 16 -n 1".split())
    assert found["requests"] > 0
    assert found["requests_per_s"] == pytest.approx(found["requests"] / found["seconds"], rel=0.01)
    for name in ("request_us", "wakeup_us"):
        times = found[name]
        assert 0 < times["p50"] <= times["p99"] <= times["p99.9"] <= times["max"]
    assert found["request_us"]["p50"] >= 100  # it thinks for 100 us


@pytest.mark.parametrize(
    "line",
    ["messages -m 0", "messages -m x", "messages -r 1 left", "frames 0", "frames", "sleeper"],
)
def test_wrong_arguments_are_refused(programs: Path, line: str) -> None:
    name, *arguments = line.split()
    done = subprocess.run([programs / name, *arguments], check=False, capture_output=True)
    assert done.returncode == 2


def test_frames_are_sixty_a_second_and_end_at_a_signal(programs: Path) -> None:
    found = run(programs / "frames", "1000", "0.5")
    assert 20 <= found["frames"] + found["dropped"] <= 31
    process = subprocess.Popen([programs / "frames", "1000"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.terminate()
    process.wait(10)
    process.stdout.close()


def test_work_longer_than_a_frame_misses_it(programs: Path) -> None:
    line = [str(programs / "frames"), "--calibrate", "25"]
    loops = subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    found = run(programs / "frames", loops, "0.5")
    assert found["missed_share"] > 0.5


def test_a_sleeper_tells_how_late_it_woke(programs: Path) -> None:
    found = run(programs / "sleeper", "5", "0.5")
    assert found["wakeups"] > 10
    assert 0 < found["late_us"]["p50"] <= found["late_us"]["max"]


def test_a_quiet_service_answers() -> None:
    found = python("service", "0.5")
    assert found["requests"] >= 10
    assert 0 < found["request_us"]["p50"] <= found["request_us"]["p99"]


def test_a_timed_command_is_timed_and_its_failure_told() -> None:
    assert python("timed", "sleep", "0.1")["seconds"] >= 0.1
    line = [sys.executable, "-m", "bench.workloads.timed", "false"]
    assert subprocess.run(line, env=ENV, check=False, capture_output=True).returncode != 0
