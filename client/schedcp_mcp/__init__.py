# SPDX-License-Identifier: GPL-2.0-or-later
"""schedcp-mcp: schedcp for any agent that speaks the Model Context Protocol."""
