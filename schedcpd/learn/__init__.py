# SPDX-License-Identifier: GPL-2.0-or-later
"""Stage 6: what is remembered for the next time."""
