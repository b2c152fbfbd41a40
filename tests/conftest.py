# SPDX-License-Identifier: GPL-2.0-or-later
"""Settings for every ring of tests."""

from __future__ import annotations

from hypothesis import settings

# How long an example takes says how busy the machine is, and nothing about the code.
settings.register_profile("schedcp", deadline=None)
settings.load_profile("schedcp")
