// SPDX-License-Identifier: GPL-2.0
/* Whether a task belongs to the cgroup that a policy is aimed at. */
#ifndef SCX_TARGET_BPF_H
#define SCX_TARGET_BPF_H

#include "scx_fair_core.bpf.h"

/*
 * Whether @p is in the cgroup with the v2 id @cgid, which is @level levels below the
 * root, or in a descendant.  Kernel threads and tasks pinned to one CPU never count:
 * they would wait in a queue that all CPUs share.  Read anew each time: moves by
 * cgroup.procs do not call us.
 */
static bool target_has(struct task_struct *p, u64 cgid, u32 level)
{
	struct cgroup *cgrp, *target = NULL;
	u64 at;

	if (!cgid || fair_is_pinned(p) || (p->flags & SX_PF_KTHREAD))
		return false;
	cgrp = BPF_CORE_READ(p, cgroups, dfl_cgrp);
	if (!cgrp || BPF_CORE_READ(cgrp, level) < (int)level)
		return false;
	at = (u64)cgrp + bpf_core_field_offset(struct cgroup, ancestors) + level * sizeof(target);
	if (bpf_probe_read_kernel(&target, sizeof(target), (void *)at) || !target)
		return false;
	return BPF_CORE_READ(target, kn, id) == cgid;
}

#endif /* SCX_TARGET_BPF_H */
