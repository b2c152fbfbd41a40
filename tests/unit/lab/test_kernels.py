# SPDX-License-Identifier: GPL-2.0-or-later
"""Choosing kernels by series and ordering their modules."""

from __future__ import annotations

import pytest

from lab import initramfs, kernels
from lab.errors import BuildFailed

NAMES = [
    "linux-image-6.18.5+deb13-cloud-amd64",
    "linux-image-6.18.15+deb13-cloud-amd64",
    "linux-image-6.18.9+deb13-cloud-amd64",
    "linux-binary-7.2.9+deb13-cloud-amd64",
    "linux-binary-7.2.12+deb13-cloud-amd64",
    "linux-modules-7.2.12+deb13-cloud-amd64",
    "linux-base-7.2.12+deb13-cloud-amd64",
    "linux-binary-unsigned-7.2.13+deb13-cloud-amd64",
    "linux-image-7.2.12+deb13-cloud-amd64-dbg",
    "linux-image-7.2.12+deb13-amd64",
    "linux-image-cloud-amd64",
]


def test_newest_point_release_by_number() -> None:
    assert kernels.newest_by_series(NAMES) == {
        "6.18": "6.18.15+deb13-cloud-amd64",
        "7.2": "7.2.12+deb13-cloud-amd64",
    }


def test_series_are_sorted_by_number() -> None:
    names = [f"linux-image-{series}.1+deb13-cloud-amd64" for series in ("7.10", "7.2", "6.12")]
    assert list(kernels.newest_by_series(names)) == ["6.12", "7.2", "7.10"]


def test_packages_of_a_split_kernel() -> None:
    assert kernels.packages_of("7.2.12+deb13-cloud-amd64", NAMES) == [
        "linux-binary-7.2.12+deb13-cloud-amd64",
        "linux-modules-7.2.12+deb13-cloud-amd64",
        "linux-base-7.2.12+deb13-cloud-amd64",
    ]


def test_rebuild_of_a_version_sorts_after_it() -> None:
    first, second = "6.12.90+deb13-cloud-amd64", "6.12.90+deb13.1-cloud-amd64"
    assert kernels.version_key(first) < kernels.version_key(second)


DEP = """kernel/fs/ext4/ext4.ko.xz: kernel/fs/jbd2/jbd2.ko.xz kernel/lib/crc16.ko.xz
kernel/fs/jbd2/jbd2.ko.xz:
kernel/lib/crc16.ko.xz:
kernel/drivers/block/virtio-blk.ko.xz:
"""


def test_modules_load_after_what_they_need() -> None:
    table = initramfs.parse_modules_dep(DEP)
    order = initramfs.load_order(
        table, ["ext4", "virtio_blk", "virtio_pci"], frozenset({"virtio_pci"})
    )
    assert [initramfs.module_name(file) for file in order] == [
        "crc16",
        "jbd2",
        "ext4",
        "virtio_blk",
    ]


def test_unknown_module_is_an_error() -> None:
    with pytest.raises(BuildFailed, match="virtio_rng"):
        initramfs.load_order({}, ["virtio_rng"], frozenset())
