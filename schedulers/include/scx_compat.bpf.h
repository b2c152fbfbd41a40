// SPDX-License-Identifier: GPL-2.0
/*
 * One object for every kernel with sched_ext that we meet (6.16 to 7.3).
 *
 * Nothing of the kernel's is baked in: kfuncs are weak and chosen by what the
 * running kernel has, enum values and struct offsets are relocated (CO-RE).
 * The branch for a kfunc that is missing is dead code to the verifier.
 *
 * libbpf resolves NAME___x by dropping the last ___x.  A kernel name which
 * ends in ___v2 itself therefore needs a suffix of its own on top (___v2___s).
 *
 * Build with -DBPF_NO_KFUNC_PROTOTYPES: the prototypes that bpftool writes into
 * vmlinux.h are those of one kernel only.
 */
#ifndef SCX_COMPAT_BPF_H
#define SCX_COMPAT_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#define SX_KFUNC __ksym __weak

/* Constants of the kernel which are macros there, so BTF does not carry them. */
#define SX_PF_KTHREAD 0x00200000
#define SX_POLICY_IDLE 5
#define SX_TASK_UNINTERRUPTIBLE 2
#define SX_ENOMEM 12
#define SX_E2BIG 7
#define SX_CLOCK_MONOTONIC 1
#define SX_TIMER_CPU_PIN 2

#define SX_OPS(name, args...) SEC("struct_ops/" #name) BPF_PROG(name, ##args)
#define SX_OPS_SLEEPABLE(name, args...) SEC("struct_ops.s/" #name) BPF_PROG(name, ##args)

/* Counters live in .bss, where the daemon reads them through its mapping. */
#define SX_COUNT(counter) __sync_fetch_and_add(&(counter), 1)

/* ---- enums, relocated at load ------------------------------------------- */

#define SX_ENUM(type, name) bpf_core_enum_value(enum type, name)
#define SX_DEQ_SLEEP SX_ENUM(scx_deq_flags, SCX_DEQ_SLEEP)
#define SX_ENQ_WAKEUP SX_ENUM(scx_enq_flags, SCX_ENQ_WAKEUP)
#define SX_ENQ_LAST SX_ENUM(scx_enq_flags, SCX_ENQ_LAST)
#define SX_ENQ_PREEMPT SX_ENUM(scx_enq_flags, SCX_ENQ_PREEMPT)
#define SX_KICK_IDLE SX_ENUM(scx_kick_flags, SCX_KICK_IDLE)
#define SX_KICK_PREEMPT SX_ENUM(scx_kick_flags, SCX_KICK_PREEMPT)
#define SX_TASK_QUEUED SX_ENUM(scx_ent_flags, SCX_TASK_QUEUED)
#define SX_DSQ_LOCAL SX_ENUM(scx_dsq_id_flags, SCX_DSQ_LOCAL)
#define SX_DSQ_LOCAL_ON SX_ENUM(scx_dsq_id_flags, SCX_DSQ_LOCAL_ON)
#define SX_DSQ_GLOBAL SX_ENUM(scx_dsq_id_flags, SCX_DSQ_GLOBAL)

/* ---- kfuncs with one form ------------------------------------------------ */

s32 scx_bpf_create_dsq(u64 dsq_id, s32 node) SX_KFUNC;
s32 scx_bpf_dsq_nr_queued(u64 dsq_id) SX_KFUNC;
s32 scx_bpf_select_cpu_dfl(struct task_struct *p, s32 prev_cpu, u64 wake_flags,
			   bool *is_idle) SX_KFUNC;
s32 scx_bpf_pick_idle_cpu(const struct cpumask *allowed, u64 flags) SX_KFUNC;
s32 scx_bpf_task_cpu(const struct task_struct *p) SX_KFUNC;
u32 scx_bpf_nr_cpu_ids(void) SX_KFUNC;
const struct cpumask *scx_bpf_get_online_cpumask(void) SX_KFUNC;
void scx_bpf_put_cpumask(const struct cpumask *mask) SX_KFUNC;
void scx_bpf_kick_cpu(s32 cpu, u64 flags) SX_KFUNC;
u64 scx_bpf_now(void) SX_KFUNC;
void bpf_rcu_read_lock(void) SX_KFUNC;
void bpf_rcu_read_unlock(void) SX_KFUNC;
bool bpf_cpumask_test_cpu(u32 cpu, const struct cpumask *mask) SX_KFUNC;
struct bpf_cpumask *bpf_cpumask_create(void) SX_KFUNC;
void bpf_cpumask_release(struct bpf_cpumask *mask) SX_KFUNC;
void bpf_cpumask_set_cpu(u32 cpu, struct bpf_cpumask *mask) SX_KFUNC;
void bpf_cpumask_clear_cpu(u32 cpu, struct bpf_cpumask *mask) SX_KFUNC;
u32 bpf_cpumask_weight(const struct cpumask *mask) SX_KFUNC;
u32 bpf_cpumask_any_and_distribute(const struct cpumask *a, const struct cpumask *b) SX_KFUNC;

