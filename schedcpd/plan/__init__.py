# SPDX-License-Identifier: GPL-2.0-or-later
"""Stage 3: which policy suits a workload, or none."""
