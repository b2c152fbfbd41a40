// SPDX-License-Identifier: GPL-2.0
// expect: stage=dynamic rule=hotplug
/*
 * Ends itself in good order when a CPU goes away, instead of going on without it. Bad:
 * the kernel takes that for the policy's own wish and says nothing of hotplug, so that
 * nobody attaches it again (kind 65).
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

u64 nr_online;

void scx_bpf_exit_bstr(s64 code, char *fmt, unsigned long long *data, u32 data__sz) SX_KFUNC;

static char enough[] = "a CPU is missing";

#define SLICE_NS 5000000

void SX_OPS(selfexit_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert(p, SX_DSQ_GLOBAL, SLICE_NS, enq_flags);
}

void SX_OPS(selfexit_cpu_online, s32 cpu)
{
	SX_COUNT(nr_online);
}

void SX_OPS(selfexit_cpu_offline, s32 cpu)
{
	unsigned long long none = 0;

	scx_bpf_exit_bstr(7, enough, &none, sizeof(none));
}

void SX_OPS(selfexit_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops selfexit_ops = {
	.enqueue = (void *)selfexit_enqueue,
	.cpu_online = (void *)selfexit_cpu_online,
	.cpu_offline = (void *)selfexit_cpu_offline,
	.exit = (void *)selfexit_exit,
	.timeout_ms = 5000,
	.name = "scx_selfexit",
};
