# SPDX-License-Identifier: GPL-2.0-or-later
"""The installed policies and their cards."""
