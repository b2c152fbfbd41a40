// SPDX-License-Identifier: GPL-2.0
// expect: pass
// card: honours = ["nice", "affinity"]
// card: ignores = ["cpu.weight", "cpu.max", "cpu.idle"]
/*
 * Weighted virtual time: who is furthest behind for its weight runs next. Sound: the
 * running task is charged and compared with the queue's head, so that shares follow
 * nice; credit is bounded in vtime and debt by what the load can work off in half a
 * second.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

#define SHARED_DSQ 1
#define LAG_NS (2 * SLICE_NS)
#define WAIT_NS 500000000ULL
#define WEIGHT_ONE 100
#define PEEK_MAX 16

struct vtime_task {
	u64 ran_ns;
	u64 load;
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct vtime_task);
} tasks SEC(".maps");

static u64 vtime_now;
static u64 load;

static __always_inline struct vtime_task *vtime_task(struct task_struct *p)
{
	return bpf_task_storage_get(&tasks, p, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
}

static __always_inline bool before(u64 a, u64 b)
{
	return (s64)(a - b) < 0;
}

static __always_inline void vtime_kick(struct task_struct *p)
{
	s32 cpu = scx_bpf_pick_idle_cpu(p->cpus_ptr, 0);

	if (cpu >= 0)
		scx_bpf_kick_cpu(cpu, SX_KICK_IDLE);
}

/* Charge what vtimep ran since the last time and keep it within reach of the others. */
static void vtime_charge(struct task_struct *p)
{
	struct vtime_task *t = vtime_task(p);
	u64 ran = p->se.sum_exec_runtime, vtime = p->scx.dsq_vtime;
	u64 lead = WAIT_NS * WEIGHT_ONE / (load > WEIGHT_ONE ? load : WEIGHT_ONE);

	if (t) {
		vtime += (ran - t->ran_ns) * WEIGHT_ONE / (p->scx.weight ?: 1);
		t->ran_ns = ran;
	}
	if (before(vtime, vtime_now - LAG_NS))
		vtime = vtime_now - LAG_NS;
	if (before(vtime_now + lead, vtime))
		vtime = vtime_now + lead;
	sx_set_vtime(p, vtime);
}

void SX_OPS(vtime_enqueue, struct task_struct *p, u64 enq_flags)
{
	vtime_charge(p);
	sx_insert_vtime(p, SHARED_DSQ, SLICE_NS, p->scx.dsq_vtime, enq_flags);
	vtime_kick(p);
}

void SX_OPS(vtime_dispatch, s32 cpu, struct task_struct *prev)
{
	bool queued = prev && (prev->scx.flags & SX_TASK_QUEUED), keep = false;
	struct task_struct *head;
	u32 seen = 0;

	if (queued)
		vtime_charge(prev);
	bpf_for_each(scx_dsq, head, SHARED_DSQ, 0) {
		if (++seen > PEEK_MAX)
			break;
		if (!bpf_cpumask_test_cpu(cpu, head->cpus_ptr))
			continue;
		if (before(vtime_now, head->scx.dsq_vtime))
			vtime_now = head->scx.dsq_vtime;
		keep = queued && before(prev->scx.dsq_vtime, head->scx.dsq_vtime);
		break;
	}
	if (keep || (!sx_consume(SHARED_DSQ) && queued))
		sx_set_slice(prev, SLICE_NS);
}

void SX_OPS(vtime_runnable, struct task_struct *p, u64 enq_flags)
{
	struct vtime_task *t = vtime_task(p);

	if (!t)
		return;
	t->load = p->scx.weight;
	__sync_fetch_and_add(&load, t->load);
}

void SX_OPS(vtime_quiescent, struct task_struct *p, u64 deq_flags)
{
	struct vtime_task *t = vtime_task(p);

	if (!t)
		return;
	__sync_fetch_and_sub(&load, t->load);
	t->load = 0;
}

void SX_OPS(vtime_enable, struct task_struct *p)
{
	sx_set_vtime(p, vtime_now);
}

s32 SX_OPS_SLEEPABLE(vtime_init_task, struct task_struct *p, struct scx_init_task_args *args)
{
	struct vtime_task *t = vtime_task(p);

	if (!t)
		return -SX_ENOMEM;
	t->ran_ns = p->se.sum_exec_runtime;
	return 0;
}

s32 SX_OPS_SLEEPABLE(vtime_init)
{
	load = 0;
	return scx_bpf_create_dsq(SHARED_DSQ, -1);
}

void SX_OPS(vtime_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops vtime_ops = {
	.enqueue = (void *)vtime_enqueue,
	.dispatch = (void *)vtime_dispatch,
	.runnable = (void *)vtime_runnable,
	.quiescent = (void *)vtime_quiescent,
	.enable = (void *)vtime_enable,
	.init_task = (void *)vtime_init_task,
	.init = (void *)vtime_init,
	.exit = (void *)vtime_exit,
	.timeout_ms = 5000,
	.name = "scx_vtime",
};
