# SPDX-License-Identifier: GPL-2.0-or-later
"""What stays the same of a workload when it is started again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedcpd.watch.identity import IDENTITY_LIMIT, of_path, of_programs
from schedcpd.watch.workloads import identify

ID = "0123456789ab" + "c" * 52
OTHER = "ba9876543210" + "d" * 52
UUID = "9b2f6c1e-0a7d-4f2e-8d3c-1b2a3c4d5e6f"
USER = "/user.slice/user-1000.slice/user@1000.service"


@pytest.mark.parametrize(
    ("path", "identity"),
    [
        ("/system.slice/postgresql@17-main.service", "unit postgresql@#-main.service"),
        ("/system.slice/nightly-build.service", "unit nightly-build.service"),
        ("/system.slice/batch.scope", "unit batch.scope"),
        ("/system.slice/build-0123456789abcdef.scope", "unit build-#.scope"),
        (r"/system.slice/backup\x2dhome.service", "unit backup-home.service"),
        (f"{USER}/app.slice/app-gnome-firefox-1234.scope", "app firefox"),
        (rf"{USER}/app.slice/app-gnome-google\x2dchrome-99.scope", "app google-chrome"),
        (f"{USER}/app.slice/app-flatpak-org.mozilla.Firefox-77.scope", "app org.mozilla.Firefox"),
        (f"{USER}/app.slice/app-org.kde.konsole@{UUID}.service", "app org.kde.konsole"),
        (f"{USER}/app.slice/app-KDE-org.kde.kate@{'a1' * 16}.service", "app org.kde.kate"),
        (f"{USER}/app.slice/app-org.gnome.Maps.service", "app org.gnome.Maps"),
        (f"{USER}/app.slice/app-editor.scope", "app editor"),
        (f"{USER}/app.slice/snap.firefox.firefox-{UUID}.scope", "app firefox.firefox"),
        ("/system.slice/snap.lxd.daemon.service", "app lxd.daemon"),
        ("/lxc.payload.web", "container web"),
        ("/machine.slice/systemd-nspawn@build.service", "machine build"),
        (r"/machine.slice/machine-qemu\x2d1\x2dwin.scope", "machine qemu-#-win"),
        # The path has no name here.
        ("/system.slice/run-r0a1b2c3d4e5f60718293a4b5c6d7e8f9.scope", ""),
        ("/system.slice/run-u12.service", ""),
        ("/system.slice/run-p812-i9.scope", ""),
        ("/system.slice/run-4711.scope", ""),
        ("/user.slice/user-1000.slice/session-3.scope", ""),
        ("/user.slice/user-1000.slice/session-c1.scope", ""),
        (f"{USER}/app.slice/vte-spawn-{UUID}.scope", ""),
        (f"/system.slice/docker-{ID}.scope", ""),
        (f"/docker/{ID}", ""),
        (f"/machine.slice/libpod-{ID}.scope", ""),
        (f"/kubepods.slice/kubepods-pod1_2.slice/cri-containerd-{ID}.scope", ""),
        (f"/kubepods/besteffort/pod12-34/{ID}", ""),
    ],
)
def test_identity_of_a_path(path: str, identity: str) -> None:
    assert of_path(path) == identity
    workload = identify(path, 77, 1000.0)
    assert workload is not None
    assert workload.identity == identity


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("/a/job@1.service", "/a/job@2.service"),
        (f"/a/job@{UUID}.service", f"/a/job@{UUID.replace('9', '7')}.service"),
        ("/a/app-gnome-firefox-1234.scope", "/a/app-gnome-firefox-98.scope"),
        ("/a/worker-20240101T0930.service", "/a/worker-20251231T2359.service"),
        ("/a/build-0a1b2c3d4e.scope", "/a/build-99ffee0011.scope"),
    ],
)
def test_starts_of_one_workload(first: str, second: str) -> None:
    assert of_path(first) == of_path(second) != ""


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("/a/postgresql@17-main.service", "/a/postgresql@17-test.service"),
        ("/a/web.service", "/a/web.scope"),
        ("/a/deadbeef.service", "/a/cafebabe.service"),
        ("/a/" + "x" * 300 + "a.service", "/a/" + "x" * 300 + "b.service"),
    ],
)
def test_workloads_that_differ(first: str, second: str) -> None:
    assert of_path(first) != of_path(second)


@pytest.mark.parametrize(
    ("path", "command", "identity"),
    [
        ("/s/run-u1.scope", "make -j8 -C /home/me/linux", "run make -j# -C linux"),
        ("/s/run-u2.scope", "make -j4 -C /srv/linux/", "run make -j# -C linux"),
        ("/s/run-u1.scope", "/usr/bin/python3 /opt/etl/job-17.py", "run python# job-#.py"),
        ("/s/run-u1.scope", "sh /tmp/tmp.aXb2Zq/run.sh", "run sh *.sh"),
        ("/s/run-u1.scope", "dd if=/data/disk-2.img of=/dev/null", "run dd if=disk-#.img of=null"),
        ("/s/run-u1.scope", "app --out=/tmp/x1y2z.csv", "run app --out=*.csv"),
        (f"/docker/{ID}", "postgres -c max_connections=200", "container postgres -c max_conn"),
        (f"/system.slice/docker-{OTHER}.scope", "nginx: master process nginx", "container nginx:"),
        (f"/kubepods/besteffort/pod1-2/{ID}", "java -jar app.jar", "pod java -jar app.jar"),
        (
            f"/kubepods.slice/kubepods-pod1.slice/crio-{ID}.scope",
            "java -jar app.jar",
            "pod java -jar app.jar",
        ),
    ],
)
def test_identity_of_programs(path: str, command: str, identity: str) -> None:
    assert of_programs(path, command, "worker", ("worker 1",)).startswith(identity)


def test_a_login_session_is_known_by_its_work() -> None:
    path = "/user.slice/user-1000.slice/session-3.scope"
    lines = ("xz -9 a1.tar", "xz -9 a2.tar", "bash")
    assert of_programs(path, "sshd: me [priv]", "xz", lines) == "session xz -# a#.tar"
    assert of_programs(path, "sshd: me [priv]", "cc1", ()) == "session cc1"
    assert of_programs(path, "sshd: me [priv]", "", ()) == ""


def test_without_the_command_the_workers_tell() -> None:
    assert of_programs("/s/run-u1.scope", "", "xz", ("xz -9 f1", "xz -9 f2")) == "run xz -# f#"
    assert of_programs("/s/run-u1.scope", "", "", ("", " ")) == ""


@given(st.text(max_size=600), st.text(max_size=600), st.text(max_size=70))
def test_any_name_is_bounded_and_printable(path: str, command: str, program: str) -> None:
    for identity in (of_path(path), of_programs(path, command, program, (command, program))):
        assert len(identity) <= IDENTITY_LIMIT
        assert identity.isprintable()


@given(st.text(max_size=200), st.integers(0, 10**12), st.integers(0, 10**12))
def test_numbers_never_matter(words: str, first: int, second: int) -> None:
    lines = [f"job {words} --seed={number} data-{number}.csv" for number in (first, second)]
    one, other = (of_programs("/s/run-u1.scope", line, "", ()) for line in lines)
    assert one == other


@pytest.mark.parametrize("path", ["/" + "app-" * 20000 + ".scope", "/run-r" + "0" * 10**6])
def test_hostile_names_take_no_time(path: str) -> None:
    assert len(of_path(path)) <= IDENTITY_LIMIT
