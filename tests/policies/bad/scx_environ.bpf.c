// SPDX-License-Identifier: GPL-2.0
// expect: stage=compile rule=COMPILE
/*
 * Includes the environment of the compiler's own process. Bad: it would show up in the
 * diagnostics, and with it whatever secret the service was given.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#include "/proc/self/environ"

#define SLICE_NS 5000000

void SX_OPS(environ_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert(p, SX_DSQ_GLOBAL, SLICE_NS, enq_flags);
}

void SX_OPS(environ_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops environ_ops = {
	.enqueue = (void *)environ_enqueue,
	.exit = (void *)environ_exit,
	.timeout_ms = 5000,
	.name = "scx_environ",
};
