# SPDX-License-Identifier: GPL-2.0-or-later
"""The run-queue probe: how long the tasks of each cgroup wait for a CPU, always on.

A child takes it into the kernel and sends its descriptors to the daemon, which needs nothing else:
the probe is there as long as they are open.
"""

REASON_BYTES = 1024  # what the child says when there is no probe
