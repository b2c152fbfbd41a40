#!/bin/busybox sh
# SPDX-License-Identifier: GPL-2.0-or-later
# First process of every machine: insert the modules, mount the disk, put the payload on /run, start the real init.
b=/bin/busybox
$b mkdir -p /proc /sys /dev /newroot
$b mount -t proc proc /proc
$b mount -t sysfs sysfs /sys
$b mount -t devtmpfs devtmpfs /dev
while read -r module; do
    $b insmod "/modules/$module" || echo "initramfs: insmod $module failed"
done </modules/order
init=/sbin/init
for word in $($b cat /proc/cmdline); do
    case $word in
    init=*) init=${word#init=} ;;
    esac
done
# An NVMe disk serves the kernels whose module packages are no longer in the archive.
tries=0
disk=
while [ -z "$disk" ] && [ "$tries" -lt 250 ]; do
    for found in /dev/vda /dev/nvme0n1; do
        [ -b "$found" ] && disk=$found
    done
    $b usleep 20000
    tries=$((tries + 1))
done
$b mount -t ext4 -o rw,noatime,nobarrier "$disk" /newroot || {
    echo "initramfs: no root file system on '$disk'"
    $b poweroff -f
}
if [ -d /payload ]; then
    $b mount -t tmpfs -o mode=755 tmpfs /newroot/run
    $b cp -a /payload /newroot/run/payload
fi
for dir in proc sys dev; do $b mount --move "/$dir" "/newroot/$dir"; done
exec $b switch_root /newroot "$init"
