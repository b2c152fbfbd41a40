# SPDX-License-Identifier: GPL-2.0-or-later
"""Stage 4: what may be loaded on this machine; signs the tokens that the loader asks for."""
