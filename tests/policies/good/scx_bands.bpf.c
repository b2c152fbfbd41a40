// SPDX-License-Identifier: GPL-2.0
// expect: pass
/*
 * Three bands by weight, each with a queue of its own in order of time. Sound: a lower
 * band is worth 40 ms of waiting, no more; of the three heads the one with the
 * earliest key runs, and every queue is tried.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

#define BANDS 3
#define BAND_NS 40000000ULL

static __always_inline void bands_kick(struct task_struct *p)
{
	s32 cpu = scx_bpf_pick_idle_cpu(p->cpus_ptr, 0);

	if (cpu >= 0)
		scx_bpf_kick_cpu(cpu, SX_KICK_IDLE);
}

void SX_OPS(bands_enqueue, struct task_struct *p, u64 enq_flags)
{
	u64 band = p->scx.weight > 100 ? 0 : p->scx.weight == 100 ? 1 : 2;

	sx_insert_vtime(p, band, SLICE_NS, sx_now() + band * BAND_NS, enq_flags);
	bands_kick(p);
}

static __always_inline u64 bands_head(u64 band)
{
	struct task_struct *p;
	u64 key = ~0ULL;

	bpf_for_each(scx_dsq, p, band, 0) {
		key = p->scx.dsq_vtime;
		break;
	}
	return key;
}

void SX_OPS(bands_dispatch, s32 cpu, struct task_struct *prev)
{
	u64 first = bands_head(0), second = bands_head(1), third = bands_head(2);

	if (third < first && third < second && sx_consume(2))
		return;
	if (second < first && sx_consume(1))
		return;
	if (sx_consume(0) || sx_consume(1))
		return;
	sx_consume(2);
}

s32 SX_OPS_SLEEPABLE(bands_init)
{
	s32 err = scx_bpf_create_dsq(0, -1);

	err = err ?: scx_bpf_create_dsq(1, -1);
	return err ?: scx_bpf_create_dsq(2, -1);
}

void SX_OPS(bands_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops bands_ops = {
	.enqueue = (void *)bands_enqueue,
	.dispatch = (void *)bands_dispatch,
	.init = (void *)bands_init,
	.exit = (void *)bands_exit,
	.timeout_ms = 5000,
	.name = "scx_bands",
};
