// SPDX-License-Identifier: GPL-2.0
// expect: stage=dynamic rule=fork-storm
/*
 * Counts the tasks that were forked since it was attached and reports an error after
 * the hundredth. Bad: many tasks are no error; the kernel takes the policy off (kind
 * 1025).
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

#define MOST 100

void scx_bpf_error_bstr(char *fmt, unsigned long long *data, u32 data__sz) SX_KFUNC;

static char too_many[] = "too many tasks";
static u64 forked;

void SX_OPS(giveup_enqueue, struct task_struct *p, u64 enq_flags)
{
	unsigned long long none = 0;

	if (forked > MOST)
		scx_bpf_error_bstr(too_many, &none, sizeof(none));
	sx_insert(p, SX_DSQ_GLOBAL, SLICE_NS, enq_flags);
}

s32 SX_OPS_SLEEPABLE(giveup_init_task, struct task_struct *p, struct scx_init_task_args *args)
{
	if (args->fork)
		SX_COUNT(forked);
	return 0;
}

void SX_OPS(giveup_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops giveup_ops = {
	.enqueue = (void *)giveup_enqueue,
	.init_task = (void *)giveup_init_task,
	.exit = (void *)giveup_exit,
	.timeout_ms = 5000,
	.name = "scx_giveup",
};
