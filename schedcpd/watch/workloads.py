# SPDX-License-Identifier: GPL-2.0-or-later
"""Which cgroups are workloads: services, scopes and containers, but not the machine's plumbing."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase, translate

from schedcpd.model import Workload, WorkloadKind
from schedcpd.watch.identity import CONTAINER, of_path

# Services that keep a machine or a desktop running. They are small, or others wait for them.
PLUMBING = (
    "systemd-*", "dbus*", "polkit*", "schedcp*",
    "getty@*", "serial-getty@*", "console-getty*", "container-getty@*", "autovt@*",
    "ssh*", "cron*", "anacron*", "atd*", "rsyslog*", "auditd*", "acpid*", "irqbalance*",
    "udisks2*", "NetworkManager*", "ModemManager*", "wpa_supplicant*", "networking*", "ifup@*",
    "dhclient*", "dhcpcd*", "chrony*", "ntp*", "avahi-*", "bluetooth*", "cups*", "rpcbind*",
    "qemu-guest-agent*", "open-vm-tools*", "spice-vdagent*", "smartmontools*", "smartd*",
    "thermald*", "upower*", "power-profiles-daemon*", "tuned*", "fwupd*", "packagekit*",
    "accounts-daemon*", "colord*", "rtkit-daemon*", "switcheroo-control*", "iio-sensor-proxy*",
    "display-manager*", "gdm*", "sddm*", "lightdm*", "plymouth*", "user-runtime-dir@*",
    "modprobe@*", "lvm2-*", "dm-event*", "multipathd*", "mdmonitor*", "console-setup*",
    "keyboard-setup*", "apparmor*", "kmod*", "snapd*", "gnome-*", "org.gnome.*", "plasma-*",
    "org.kde.*", "gvfs-*",
    "xdg-*", "at-spi-*", "pipewire*", "wireplumber*", "pulseaudio*", "filter-chain*", "dconf*",
    "gpg-agent*", "gcr-*", "obex*", "evolution-*", "tracker-*", "localsearch*", "app-gnome-*",
    "libpod-conmon-*", "crio-conmon-*", "lxc.monitor.*",
)  # fmt: skip

# Kept although a pattern above matches: containers, and applications, which desktops put in scopes.
_PAYLOADS = ("systemd-nspawn@*.service",)

_PLUMBING = re.compile("|".join(translate(pattern) for pattern in PLUMBING))
_PAYLOAD = re.compile("|".join(translate(pattern) for pattern in _PAYLOADS))
_MACHINE = re.compile(r"machine-.+\.scope|systemd-nspawn@.+\.service")
_USER_MANAGER = re.compile(r"user@\d+\.service")
_SHORT_ID = 12  # what container engines show of an id
_OPAQUE = (".mount", ".socket", ".swap", ".automount", ".device", ".timer", ".path", ".target")
_IDENTIFIER_LIMIT = 4096


def identify(
    path: str, cgroup_id: int, now: float, ignore: tuple[str, ...] = ()
) -> Workload | None:
    """The workload whose own cgroup ``path`` is; None for everything else.

    What is below a workload's cgroup belongs to it. ``ignore`` are globs for the name of the unit
    or for the whole path. ``now`` is in seconds since the epoch.
    """
    if not path.isprintable() or len(path) > _IDENTIFIER_LIMIT:
        # systemd and the container engines make no such names; nobody should see them on a screen.
        return None
    *parents, name = path.split("/")
    if any(_ends_search(parent) for parent in parents):
        return None
    found = _kind(name)
    if found is None:
        return None
    kind, unit = found
    if any(fnmatchcase(unit, glob) or fnmatchcase(path, glob) for glob in ignore):
        return None
    return Workload(path, cgroup_id, unit, kind, now, of_path(path))


def _ends_search(name: str) -> bool:
    """Whether what is below a cgroup of this name belongs to it, workload or not."""
    if _USER_MANAGER.fullmatch(name):
        return False
    return _is_unit(name) or name.endswith(_OPAQUE) or bool(CONTAINER.fullmatch(name))


def _is_unit(name: str) -> bool:
    return name.endswith((".service", ".scope"))


def _kind(name: str) -> tuple[WorkloadKind, str] | None:
    """The kind of a workload and its name for people; None when the name is no workload's."""
    container = CONTAINER.fullmatch(name)
    if container:
        identifier = container["scope"] or container["plain"]
        return WorkloadKind.CONTAINER, identifier[:_SHORT_ID] if identifier else container["lxc"]
    if not _is_unit(name) or name == "init.scope" or _USER_MANAGER.fullmatch(name):
        return None
    if _PLUMBING.fullmatch(name) and not _PAYLOAD.fullmatch(name) and not _is_application(name):
        return None
    if _MACHINE.fullmatch(name):
        return WorkloadKind.CONTAINER, name
    return (WorkloadKind.SERVICE if name.endswith(".service") else WorkloadKind.SCOPE), name


def _is_application(name: str) -> bool:
    # app-gnome-….scope is a program that a person started; a gnome-….service is the desktop itself.
    return name.startswith("app-") and name.endswith(".scope")
