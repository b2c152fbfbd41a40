// SPDX-License-Identifier: GPL-2.0
// expect: stage=compile rule=COMPILE
/*
 * A global FIFO with a typing mistake. Bad: it is not C; the compiler's words must
 * reach the author with file and line.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

void SX_OPS(syntax_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert(p, SX_DSQ_GLOBAL, SLICE_NS, enq_flags)
}

void SX_OPS(syntax_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops syntax_ops = {
	.enqueue = (void *)syntax_enqueue,
	.exit = (void *)syntax_exit,
	.timeout_ms = 5000,
	.name = "scx_syntax",
};
