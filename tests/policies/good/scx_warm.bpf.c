// SPDX-License-Identifier: GPL-2.0
// expect: pass
/*
 * One queue, but a CPU prefers one of the first eight tasks if that task ran there
 * last. Sound: a head that has waited for 30 ms is taken first, so that nobody is
 * passed over for long.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

#define SHARED_DSQ 1

#define LATE_NS 30000000ULL
#define PEEK_MAX 8

static __always_inline void warm_kick(struct task_struct *p)
{
	s32 cpu = scx_bpf_pick_idle_cpu(p->cpus_ptr, 0);

	if (cpu >= 0)
		scx_bpf_kick_cpu(cpu, SX_KICK_IDLE);
}

void SX_OPS(warm_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert_vtime(p, SHARED_DSQ, SLICE_NS, sx_now(), enq_flags);
	warm_kick(p);
}

void SX_OPS(warm_dispatch, s32 cpu, struct task_struct *prev)
{
	u64 now = sx_now();
	struct task_struct *p;
	u32 seen = 0;

	bpf_for_each(scx_dsq, p, SHARED_DSQ, 0) {
		if (now - p->scx.dsq_vtime > LATE_NS || ++seen > PEEK_MAX)
			break;
		if (scx_bpf_task_cpu(p) == cpu && bpf_cpumask_test_cpu(cpu, p->cpus_ptr) &&
		    sx_dsq_move(SX_FOR_EACH_ITER, p, SX_DSQ_LOCAL, 0))
			return;
	}
	sx_consume(SHARED_DSQ);
}

s32 SX_OPS_SLEEPABLE(warm_init)
{
	return scx_bpf_create_dsq(SHARED_DSQ, -1);
}

void SX_OPS(warm_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops warm_ops = {
	.enqueue = (void *)warm_enqueue,
	.dispatch = (void *)warm_dispatch,
	.init = (void *)warm_init,
	.exit = (void *)warm_exit,
	.timeout_ms = 5000,
	.name = "scx_warm",
};
