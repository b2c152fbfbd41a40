// SPDX-License-Identifier: GPL-2.0
// expect: pass
// card: honours = ["cpu.weight", "affinity"]
// card: ignores = ["nice", "cpu.max", "cpu.idle"]
/*
 * Two levels: cgroups share by cpu.weight, the tasks of a cgroup take turns. Sound: a
 * cgroup pays for each run when it is queued and is never behind by more than two
 * runs; one that is not known shares one account.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

#define SHARED_DSQ 1

#define LAG_NS (2 * SLICE_NS)
#define WEIGHT_ONE 100
#define WEIGHT_MIN 20
#define WEIGHT_MAX 1000

struct cgroups_group {
	u64 weight;
	u64 vtime;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, u64);
	__type(value, struct cgroups_group);
} groups SEC(".maps");

static struct cgroups_group others = { .weight = WEIGHT_ONE };
static u64 vtime_now;

static __always_inline void cgroups_kick(struct task_struct *p)
{
	s32 cpu = scx_bpf_pick_idle_cpu(p->cpus_ptr, 0);

	if (cpu >= 0)
		scx_bpf_kick_cpu(cpu, SX_KICK_IDLE);
}

static __always_inline bool before(u64 a, u64 b)
{
	return (s64)(a - b) < 0;
}

static __always_inline struct cgroups_group *cgroups_group(struct task_struct *p)
{
	u64 id = BPF_CORE_READ(p, sched_task_group, css.cgroup, kn, id);

	return bpf_map_lookup_elem(&groups, &id) ?: &others;
}

static void cgroups_set(struct cgroup *cgrp, u64 weight)
{
	u64 id = BPF_CORE_READ(cgrp, kn, id);
	struct cgroups_group group = { .weight = weight, .vtime = vtime_now };

	if (group.weight < WEIGHT_MIN)
		group.weight = WEIGHT_MIN;
	if (group.weight > WEIGHT_MAX)
		group.weight = WEIGHT_MAX;
	bpf_map_update_elem(&groups, &id, &group, BPF_ANY);
}

/* The place of the group's next run in the order of all runs. */
static u64 cgroups_pay(struct cgroups_group *group)
{
	u64 at = group->vtime;

	if (before(at, vtime_now - LAG_NS))
		at = vtime_now - LAG_NS;
	group->vtime = at + SLICE_NS * WEIGHT_ONE / (group->weight ?: WEIGHT_ONE);
	return at;
}

void SX_OPS(cgroups_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert_vtime(p, SHARED_DSQ, SLICE_NS, cgroups_pay(cgroups_group(p)), enq_flags);
	cgroups_kick(p);
}

void SX_OPS(cgroups_dispatch, s32 cpu, struct task_struct *prev)
{
	bool queued = prev && (prev->scx.flags & SX_TASK_QUEUED), keep = false;
	struct task_struct *head;

	bpf_for_each(scx_dsq, head, SHARED_DSQ, 0) {
		if (before(vtime_now, head->scx.dsq_vtime))
			vtime_now = head->scx.dsq_vtime;
		keep = queued && before(cgroups_group(prev)->vtime, head->scx.dsq_vtime);
		break;
	}
	if (!keep) {
		sx_consume(SHARED_DSQ);
		return;
	}
	cgroups_pay(cgroups_group(prev));
	sx_set_slice(prev, SLICE_NS);
}

s32 SX_OPS_SLEEPABLE(cgroups_cgroup_init, struct cgroup *cgrp, struct scx_cgroup_init_args *args)
{
	cgroups_set(cgrp, args->weight);
	return 0;
}

void SX_OPS(cgroups_cgroup_set_weight, struct cgroup *cgrp, u32 weight)
{
	cgroups_set(cgrp, weight);
}

void SX_OPS_SLEEPABLE(cgroups_cgroup_exit, struct cgroup *cgrp)
{
	u64 id = BPF_CORE_READ(cgrp, kn, id);

	bpf_map_delete_elem(&groups, &id);
}

s32 SX_OPS_SLEEPABLE(cgroups_init)
{
	return scx_bpf_create_dsq(SHARED_DSQ, -1);
}

void SX_OPS(cgroups_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops cgroups_ops = {
	.enqueue = (void *)cgroups_enqueue,
	.dispatch = (void *)cgroups_dispatch,
	.cgroup_init = (void *)cgroups_cgroup_init,
	.cgroup_set_weight = (void *)cgroups_cgroup_set_weight,
	.cgroup_exit = (void *)cgroups_cgroup_exit,
	.init = (void *)cgroups_init,
	.exit = (void *)cgroups_exit,
	.timeout_ms = 5000,
	.name = "scx_cgroups",
};
