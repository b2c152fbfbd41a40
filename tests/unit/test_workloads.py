# SPDX-License-Identifier: GPL-2.0-or-later
"""Which cgroups count as workloads."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedcpd.model import WorkloadKind
from schedcpd.watch.workloads import PLUMBING, identify

ID = "0123456789ab" + "c" * 52
POD = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice"
USER = "/user.slice/user-1000.slice/user@1000.service"


@pytest.mark.parametrize(
    ("path", "unit", "kind"),
    [
        ("/system.slice/postgresql@17-main.service", "postgresql@17-main.service", "service"),
        ("/system.slice/run-r0a1.scope", "run-r0a1.scope", "scope"),
        ("/user.slice/user-1000.slice/session-3.scope", "session-3.scope", "scope"),
        (f"{USER}/app.slice/run-u12.service", "run-u12.service", "service"),
        (
            f"{USER}/app.slice/app-gnome-org.gnome.Terminal-77.scope",
            "app-gnome-org.gnome.Terminal-77.scope",
            "scope",
        ),
        (f"/system.slice/docker-{ID}.scope", "0123456789ab", "container"),
        (f"/docker/{ID}", "0123456789ab", "container"),
        (f"/machine.slice/libpod-{ID}.scope", "0123456789ab", "container"),
        (f"{USER}/user.slice/libpod-{ID}.scope", "0123456789ab", "container"),
        (f"{POD}/cri-containerd-{ID}.scope", "0123456789ab", "container"),
        (f"/kubepods/besteffort/pod12-34/{ID}", "0123456789ab", "container"),
        ("/lxc.payload.web", "web", "container"),
        (
            "/machine.slice/systemd-nspawn@build.service",
            "systemd-nspawn@build.service",
            "container",
        ),
        (
            "/machine.slice/machine-qemu\\x2d1\\x2dwin.scope",
            "machine-qemu\\x2d1\\x2dwin.scope",
            "container",
        ),
    ],
)
def test_workloads(path: str, unit: str, kind: str) -> None:
    workload = identify(path, 77, 1000.0)
    assert workload is not None
    assert (workload.id, workload.cgroup_id, workload.appeared_at) == (path, 77, 1000.0)
    assert (workload.unit, workload.kind) == (unit, WorkloadKind(kind))


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "",
        "/system.slice",
        "/init.scope",
        "/system.slice/dev-hugepages.mount",
        "/system.slice/dbus.socket",
        "/system.slice/systemd-journald.service",
        "/system.slice/dbus-broker.service",
        "/system.slice/polkit.service",
        "/system.slice/schedcpd.service",
        "/system.slice/ssh.service",
        "/system.slice/system-getty.slice/getty@tty1.service",
        "/system.slice/qemu-guest-agent.service",
        "/user.slice/user-1000.slice/user@1000.service",
        f"{USER}/init.scope",
        f"{USER}/session.slice/org.gnome.Shell@wayland.service",
        "/machine.slice/libpod-conmon-" + ID + ".scope",
        "/docker",
        "/kubepods/besteffort/pod12-34",
        "/mine",
        "/.service/x",
    ],
)
def test_not_workloads(path: str) -> None:
    assert identify(path, 77, 1000.0) is None


@pytest.mark.parametrize(
    "path",
    [
        "/system.slice/a.service/worker.service",
        "/system.slice/a.service/sub/b.scope",
        f"/system.slice/docker-{ID}.scope/system.slice/nginx.service",
        f"/docker/{ID}/init.service",
        "/lxc.payload.web/system.slice/nginx.service",
        "/system.slice/systemd-udevd.service/udev.scope",
        f"{USER}/app.slice/a.scope/b.service",
        "/x.mount/a.service",
    ],
)
def test_what_is_below_a_workload_belongs_to_it(path: str) -> None:
    assert identify(path, 77, 1000.0) is None


@pytest.mark.parametrize(
    "name",
    ["tab\t.service", "esc\x1b[2J.scope", "\udcff.service", "\u202eevil.scope", "a\u2028.scope"],
)
def test_names_that_would_fool_a_screen_are_no_workloads(name: str) -> None:
    assert identify(f"/user.slice/{name}", 77, 1000.0) is None
    assert identify(f"/{name}/a.service", 77, 1000.0) is None


def test_globs_of_the_configuration() -> None:
    path = "/user.slice/user-1000.slice/session-3.scope"
    assert identify(path, 1, 0.0, ("*.service", "session-4.scope")) is not None
    assert identify(path, 1, 0.0, ("*.service", "session-?.scope")) is None
    assert identify(path, 1, 0.0, ("/user.slice/user-1000.slice/*",)) is None
    assert identify(path, 1, 0.0, ("[", "session-3.scope\n")) is not None
    assert identify(path, 1, 0.0, ("SESSION-3.scope",)) is not None


def test_a_container_is_ignored_by_its_short_id() -> None:
    assert identify(f"/docker/{ID}", 1, 0.0, ("0123456789ab",)) is None


def test_the_list_of_plumbing_has_no_double() -> None:
    assert len(set(PLUMBING)) == len(PLUMBING)


@given(st.binary(max_size=60), st.sampled_from([b"", b".service", b".scope", b".slice"]))
def test_any_name_is_a_printable_workload_or_none(name: bytes, suffix: bytes) -> None:
    workload = identify("/system.slice/" + os.fsdecode(name + suffix), 1, 0.0, ("*x*",))
    if workload is not None:
        assert workload.unit.isprintable()
        workload.id.encode()
