// SPDX-License-Identifier: GPL-2.0
/*
 * A group of tasks that competes as one.
 *
 * A set of tasks has one virtual time and one weight per CPU, as if it were a
 * single entity among the tasks of the fair class, however many there are.
 * group_charge adds what its tasks used, group_goes_first says whose turn it is,
 * and while it runs it gives way to wake-ups of the others.
 *
 * Use: a batch, a target or any class with an order of its own that must not take
 * more than its share from everybody else.
 *
 * Needs: scx_group.bpf.h, queues of the group's own, and load_extra for its
 * weight.
 *
 * Not for: several groups at once: there is one group_vtime; see cgroup_weights
 * for a tree.
 */
#include "scx_group.bpf.h"

char _license[] SEC("license") = "GPL";

/* @p of the group, whose weight is that of a task of nice 0, has run: whose turn is it? */
__noinline bool example_group_is_next(struct task_struct *p __arg_trusted, s32 cpu, u64 fair_vtime)
{
	struct fair_task *t = fair_task(p);
	struct fair_cpu *c = fair_cpu(cpu);

	if (!t || !c)
		return false;
	group_charge(p, t, FAIR_WEIGHT_ONE);
	return group_goes_first(c, false, true, fair_vtime);
}
