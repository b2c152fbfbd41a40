// SPDX-License-Identifier: GPL-2.0
/*
 * Which class each cgroup is of: a map that is written while the policy runs.
 *
 * Neither a move of a task to another cgroup nor a change of the map calls the
 * policy, so the class of a task is looked up again every few milliseconds, and at
 * once when it is in another cgroup.
 */
#ifndef SCX_CLASSES_BPF_H
#define SCX_CLASSES_BPF_H

#include "scx_fair_core.bpf.h"

enum class_const {
	CLASS_MAX = 1024,
	CLASS_DEPTH = 32,	  /* ancestors that are looked at */
	CLASS_STALE_NS = 3000000, /* a class is looked up again after so long */
	CLASS_WEIGHT_ONE = 100,
	CLASS_WEIGHT_MAX = 10000,
	CLASS_SLICE_MIN_NS = 100000,
	CLASS_SLICE_MAX_NS = 100000000,
};

/* Weight of a task of the background class, of what it would be otherwise. */
const volatile u32 background_percent = 1;

u64 nr_classified; /* times that the class of a task was looked up */
u64 nr_matched;	   /* ... and it had one */

/* Written by the loader: keep it as schedcpd/deploy/livemaps.py has it. */
enum layer_kind {
	LAYER_FAIR,
	LAYER_BATCH,
	LAYER_LONGEST,
	LAYER_LATENCY,
	LAYER_BACKGROUND,
};

struct layer_class {
	u32 kind;
	u32 weight;   /* 0 for unchanged; multiplies as cpu.weight does, 100 is neutral */
	u64 slice_ns; /* 0 for the default */
};

/* cgroup v2 id to class. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, CLASS_MAX);
	__type(key, u64);
	__type(value, struct layer_class);
} layers SEC(".maps");

/* The class of the nearest ancestor of @cgrp that has one, itself included. */
static struct layer_class *class_find(struct cgroup *cgrp)
{
	u32 level = BPF_CORE_READ(cgrp, level), i;

	bpf_for(i, 0, CLASS_DEPTH) {
		struct layer_class *class;
		struct cgroup *at = NULL;
		u64 id;

		if (i > level)
			break;
		bpf_probe_read_kernel(&at, sizeof(at),
				      (void *)((u64)cgrp +
					       bpf_core_field_offset(struct cgroup, ancestors) +
					       (level - i) * sizeof(at)));
		id = BPF_CORE_READ(at, kn, id);
		class = bpf_map_lookup_elem(&layers, &id);
		if (class)
			return class;
	}
	return NULL;
}

static void class_set(struct fair_task *t, struct layer_class *class)
{
	u32 weight = class ? class->weight : 0;
	u64 slice = class ? class->slice_ns : 0;

	t->kind = class ? class->kind : LAYER_FAIR;
	weight = weight > CLASS_WEIGHT_MAX ? CLASS_WEIGHT_MAX : weight ?: CLASS_WEIGHT_ONE;
	t->factor = weight * (t->kind == LAYER_BACKGROUND ? background_percent : 100);
	if (slice && slice < CLASS_SLICE_MIN_NS)
		slice = CLASS_SLICE_MIN_NS;
	t->slice_ns = slice > CLASS_SLICE_MAX_NS ? CLASS_SLICE_MAX_NS : slice;
	SX_COUNT(nr_classified);
	if (class)
		SX_COUNT(nr_matched);
}

/* Set the class of @t, which is in the cgroup at the address @cgrp. */
__noinline int class_refresh(struct fair_task *t __arg_nonnull, u64 cgrp, u64 now)
{
	if (t->class_cgrp == cgrp && now - t->class_at <= CLASS_STALE_NS)
		return 0;
	t->class_cgrp = cgrp;
	t->class_at = now;
	class_set(t, class_find((void *)cgrp));
	return 0;
}

#endif /* SCX_CLASSES_BPF_H */
