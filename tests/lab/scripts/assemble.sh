#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Write the disk image /images/$1 of size $2 from the tree /base, the kernel $3 in /modules and, if present, the packages
# /tmp/debs with the verdicts on their policies and the Debian packages that the remaining arguments name.
# Runs in the build root with a mount namespace of its own.
set -e
image=$1 size=$2 release=$3
shift 3
mkdir /tmp/new /tmp/merged
mount -t tmpfs -o size=3g tmpfs /tmp/new
mkdir /tmp/new/upper /tmp/new/work
options=lowerdir=/base,upperdir=/tmp/new/upper,workdir=/tmp/new/work
mount -t overlay -o "$options" overlay /tmp/merged 2>/dev/null ||
    mount -t overlay -o "$options,userxattr" overlay /tmp/merged
cp -r /modules/lib/modules /tmp/merged/usr/lib/
cp /modules/vmlinuz "/tmp/merged/boot/vmlinuz-$release"

install_packages() {
    # The shell in the chroot expands these.
    # shellcheck disable=SC2016
    chroot /tmp/merged sh -c 'apt-get -qy --no-install-recommends install /tmp/debs/*.deb "$@"' sh "$@"
}

if [ -e /tmp/debs ]; then
    export DEBIAN_FRONTEND=noninteractive
    mount --rbind /proc /tmp/merged/proc
    mount --rbind /dev /tmp/merged/dev
    for dir in run tmp; do mount -t tmpfs tmpfs "/tmp/merged/$dir"; done
    cp -r /tmp/debs /tmp/merged/tmp/
    cp /tmp/resolv.conf /tmp/merged/etc/resolv.conf
    if ! install_packages "$@"; then
        chroot /tmp/merged apt-get -q update
        install_packages "$@"
    fi
    kept=/tmp/merged/var/lib/schedcp-verify
    cp -r /verdicts "$kept/verdicts"
    chown -R --reference="$kept" "$kept/verdicts"
    for dir in run tmp dev proc; do umount --lazy --recursive "/tmp/merged/$dir"; done
    rm -rf /tmp/merged/etc/resolv.conf /tmp/merged/var/lib/apt/lists/* /tmp/merged/var/cache/apt/archives/*.deb
fi
# Stop ConditionNeedsUpdate= services from running at every boot.
touch /tmp/merged/etc/.updated /tmp/merged/var/.updated
rm -f "/images/$image"
mke2fs -q -t ext4 -O ^metadata_csum -m 0 -L schedcp-lab -E lazy_itable_init=1,root_owner=0:0 \
    -d /tmp/merged "/images/$image" "$size"
