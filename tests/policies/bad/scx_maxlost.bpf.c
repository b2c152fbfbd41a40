// SPDX-License-Identifier: GPL-2.0
// expect: stage=dynamic rule=cpu-max
/*
 * Takes a cgroup with a quota out of the ordinary queue and means to serve it at a
 * lower rate. Bad: the other queue is served only as long as no cgroup has a quota, so
 * that its tasks starve.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

#define SHARED_DSQ 1

#define LIMITED_DSQ 2
#define NO_QUOTA (1ULL << 40)

static u64 limited;

void SX_OPS(maxlost_enqueue, struct task_struct *p, u64 enq_flags)
{
	u64 id = BPF_CORE_READ(p, sched_task_group, css.cgroup, kn, id);

	sx_insert(p, limited && id == limited ? LIMITED_DSQ : SHARED_DSQ, SLICE_NS, enq_flags);
}

void SX_OPS(maxlost_dispatch, s32 cpu, struct task_struct *prev)
{
	if (!limited && sx_consume(LIMITED_DSQ))
		return;
	sx_consume(SHARED_DSQ);
}

static void maxlost_limit(struct cgroup *cgrp, u64 quota_us)
{
	if (quota_us < NO_QUOTA)
		limited = BPF_CORE_READ(cgrp, kn, id);
}

s32 SX_OPS_SLEEPABLE(maxlost_cgroup_init, struct cgroup *cgrp, struct scx_cgroup_init_args *args)
{
	if (bpf_core_field_exists(args->bw_quota_us))
		maxlost_limit(cgrp, args->bw_quota_us);
	return 0;
}

void SX_OPS(maxlost_cgroup_set_bandwidth, struct cgroup *cgrp, u64 period_us, u64 quota_us,
	    u64 burst_us)
{
	maxlost_limit(cgrp, quota_us);
}

s32 SX_OPS_SLEEPABLE(maxlost_init)
{
	s32 err = scx_bpf_create_dsq(SHARED_DSQ, -1);

	return err ?: scx_bpf_create_dsq(LIMITED_DSQ, -1);
}

void SX_OPS(maxlost_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops maxlost_ops = {
	.enqueue = (void *)maxlost_enqueue,
	.dispatch = (void *)maxlost_dispatch,
	.cgroup_init = (void *)maxlost_cgroup_init,
	.cgroup_set_bandwidth = (void *)maxlost_cgroup_set_bandwidth,
	.init = (void *)maxlost_init,
	.exit = (void *)maxlost_exit,
	.timeout_ms = 5000,
	.name = "scx_maxlost",
};
