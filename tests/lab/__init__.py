# SPDX-License-Identifier: GPL-2.0-or-later
"""The VM lab: a Debian image with a sched_ext kernel, run by QEMU and driven through its agent."""
