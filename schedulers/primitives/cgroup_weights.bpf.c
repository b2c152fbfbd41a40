// SPDX-License-Identifier: GPL-2.0
/*
 * cpu.weight and cpu.idle of cgroups at every level.
 *
 * The tree of cgroups is flattened: the weight of a task is multiplied, level by
 * level, with its cgroup's share of the load, as the kernel's own fair class does,
 * so that one queue of tasks is enough. cg_begin and cg_end follow cgroups that
 * come and go, cg_set_weight what is written to cpu.weight, cg_look works out the
 * effective weight of a task.
 *
 * Use: host policies: containers and services keep the shares that nested cgroups
 * were promised.
 *
 * Needs: scx_cgroups.bpf.h, included after FAIR_WEIGHT_OF(p, t) is defined as
 * (t)->eff and FAIR_LOAD() as cg_load(); the cgroup ops.
 *
 * Not for: more than 16384 cgroups or 15 levels: the rest counts as the cgroup
 * above.
 */
#define FAIR_WEIGHT_SHIFT 10
#define FAIR_WEIGHT_OF(p, t) ((t)->eff)
#define FAIR_LOAD() cg_load()
#include "scx_compat.bpf.h"
static __always_inline u64 cg_load(void);
#include "scx_cgroups.bpf.h"

char _license[] SEC("license") = "GPL";

s32 SX_OPS_SLEEPABLE(example_cgroup_init, struct cgroup *cgrp, struct scx_cgroup_init_args *args)
{
	cg_begin(cgrp, args->weight);
	return 0;
}

void SX_OPS_SLEEPABLE(example_cgroup_exit, struct cgroup *cgrp)
{
	cg_end(cgrp);
}

void SX_OPS(example_cgroup_set_weight, struct cgroup *cgrp, u32 weight)
{
	struct cg *g = cg_own(cgrp);

	if (g)
		cg_set_weight(g, weight);
}