/* Frequency and capacity of CPUs, 1 to 1024; not every kernel is built with them. */
u32 scx_bpf_cpuperf_cap(s32 cpu) SX_KFUNC;
u32 scx_bpf_cpuperf_cur(s32 cpu) SX_KFUNC;
void scx_bpf_cpuperf_set(s32 cpu, u32 perf) SX_KFUNC;

int bpf_iter_scx_dsq_new(struct bpf_iter_scx_dsq *it, u64 dsq_id, u64 flags) SX_KFUNC;
struct task_struct *bpf_iter_scx_dsq_next(struct bpf_iter_scx_dsq *it) SX_KFUNC;
void bpf_iter_scx_dsq_destroy(struct bpf_iter_scx_dsq *it) SX_KFUNC;

/* The iterator that the surrounding bpf_for_each(scx_dsq, ...) runs on. */
#define SX_FOR_EACH_ITER (&___it)

/* ---- kfuncs whose form changed ------------------------------------------- */

bool scx_bpf_dsq_insert___v2___s(struct task_struct *p, u64 dsq, u64 slice, u64 flags) SX_KFUNC;
void scx_bpf_dsq_insert___s(struct task_struct *p, u64 dsq, u64 slice, u64 flags) SX_KFUNC;
void scx_bpf_dispatch___s(struct task_struct *p, u64 dsq, u64 slice, u64 flags) SX_KFUNC;

bool __scx_bpf_dsq_insert_vtime___s(struct task_struct *p,
				    struct scx_bpf_dsq_insert_vtime_args *args) SX_KFUNC;
void scx_bpf_dsq_insert_vtime___s(struct task_struct *p, u64 dsq, u64 slice, u64 vtime,
				  u64 flags) SX_KFUNC;
void scx_bpf_dispatch_vtime___s(struct task_struct *p, u64 dsq, u64 slice, u64 vtime,
				u64 flags) SX_KFUNC;

bool scx_bpf_dsq_move_to_local___v2___s(u64 dsq, u64 flags) SX_KFUNC;
bool scx_bpf_dsq_move_to_local___s(u64 dsq) SX_KFUNC;
bool scx_bpf_consume___s(u64 dsq) SX_KFUNC;

bool scx_bpf_dsq_move___s(struct bpf_iter_scx_dsq *it__iter, struct task_struct *p, u64 dsq,
			  u64 flags) SX_KFUNC;
bool scx_bpf_dispatch_from_dsq___s(struct bpf_iter_scx_dsq *it__iter, struct task_struct *p,
				   u64 dsq, u64 flags) SX_KFUNC;

void scx_bpf_dsq_move_set_vtime___s(struct bpf_iter_scx_dsq *it__iter, u64 vtime) SX_KFUNC;
bool scx_bpf_dsq_move_vtime___s(struct bpf_iter_scx_dsq *it__iter, struct task_struct *p, u64 dsq,
				u64 flags) SX_KFUNC;

s32 __scx_bpf_select_cpu_and___s(struct task_struct *p, const struct cpumask *allowed,
				 struct scx_bpf_select_cpu_and_args *args) SX_KFUNC;
s32 scx_bpf_select_cpu_and___s(struct task_struct *p, s32 prev_cpu, u64 wake_flags,
			       const struct cpumask *allowed, u64 flags) SX_KFUNC;

bool scx_bpf_task_set_slice___s(struct task_struct *p, u64 slice) SX_KFUNC;
bool scx_bpf_task_set_dsq_vtime___s(struct task_struct *p, u64 vtime) SX_KFUNC;

void scx_bpf_reenqueue_local___v2___s(void) SX_KFUNC;
u32 scx_bpf_reenqueue_local___s(void) SX_KFUNC;

/* Queue @p at the tail of @dsq for a run of @slice_ns. */
static __always_inline void sx_insert(struct task_struct *p, u64 dsq, u64 slice_ns, u64 flags)
{
	if (bpf_ksym_exists(scx_bpf_dsq_insert___v2___s))
		scx_bpf_dsq_insert___v2___s(p, dsq, slice_ns, flags);
	else if (bpf_ksym_exists(scx_bpf_dsq_insert___s))
		scx_bpf_dsq_insert___s(p, dsq, slice_ns, flags);
	else
		scx_bpf_dispatch___s(p, dsq, slice_ns, flags);
}

/* Queue @p on the user @dsq in ascending order of @vtime. */
static __always_inline void sx_insert_vtime(struct task_struct *p, u64 dsq, u64 slice_ns, u64 vtime,
					    u64 flags)
{
	if (bpf_ksym_exists(__scx_bpf_dsq_insert_vtime___s)) {
		struct scx_bpf_dsq_insert_vtime_args args = {
			.dsq_id = dsq,
			.slice = slice_ns,
			.vtime = vtime,
			.enq_flags = flags,
		};

		__scx_bpf_dsq_insert_vtime___s(p, &args);
	} else if (bpf_ksym_exists(scx_bpf_dsq_insert_vtime___s)) {
		scx_bpf_dsq_insert_vtime___s(p, dsq, slice_ns, vtime, flags);
	} else {
		scx_bpf_dispatch_vtime___s(p, dsq, slice_ns, vtime, flags);
	}
}

