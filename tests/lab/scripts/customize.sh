#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Turn the fresh root $1 into the lab's system; the remaining arguments are the units to mask.
set -e
cd "$1"
shift
echo schedcp-lab >etc/hostname
printf '127.0.0.1 localhost schedcp-lab\n::1 localhost\n' >etc/hosts
echo 5c4edc9000000000000000000000001a >etc/machine-id
: >etc/fstab
chroot . passwd -q -d root
chroot . useradd -m -u 1000 -s /bin/bash user
mkdir -p var/lib/systemd/linger
touch var/lib/systemd/linger/user
dropin() {
    mkdir -p "etc/systemd/$1"
    cat >"etc/systemd/$1/lab.conf"
}
# The dollar belongs to systemd.
# shellcheck disable=SC2016
printf '[Service]\nExecStart=\nExecStart=-/sbin/agetty --autologin root --noclear --keep-baud 115200 - $TERM\n' |
    dropin system/serial-getty@ttyS0.service.d
printf '[Journal]\nStorage=volatile\nRateLimitIntervalSec=0\n' | dropin journald.conf.d
ln -sf /usr/lib/systemd/system/multi-user.target etc/systemd/system/default.target
for unit in "$@"; do ln -sf /dev/null "etc/systemd/system/$unit"; done
echo 'path-include=/usr/share/doc/schedcp*' >etc/dpkg/dpkg.cfg.d/zz-schedcp
rm -rf var/lib/apt/lists/* var/cache/man/* boot/*
