# SPDX-License-Identifier: GPL-2.0-or-later
"""Measurements of schedcp in the lab, each against the kernel default of the same machine."""
