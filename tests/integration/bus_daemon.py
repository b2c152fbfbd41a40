# SPDX-License-Identifier: GPL-2.0-or-later
"""A private dbus-daemon with the rules of a system bus and our own policy file."""

from __future__ import annotations

import contextlib
import getpass
import subprocess
from collections.abc import Iterator
from pathlib import Path

DBUS_POLICY = Path(__file__).parents[2] / "dbus-policy"
SERVICES = (
    ("daemon", "org.schedcp.Daemon1.conf", "root"),
    ("agent", "org.schedcp.Agent1.conf", "schedcp-agent"),
)

# The default policy is that of /usr/share/dbus-1/system.conf.
CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path={folder}/bus</listen>
  <auth>EXTERNAL</auth>
  <servicedir>{folder}/services</servicedir>
  <policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus"/>
    <allow send_destination="org.freedesktop.DBus"
           send_interface="org.freedesktop.DBus.Introspectable"/>
    <allow send_destination="org.freedesktop.DBus"
           send_interface="org.freedesktop.DBus.Properties"/>
    <allow own="org.freedesktop.PolicyKit1"/>
    <allow send_destination="org.freedesktop.PolicyKit1"/>
  </policy>
  <include>{folder}/daemon.conf</include>
  <include>{folder}/agent.conf</include>
</busconfig>
"""


@contextlib.contextmanager
def running(folder: Path) -> Iterator[str]:
    """Run a bus below ``folder``; gives its address."""
    for name, file, user in SERVICES:
        ours = (DBUS_POLICY / file).read_text()
        assert f'user="{user}"' in ours
        allowed = ours.replace(f'user="{user}"', f'user="{getpass.getuser()}"')
        (folder / f"{name}.conf").write_text(allowed)
    (folder / "services").mkdir()
    service = (DBUS_POLICY / "org.schedcp.Daemon1.service").read_text()
    (folder / "services/org.schedcp.Daemon1.service").write_text(service)
    (folder / "bus.conf").write_text(CONFIG.format(folder=folder))
    with subprocess.Popen(
        [
            *("setpriv", "--pdeathsig", "TERM", "--"),  # also when the tests are killed
            *("dbus-daemon", f"--config-file={folder}/bus.conf", "--nofork", "--print-address=1"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()  # printed once it listens
        try:
            assert address, "dbus-daemon did not start"
            yield address
        finally:
            process.terminate()
