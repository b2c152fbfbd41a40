# SPDX-License-Identifier: GPL-2.0-or-later
"""The only code that talks to the kernel: cgroupfs, procfs, PSI, sched_ext's sysfs, libbpf."""