/* In dispatch: take the first task of @dsq that may run on this CPU. */
static __always_inline bool sx_consume(u64 dsq)
{
	if (bpf_ksym_exists(scx_bpf_dsq_move_to_local___v2___s))
		return scx_bpf_dsq_move_to_local___v2___s(dsq, 0);
	if (bpf_ksym_exists(scx_bpf_dsq_move_to_local___s))
		return scx_bpf_dsq_move_to_local___s(dsq);
	return scx_bpf_consume___s(dsq);
}

/* Move @p, met by the iterator @it, to @dsq. */
static __always_inline bool sx_dsq_move(struct bpf_iter_scx_dsq *it, struct task_struct *p, u64 dsq,
					u64 flags)
{
	if (bpf_ksym_exists(scx_bpf_dsq_move___s))
		return scx_bpf_dsq_move___s(it, p, dsq, flags);
	return scx_bpf_dispatch_from_dsq___s(it, p, dsq, flags);
}

/* The same into a queue that is in order of vtime. */
static __always_inline bool sx_dsq_move_vtime(struct bpf_iter_scx_dsq *it, struct task_struct *p,
					      u64 dsq, u64 vtime, u64 flags)
{
	scx_bpf_dsq_move_set_vtime___s(it, vtime);
	return scx_bpf_dsq_move_vtime___s(it, p, dsq, flags);
}

/* An idle CPU of @allowed for @p, no longer idle to others; negative if there is none. */
static __always_inline s32 sx_select_cpu_and(struct task_struct *p, s32 prev_cpu, u64 wake_flags,
					     const struct cpumask *allowed)
{
	if (bpf_ksym_exists(__scx_bpf_select_cpu_and___s)) {
		struct scx_bpf_select_cpu_and_args args = {
			.prev_cpu = prev_cpu,
			.wake_flags = wake_flags,
		};

		return __scx_bpf_select_cpu_and___s(p, allowed, &args);
	}
	return scx_bpf_select_cpu_and___s(p, prev_cpu, wake_flags, allowed, 0);
}

/* The stores are for kernels before 6.19; later ones deprecate them. */
static __always_inline void sx_set_slice(struct task_struct *p, u64 slice_ns)
{
	if (bpf_ksym_exists(scx_bpf_task_set_slice___s))
		scx_bpf_task_set_slice___s(p, slice_ns);
	else
		p->scx.slice = slice_ns;
}

static __always_inline void sx_set_vtime(struct task_struct *p, u64 vtime)
{
	if (bpf_ksym_exists(scx_bpf_task_set_dsq_vtime___s))
		scx_bpf_task_set_dsq_vtime___s(p, vtime);
	else
		p->scx.dsq_vtime = vtime;
}

/* Only from cpu_release: the older form is allowed nowhere else. */
static __always_inline void sx_reenqueue_local(void)
{
	if (bpf_ksym_exists(scx_bpf_reenqueue_local___v2___s))
		scx_bpf_reenqueue_local___v2___s();
	else
		scx_bpf_reenqueue_local___s();
}

static __always_inline u64 sx_now(void)
{
	return bpf_ksym_exists(scx_bpf_now) ? scx_bpf_now() : bpf_ktime_get_ns();
}

/* Whether user task @p is inside a system call (x86: else orig_ax is negative). */
static __always_inline bool sx_in_syscall(struct task_struct *p)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(p);

	return (long)BPF_CORE_READ(regs, orig_ax) >= 0;
}

/* ---- exit record ---------------------------------------------------------- */

/*
 * Why the kernel let go of the policy.  Sections of their own become maps of
 * their own, which the daemon maps and keeps beyond the policy's life.
 * .kind is stored last; 0 means that the policy has not ended.
 */
struct sx_exit_rec {
	s32 kind, cpu;
	s64 code;
	u64 flags, seq;
	char reason[64], msg[512];
};

struct sx_exit_rec sx_exit SEC(".data.sxexit") = { .cpu = -1 };
char sx_dump[32768] SEC(".data.sxdump");

static __always_inline void sx_record(struct scx_exit_info *ei)
{
	bpf_probe_read_kernel_str(sx_exit.reason, sizeof(sx_exit.reason), ei->reason);
	bpf_probe_read_kernel_str(sx_exit.msg, sizeof(sx_exit.msg), ei->msg);
	bpf_probe_read_kernel_str(sx_dump, sizeof(sx_dump), ei->dump);
	sx_exit.code = ei->exit_code;
	if (bpf_core_field_exists(ei->flags))
		sx_exit.flags = ei->flags;
	if (bpf_core_field_exists(ei->exit_cpu))
		sx_exit.cpu = ei->exit_cpu;
	sx_exit.seq = bpf_ktime_get_ns();
	__sync_lock_test_and_set(&sx_exit.kind, ei->kind);
}

#endif /* SCX_COMPAT_BPF_H */
