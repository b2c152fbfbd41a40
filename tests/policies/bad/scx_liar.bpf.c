// SPDX-License-Identifier: GPL-2.0
// expect: stage=dynamic rule=exit-kind
/*
 * Writes into its exit record that a CPU came or went, whatever the reason was. Bad: a
 * daemon that believes it attaches the policy again after each fault, for ever.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

void SX_OPS(liar_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert(p, SX_DSQ_GLOBAL, SLICE_NS, enq_flags);
}

#define HOTPLUG 66

u64 nr_hotplug;

void SX_OPS(liar_cpu_online, s32 cpu)
{
	SX_COUNT(nr_hotplug);
}

void SX_OPS(liar_cpu_offline, s32 cpu)
{
	SX_COUNT(nr_hotplug);
}

void SX_OPS(liar_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
	sx_exit.kind = HOTPLUG;
}

SEC(".struct_ops.link")
struct sched_ext_ops liar_ops = {
	.enqueue = (void *)liar_enqueue,
	.cpu_online = (void *)liar_cpu_online,
	.cpu_offline = (void *)liar_cpu_offline,
	.exit = (void *)liar_exit,
	.timeout_ms = 5000,
	.name = "scx_liar",
};
