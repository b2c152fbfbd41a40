# SPDX-License-Identifier: GPL-2.0-or-later
"""The package lists and recipe texts of the lab, as data."""

from __future__ import annotations


def listed(text: str) -> tuple[str, ...]:
    """The words of a text."""
    return tuple(text.split())


# What schedcp-agent needs of Debian besides; the rest of it comes as wheels.
AGENT_DEPENDENCIES = listed(
    """
    python3-annotated-types python3-docstring-parser python3-jsonschema-specifications
    python3-jwt python3-python-multipart python3-referencing python3-rpds-py python3-sniffio
    python3-truststore python3-uvicorn
    """
)

BUILD_ROOT_PACKAGES = (
    listed(
        """
    qemu-system-x86 qemu-utils clang llvm clang-format bpftool libbpf-dev
    linux-bpf-dev/trixie-backports build-essential dpkg-dev debhelper dh-python
    pybuild-plugin-pyproject python3-all python3-setuptools python3-wheel lintian e2fsprogs
    cpio zstd xz-utils kmod busybox-static shellcheck codespell libxml2-utils systemd man-db
    groff mandoc polkitd dbus python3-dbus-next python3-pyudev python3-systemd
    python3-sdnotify python3-tomli python3-cryptography python3-pytest
    python3-pytest-asyncio python3-pytest-cov python3-hypothesis python3-pyelftools fakeroot
    git procps bubblewrap libelf-dev zlib1g-dev libzstd-dev libc6-dev
    postgresql python3-psycopg
    """
    )
    + AGENT_DEPENDENCIES
)

IMAGE_PACKAGES = (
    listed(
        """
    systemd systemd-sysv libpam-systemd udev dbus polkitd python3 python3-dbus-next
    python3-pyudev python3-systemd python3-sdnotify python3-tomli python3-cryptography
    python3-pyelftools python3-bpfcc clang llvm qemu-guest-agent procps util-linux kmod
    xz-utils zstd gzip bzip2 stress-ng libbpf1 libbpf-dev bpftool
    linux-bpf-dev/trixie-backports less man-db bash-completion sudo qemu-system-x86 bubblewrap
    ca-certificates
    """
    )
    + AGENT_DEPENDENCIES
)

# On top of them for the bench only, which runs what people run.
BENCH_PACKAGES = listed("ffmpeg git make gcc libc6-dev libpython3.13-testsuite sqlite3")

MASKED_UNITS = listed(
    """
    apt-daily.timer apt-daily-upgrade.timer apt-daily.service apt-daily-upgrade.service
    dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer man-db.timer
    networking.service systemd-networkd.service systemd-timesyncd.service
    systemd-pstore.service getty@tty1.service systemd-binfmt.service
    systemd-update-utmp.service systemd-hwdb-update.service
    systemd-journal-catalog-update.service ldconfig.service
    """
)

KERNEL_SERIES = ("6.12", "6.16", "6.17", "6.18", "6.19", "7.0", "7.1", "7.2", "7.3")

BOOT_MODULES = ("virtio_blk", "ext4", "virtio_rng", "virtio_console", "virtio_pci")
