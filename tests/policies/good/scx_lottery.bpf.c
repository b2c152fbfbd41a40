// SPDX-License-Identifier: GPL-2.0
// expect: pass
/*
 * A lottery: each task draws a number when it is queued, heavier ones from a smaller
 * range. Sound: the number is added to the clock and is 200 ms at most, so that bad
 * luck ends.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

#define SHARED_DSQ 1

#define RANGE_NS 20000000ULL
#define RANGE_MAX_NS 200000000ULL

static __always_inline void lottery_kick(struct task_struct *p)
{
	s32 cpu = scx_bpf_pick_idle_cpu(p->cpus_ptr, 0);

	if (cpu >= 0)
		scx_bpf_kick_cpu(cpu, SX_KICK_IDLE);
}

void SX_OPS(lottery_enqueue, struct task_struct *p, u64 enq_flags)
{
	u64 range = RANGE_NS * 100 / (p->scx.weight ?: 1);

	if (range > RANGE_MAX_NS)
		range = RANGE_MAX_NS;
	sx_insert_vtime(p, SHARED_DSQ, SLICE_NS, sx_now() + bpf_get_prandom_u32() % (range + 1),
			enq_flags);
	lottery_kick(p);
}

void SX_OPS(lottery_dispatch, s32 cpu, struct task_struct *prev)
{
	sx_consume(SHARED_DSQ);
}

s32 SX_OPS_SLEEPABLE(lottery_init)
{
	return scx_bpf_create_dsq(SHARED_DSQ, -1);
}

void SX_OPS(lottery_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops lottery_ops = {
	.enqueue = (void *)lottery_enqueue,
	.dispatch = (void *)lottery_dispatch,
	.init = (void *)lottery_init,
	.exit = (void *)lottery_exit,
	.timeout_ms = 5000,
	.name = "scx_lottery",
};
