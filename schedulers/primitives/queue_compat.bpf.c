// SPDX-License-Identifier: GPL-2.0
/*
 * Dispatch queues on every kernel with one object file.
 *
 * sx_insert, sx_insert_vtime, sx_consume, sx_dsq_move, sx_set_slice and sx_now
 * choose among the weak kfuncs of the running kernel, 6.16 to 7.3; enum values and
 * offsets are relocated (CO-RE). The branch for a kfunc that is missing is dead
 * code to the kernel's verifier.
 *
 * Use: in place of every call of scx_bpf_dsq_insert, scx_bpf_dsq_move_to_local and
 * the like, whose names and signatures changed between kernel versions.
 *
 * Needs: scx_compat.bpf.h and -DBPF_NO_KFUNC_PROTOTYPES, which the build has.
 *
 * Not for: kfuncs that no branch can do without; name those in requires_kfuncs of
 * the card.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

enum example_const {
	EXAMPLE_DSQ = 1,
	EXAMPLE_SLICE_NS = 3000000,
};

void SX_OPS(example_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert_vtime(p, EXAMPLE_DSQ, EXAMPLE_SLICE_NS, p->se.sum_exec_runtime, enq_flags);
}

void SX_OPS(example_dispatch, s32 cpu, struct task_struct *prev)
{
	sx_consume(EXAMPLE_DSQ);
}

s32 SX_OPS_SLEEPABLE(example_init)
{
	return scx_bpf_create_dsq(EXAMPLE_DSQ, -1);
}
