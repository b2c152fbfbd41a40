// SPDX-License-Identifier: GPL-2.0
// expect: stage=dynamic rule=hotplug
/*
 * Has the callbacks for hotplug, but takes a missing CPU for an error. Bad: instead of
 * being restarted in good order it is ejected (kind 1025).
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

u64 nr_online;

void scx_bpf_error_bstr(char *fmt, unsigned long long *data, u32 data__sz) SX_KFUNC;

static char lost[] = "a CPU was lost";

#define SLICE_NS 5000000

void SX_OPS(hotfail_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert(p, SX_DSQ_GLOBAL, SLICE_NS, enq_flags);
}

void SX_OPS(hotfail_cpu_online, s32 cpu)
{
	SX_COUNT(nr_online);
}

void SX_OPS(hotfail_cpu_offline, s32 cpu)
{
	unsigned long long none = 0;

	scx_bpf_error_bstr(lost, &none, sizeof(none));
}

void SX_OPS(hotfail_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops hotfail_ops = {
	.enqueue = (void *)hotfail_enqueue,
	.cpu_online = (void *)hotfail_cpu_online,
	.cpu_offline = (void *)hotfail_cpu_offline,
	.exit = (void *)hotfail_exit,
	.timeout_ms = 5000,
	.name = "scx_hotfail",
};
