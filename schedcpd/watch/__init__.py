# SPDX-License-Identifier: GPL-2.0-or-later
"""Stage 1: which workloads are there, told by events."""
