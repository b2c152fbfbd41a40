// SPDX-License-Identifier: GPL-2.0
// expect: pass
/*
 * Round robin by process: in each round every process with waiting tasks has one run.
 * Sound: a process without an entry, or one that was away, starts in the round that is
 * under way, and rounds only go forward.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

#define SHARED_DSQ 1

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, s32);
	__type(value, u64);
} rounds SEC(".maps");

static u64 round_now;

static __always_inline void rrtgid_kick(struct task_struct *p)
{
	s32 cpu = scx_bpf_pick_idle_cpu(p->cpus_ptr, 0);

	if (cpu >= 0)
		scx_bpf_kick_cpu(cpu, SX_KICK_IDLE);
}

static u64 rrtgid_round(s32 tgid)
{
	u64 *next = bpf_map_lookup_elem(&rounds, &tgid), at = round_now;

	if (next && *next > at)
		at = *next;
	if (next)
		*next = at + 1;
	else {
		u64 second = at + 1;

		bpf_map_update_elem(&rounds, &tgid, &second, BPF_ANY);
	}
	return at;
}

void SX_OPS(rrtgid_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert_vtime(p, SHARED_DSQ, SLICE_NS, rrtgid_round(p->tgid), enq_flags);
	rrtgid_kick(p);
}

void SX_OPS(rrtgid_dispatch, s32 cpu, struct task_struct *prev)
{
	sx_consume(SHARED_DSQ);
}

void SX_OPS(rrtgid_running, struct task_struct *p)
{
	if (round_now < p->scx.dsq_vtime)
		round_now = p->scx.dsq_vtime;
}

void SX_OPS(rrtgid_enable, struct task_struct *p)
{
	sx_set_vtime(p, 0);
}

s32 SX_OPS_SLEEPABLE(rrtgid_init)
{
	return scx_bpf_create_dsq(SHARED_DSQ, -1);
}

void SX_OPS(rrtgid_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops rrtgid_ops = {
	.enqueue = (void *)rrtgid_enqueue,
	.dispatch = (void *)rrtgid_dispatch,
	.running = (void *)rrtgid_running,
	.enable = (void *)rrtgid_enable,
	.init = (void *)rrtgid_init,
	.exit = (void *)rrtgid_exit,
	.timeout_ms = 5000,
	.name = "scx_rrtgid",
};
