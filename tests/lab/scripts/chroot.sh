#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# chroot.sh ROOT CWD USER BINDS [HOST GUEST]... COMMAND...: run a command in an unpacked root.
# The caller has given this script mount and PID namespaces of its own, so nothing is ever unmounted here.
set -e
root=$1 cwd=$2 user=$3 binds=$4
shift 4
mount --bind "$root" "$root"
cd "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount --rbind /sys "$root/sys"
mount -o remount,bind,ro,nosuid,nodev,noexec "$root/sys"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
while [ "$binds" -gt 0 ]; do
    if [ -d "$1" ]; then
        mkdir -p "$root$2"
    else
        mkdir -p "$root${2%/*}"
        [ -e "$root$2" ] || : >"$root$2"
    fi
    mount --rbind "$1" "$root$2"
    shift 2
    binds=$((binds - 1))
done
# A mere chroot would not do: the kernel refuses user namespaces, and so bubblewrap, to who is in one.
pivot_root . .
umount -l .
cd /
status=0
# The inner shell expands these.
# shellcheck disable=SC2016
/usr/sbin/chroot --userspec="$user" / /bin/sh -c 'cd "$1" && shift && exec "$@"' sh "$cwd" "$@" || status=$?
exit "$status"
