#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# First process of a micro-VM. Says "ready" on the data port, takes one line "SIZE MARKER TIME" and SIZE bytes of tar, runs
# the tar's ./run in /run/payload with its output on the port, and ends with the line "MARKER RC=status".
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf
mount -t tracefs tracefs /sys/kernel/tracing
mount -t debugfs debugfs /sys/kernel/debug
mount -t tmpfs tmpfs /tmp
mkdir -p /dev/shm /dev/pts
mount -t tmpfs tmpfs /dev/shm
for port in /sys/class/virtio-ports/*; do
    read -r name <"$port/name"
    if [ "$name" = schedcp.lab.data ]; then
        exec 3<>"/dev/${port##*/}"
    fi
done
# A saved machine is continued from here: have what payloads need in the page cache.
python3 -c 'import ctypes, json, subprocess'
tar --version >/dev/null
date >/dev/null
echo ready >&3
# The port is at its end of file while the host is not connected.
until read -r size marker now <&3; do sleep 0.02; done
date -s "@$now" >/dev/null
cd /run/payload || exit 1
head -c "$size" <&3 | tar -xf -
./run >&3 2>&1 3>&- </dev/null
printf '\n%s RC=%d\n' "$marker" $? >&3
# The host ends the machine when it has read the marker; the first process must not return before.
exec sleep infinity
