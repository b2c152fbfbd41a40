// SPDX-License-Identifier: GPL-2.0
// expect: pass
/*
 * Eight queues by process, served in turn; made and searched by callbacks of bpf_loop.
 * Sound: each search begins one queue further on and looks at all eight.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 3000000
#define NR_QUEUES 8
#define BASE 0x100

struct search {
	u32 first;
	bool found;
};

struct making {
	s32 err;
};

static u32 next;

static long make_one(u32 i, struct making *making)
{
	making->err = scx_bpf_create_dsq(BASE + i, -1);
	return making->err != 0;
}

static long try_one(u32 i, struct search *search)
{
	if (!sx_consume(BASE + (search->first + i) % NR_QUEUES))
		return 0;
	search->found = true;
	return 1;
}

void SX_OPS(eightq_enqueue, struct task_struct *p, u64 enq_flags)
{
	s32 cpu;

	sx_insert(p, BASE + (u32)p->tgid % NR_QUEUES, SLICE_NS, enq_flags);
	cpu = scx_bpf_pick_idle_cpu(p->cpus_ptr, 0);
	if (cpu >= 0)
		scx_bpf_kick_cpu(cpu, SX_KICK_IDLE);
}

void SX_OPS(eightq_dispatch, s32 cpu, struct task_struct *prev)
{
	struct search search = { .first = next };

	bpf_loop(NR_QUEUES, try_one, &search, 0);
	if (search.found)
		next = (search.first + 1) % NR_QUEUES;
}

s32 SX_OPS_SLEEPABLE(eightq_init)
{
	struct making making = {};

	bpf_loop(NR_QUEUES, make_one, &making, 0);
	return making.err;
}

void SX_OPS(eightq_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops eightq_ops = {
	.enqueue = (void *)eightq_enqueue,
	.dispatch = (void *)eightq_dispatch,
	.init = (void *)eightq_init,
	.exit = (void *)eightq_exit,
	.timeout_ms = 5000,
	.name = "scx_eightq",
};
