# SPDX-License-Identifier: GPL-2.0-or-later
"""All the tools by name, and the one way to call them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from schedclient.daemon import Daemon
from schedclient.errors import ClientError
from schedclient.tools import deployments, machine, memory, policies, verifying, workloads
from schedclient.tools.answers import plain_text
from schedclient.tools.schema import checked
from schedclient.tools.tool import Answer, Progress, Tool, ToolError
from schedcpd.fields import BadField

LONGEST_SENTENCE = 1000

catalogue: Mapping[str, Tool] = MappingProxyType(
    {
        tool.name: tool
        for tool in (
            machine.MACHINE_STATUS,
            workloads.LIST_WORKLOADS,
            workloads.EXPLAIN,
            workloads.PROFILE_WORKLOAD,
            workloads.READ_WORKLOAD_FILE,
            policies.LIST_POLICIES,
            memory.SEARCH_REPOSITORY,
            memory.READ_POLICY,
            memory.OUTCOMES,
            verifying.VERIFY_POLICY,
            verifying.READ_VERIFICATION,
            machine.RULES,
            verifying.ENROLL_POLICY,
            deployments.DEPLOY_POLICY,
            deployments.WAIT_FOR_DEPLOYMENT,
            deployments.READ_DEPLOYMENT,
            deployments.CLASSIFY_WORKLOAD,
            deployments.REVERT_WORKLOAD,
            memory.RECORD_FINDING,
            machine.EVENTS,
        )
    }
)


async def call(daemon: Daemon, name: str, arguments: object, progress: Progress) -> Answer:
    """Call a tool with arguments that nobody has looked at; raises ToolError."""
    tool = catalogue.get(name)
    if tool is None:
        known = ", ".join(catalogue)
        raise ToolError(f"there is no tool {plain_text(name, 80)!r}; there are: {known}")
    try:
        return await tool.run(daemon, checked(tool.arguments, arguments), progress)
    except BadField as error:
        raise ToolError(f"{tool.name}: {plain_text(str(error), LONGEST_SENTENCE)}") from error
    except (ClientError, ToolError) as error:
        raise ToolError(plain_text(error.sentence, LONGEST_SENTENCE)) from error
