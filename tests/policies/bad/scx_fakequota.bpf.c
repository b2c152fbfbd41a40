// SPDX-License-Identifier: GPL-2.0
// expect: stage=dynamic rule=cpu-max
// card: honours = ["cpu.max", "affinity"]
// card: ignores = ["nice", "cpu.weight", "cpu.idle"]
/*
 * A FIFO whose card claims that it honours cpu.max, and whose callback for it only
 * counts. Bad: the limit of a cgroup has no effect, and nobody who reads the card
 * would expect that.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

u64 nr_limits;

#define SLICE_NS 5000000

void SX_OPS(fakequota_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert(p, SX_DSQ_GLOBAL, SLICE_NS, enq_flags);
}

void SX_OPS(fakequota_cgroup_set_bandwidth, struct cgroup *cgrp, u64 period_us, u64 quota_us,
	    u64 burst_us)
{
	SX_COUNT(nr_limits);
}

void SX_OPS(fakequota_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops fakequota_ops = {
	.enqueue = (void *)fakequota_enqueue,
	.cgroup_set_bandwidth = (void *)fakequota_cgroup_set_bandwidth,
	.exit = (void *)fakequota_exit,
	.timeout_ms = 5000,
	.name = "scx_fakequota",
};
