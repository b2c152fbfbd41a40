// SPDX-License-Identifier: GPL-2.0
// expect: stage=static rule=SCX003
/*
 * A global FIFO with a kprobe beside it. Bad: a scheduler has no business with
 * tracing; the probe would be loaded with the daemon's rights.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

void SX_OPS(smuggle_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert(p, SX_DSQ_GLOBAL, SLICE_NS, enq_flags);
}

u64 nr_exits;

SEC("kprobe/do_exit")
int smuggle_probe(struct pt_regs *regs)
{
	SX_COUNT(nr_exits);
	return 0;
}

void SX_OPS(smuggle_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops smuggle_ops = {
	.enqueue = (void *)smuggle_enqueue,
	.exit = (void *)smuggle_exit,
	.timeout_ms = 5000,
	.name = "scx_smuggle",
};
