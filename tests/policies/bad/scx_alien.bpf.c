// SPDX-License-Identifier: GPL-2.0
// expect: stage=static rule=SCX005
/*
 * Calls a kernel function that belongs to TCP's congestion control. Bad: only the
 * functions for schedulers and a few general ones are known to be harmless.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

extern void tcp_reno_cong_avoid(struct sock *sk, u32 ack, u32 acked) SX_KFUNC;

#define SLICE_NS 5000000

void SX_OPS(alien_enqueue, struct task_struct *p, u64 enq_flags)
{
	tcp_reno_cong_avoid(NULL, 0, 0);
	sx_insert(p, SX_DSQ_GLOBAL, SLICE_NS, enq_flags);
}

void SX_OPS(alien_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops alien_ops = {
	.enqueue = (void *)alien_enqueue,
	.exit = (void *)alien_exit,
	.timeout_ms = 5000,
	.name = "scx_alien",
};
