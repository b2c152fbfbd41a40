// SPDX-License-Identifier: GPL-2.0
/*
 * workload: what the tasks of one cgroup and of those below it do, for a second or so.
 *
 * Counted are how long they wait for a CPU, how long they keep it, and how long they
 * sleep and for what; who wakes them; their system calls; how they move from CPU to
 * CPU; processes that begin and end.  This is the closest look that a profile takes,
 * which bcc's runqlat, cpudist, offcputime, wakeuptime and syscount would take too, but
 * they need a compiler and some 100 MB at run time; a CO-RE object needs neither.
 *
 * What a task sleeps for is told by the system call that it is in and by its state: a
 * call that waits for a file waits for what that file is, and one with a time limit has
 * waited for the time when it has slept that long.  A wait with an exception on the way
 * (a page that userfaultfd has to bring) counts as that of a random call.  A sleep lasts
 * until the wake-up: from there on the task waits for a CPU.
 *
 * Everything counts that lies between the start and the end, so that the times of all
 * tasks add up; the histograms have only what both began and ended in between.
 *
 * An interrupt has no name: a wake-up from there is nobody's, also when a program sent
 * the packet over the loopback device.
 *
 * What it costs: a look at the cgroup of both tasks at a switch, of the woken one at a
 * wake-up and of the caller at a system call, on the whole machine, as the kernel takes
 * its slower way into system calls as long as anybody traces them; the rest only for the
 * tasks of the workload.  CPUs share no counters but those of wakers.
 *
 * Cgroups are those of cgroup v2.  x86-64 only, for the numbers and arguments of system
 * calls; those of 32-bit programs are not told apart.  Kernel 6.16 or later.
 */
#include <vmlinux.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char _license[] SEC("license") = "GPL";

/* Known to schedcpd/kernel/workload.py. */
#define SLOTS 40
#define MAX_SYSCALLS 512 /* a power of two */
#define MAX_CPUS 1024	 /* a power of two */
#define MAX_WAKERS 512
#define COMM_BYTES 16

/* Constants of the kernel which are macros there, so BTF does not carry them. */
#define WORKLOAD_UNINTERRUPTIBLE 0x2
#define WORKLOAD_DEAD 0x80
#define WORKLOAD_NOLOAD 0x400
#define WORKLOAD_PF_KERNEL 0x204010 /* PF_KTHREAD, PF_USER_WORKER, PF_IO_WORKER */
#define WORKLOAD_COMPAT 0x2	    /* TS_COMPAT */
#define WORKLOAD_SOFTIRQ 0x100	    /* SOFTIRQ_OFFSET: one is being served */
#define WORKLOAD_S_IFMT 0170000
#define WORKLOAD_S_IFSOCK 0140000
#define WORKLOAD_S_IFIFO 0010000
#define NS_PER_MS 1000000ull
#define NS_PER_US 1000ull
#define NS_PER_S 1000000000ull

enum workload_span {
	SPAN_QUEUE,
	SPAN_RUN,
	SPAN_LOCK,
	SPAN_MESSAGE,
	SPAN_TIMER,
	SPAN_STORAGE,
	SPAN_OTHER,
	SPAN_PREEMPTED,
	SPAN_LIFE,
	SPANS,
};

/* What a system call that sleeps waits for; the high half of the byte says which argument. */
enum workload_call {
	CALL_OTHER,
	CALL_LOCK,
	CALL_MESSAGE,
	CALL_TIMER,
	CALL_STORAGE,
	CALL_CHILD,
	CALL_FILE,     /* what the file is for, a descriptor */
	CALL_MS,       /* messages, for at most so many milliseconds */
	CALL_TIMESPEC, /* messages, for at most the time at that address */
	CALL_TIMEVAL,
};

enum workload_source {
	SOURCE_ITSELF, /* another thread of the same process */
	SOURCE_INSIDE, /* another process of the workload */
	SOURCE_OUTSIDE,
	SOURCE_INTERRUPT,
	SOURCE_TIMER,
};

enum workload_state {
	STATE_RUNS = 1,
	STATE_QUEUED,
	STATE_SLEEPS,
	STATE_DEAD,
};

struct workload_times {
	u64 total_ns;	  /* with those that were cut off by the start or the end */
	u64 whole_ns;	  /* of those in the slots */
	u64 slots[SLOTS]; /* slot i: 2^i to 2^(i+1) - 1 ns; the last one all that are longer */
};

struct workload_counters {
	struct workload_times spans[SPANS];
	u64 wakeups;
	u64 unlisted; /* wake-ups by wakers for which there was no room */
	u64 migrations;
	u64 llc_migrations; /* of them, those to another last-level cache */
	u64 forks;
	u64 threads; /* begun beside the first of a process */
	u64 execs;
	u64 exits;
	u64 tasks; /* at the end */
	u64 syscalls[MAX_SYSCALLS];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct workload_counters);
} counters SEC(".maps");

struct waker {
	char waker[COMM_BYTES];
	char woken[COMM_BYTES];
	u64 source;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_WAKERS);
	__type(key, struct waker);
	__type(value, u64);
} wakers SEC(".maps");

struct workload_task {
	u64 since_ns;
	u64 limit_ns; /* of a sleep for messages; 0: none */
	u32 state;
	u32 span; /* of a sleep */
	u32 cpu;
	u32 cut; /* it was in this state already when we came */
};

/* As many as the workload has tasks, each of which has a stack of 16 KiB in the kernel. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct workload_task);
} tasks SEC(".maps");

const volatile u64 workload_cgroup;		/* its id */
const volatile u32 workload_level;		/* below the root */
const volatile u8 workload_calls[MAX_SYSCALLS]; /* enum workload_call, and the argument */
const volatile u16 workload_llcs[MAX_CPUS];	/* any number for each last-level cache */

u64 workload_began_ns; /* CLOCK_MONOTONIC, as the next one; 0: nothing counts yet */
u64 workload_ended_ns; /* 0: it is not over */

extern const int __preempt_count __ksym __weak;
extern struct pt_regs *const __irq_regs __ksym __weak;

static __always_inline bool workload_counts(void)
{
	return workload_began_ns && !workload_ended_ns;
}

static __always_inline bool workload_has(struct task_struct *p)
{
	struct cgroup *cgrp = p->cgroups->dfl_cgrp, *above = NULL;
	u64 at;

	if (cgrp->kn->id == workload_cgroup)
		return true;
	if (cgrp->level <= (int)workload_level)
		return false;
	at = (u64)cgrp + bpf_core_field_offset(struct cgroup, ancestors) +
	     workload_level * sizeof(above);
	if (bpf_probe_read_kernel(&above, sizeof(above), (void *)at) || !above)
		return false;
	return BPF_CORE_READ(above, kn, id) == workload_cgroup;
}

/* A byte of it, as it was an int until 7.1. */
static __always_inline bool workload_on_cpu(struct task_struct *p)
{
	u8 on_cpu = 0;

	bpf_core_read(&on_cpu, sizeof(on_cpu), &p->on_cpu);
	return on_cpu;
}

static __always_inline bool workload_waits_for_io(struct task_struct *task)
{
	return BPF_CORE_READ_BITFIELD(task, in_iowait);
}

static __always_inline struct workload_counters *workload_counters(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&counters, &zero);
}

static __always_inline u32 workload_slot(u64 ns)
{
	u32 slot = 0, shift;

	if (ns >> (SLOTS - 1))
		return SLOTS - 1;
	for (shift = 32; shift; shift /= 2) {
		if (ns >> shift) {
			ns >>= shift;
			slot += shift;
		}
	}
	return slot;
}

/* Atomic, as the programs that may be interrupted count lives. */
static __always_inline void workload_add(struct workload_counters *c, u32 span, u64 ns, bool whole)
{
	struct workload_times *times;
	u32 slot = workload_slot(ns);

	if (span >= SPANS || slot >= SLOTS)
		return;
	times = &c->spans[span];
	__sync_fetch_and_add(&times->total_ns, ns);
	if (!whole)
		return;
	__sync_fetch_and_add(&times->whole_ns, ns);
	__sync_fetch_and_add(&times->slots[slot], 1);
}

/* From an address of a user's, which can be read only by that user's task. */
static __always_inline u64 workload_limit(u64 address, u64 ns_per_part)
{
	u64 parts[2];

	if (!address || bpf_probe_read_user(parts, sizeof(parts), (void *)address))
		return 0;
	return parts[0] * NS_PER_S + parts[1] * ns_per_part;
}

/* What a read or a write of that descriptor waits for. */
static __always_inline u32 workload_file(struct task_struct *p, u64 fd)
{
	struct fdtable *table = BPF_CORE_READ(p, files, fdt);
	struct file **files, *file = NULL;
	char name[4] = {};
	u32 kind;

	if (!table || (u32)fd >= BPF_CORE_READ(table, max_fds))
		return SPAN_OTHER;
	files = BPF_CORE_READ(table, fd);
	if (bpf_probe_read_kernel(&file, sizeof(file), &files[(u32)fd]) || !file)
		return SPAN_OTHER;
	kind = BPF_CORE_READ(file, f_inode, i_mode) & WORKLOAD_S_IFMT;
	if (kind == WORKLOAD_S_IFSOCK || kind == WORKLOAD_S_IFIFO)
		return SPAN_MESSAGE;
	/* [timerfd], [eventfd], [eventpoll] and others that are in no file system */
	bpf_probe_read_kernel(name, sizeof(name), BPF_CORE_READ(file, f_path.dentry, d_name.name));
	if (name[0] != '[')
		return SPAN_OTHER;
	if (name[1] == 't')
		return SPAN_TIMER;
	return name[1] == 'e' ? SPAN_MESSAGE : SPAN_OTHER;
}

/* The arguments that a table may name. */
static __always_inline u64 workload_argument(const struct pt_regs *regs, u32 number)
{
	switch (number) {
	case 0:
		return regs->di;
	case 1:
		return regs->si;
	case 2:
		return regs->dx;
	case 3:
		return regs->r10;
	default:
		return regs->r8;
	}
}

/*
 * What a task sleeps for; @state is as of its going to sleep, and @self whether it is
 * the one that runs.  @limit_ns is left as it is when there is none.
 */
static __always_inline u32 workload_reason(struct task_struct *p, u32 state, bool self,
					   u64 *limit_ns)
{
	const struct pt_regs *regs;
	u64 number, argument;
	u32 call;

	if (workload_waits_for_io(p))
		return SPAN_STORAGE;
	if ((p->flags & WORKLOAD_PF_KERNEL) || (p->thread_info.status & WORKLOAD_COMPAT))
		return SPAN_OTHER;
	regs = (const struct pt_regs *)bpf_task_pt_regs(p);
	number = regs->orig_ax;
	call = number < MAX_SYSCALLS ? workload_calls[number & (MAX_SYSCALLS - 1)] : CALL_OTHER;
	argument = workload_argument(regs, call >> 4);
	call &= 15;
	/* The parent of a vfork waits in the same state as for a disk. */
	if (call == CALL_CHILD)
		return SPAN_OTHER;
	if ((state & WORKLOAD_UNINTERRUPTIBLE) && !(state & WORKLOAD_NOLOAD))
		return SPAN_STORAGE;
	switch (call) {
	case CALL_LOCK:
		return SPAN_LOCK;
	case CALL_MESSAGE:
		return SPAN_MESSAGE;
	case CALL_TIMER:
		return SPAN_TIMER;
	case CALL_STORAGE:
		return SPAN_STORAGE;
	case CALL_FILE:
		return workload_file(p, argument);
	case CALL_MS:
		if ((s32)argument > 0)
			*limit_ns = argument * NS_PER_MS;
		return SPAN_MESSAGE;
	case CALL_TIMESPEC:
		if (self)
			*limit_ns = workload_limit(argument, 1);
		return SPAN_MESSAGE;
	case CALL_TIMEVAL:
		if (self)
			*limit_ns = workload_limit(argument, NS_PER_US);
		return SPAN_MESSAGE;
	default:
		return SPAN_OTHER;
	}
}

/* The state of a task; a new one was in @state ever since we came. */
static __always_inline struct workload_task *workload_task(struct task_struct *p, u32 state)
{
	struct workload_task *task;

	task = bpf_task_storage_get(&tasks, p, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (task && !task->state) {
		task->state = state;
		task->since_ns = workload_began_ns;
		task->cpu = MAX_CPUS;
		task->cut = 1;
	}
	return task;
}

static __always_inline void workload_change(struct workload_task *task, u32 state, u64 now)
{
	task->state = state;
	task->since_ns = now;
	task->cut = 0;
}

/* A sleep is over, one way or another; which it was is the result. */
static __always_inline u32 workload_slept(struct workload_counters *c, struct workload_task *task,
					  u64 now)
{
	u64 ns = now - task->since_ns;
	u32 span = task->span;

	/* It began to sleep a moment after the time was set. */
	if (task->limit_ns && ns + ns / 16 + 100 * NS_PER_US >= task->limit_ns)
		span = SPAN_TIMER;
	workload_add(c, span, ns, !task->cut);
	return span;
}

static __always_inline void workload_leaves(struct workload_counters *c, struct task_struct *p,
					    bool preempt, u32 state, u64 now)
{
	struct workload_task *task = workload_task(p, STATE_RUNS);

	if (!task)
		return;
	if (task->state == STATE_RUNS)
		workload_add(c, SPAN_RUN, now - task->since_ns, !task->cut);
	task->cpu = bpf_get_smp_processor_id();
	if (preempt || !state) {
		workload_change(task, STATE_QUEUED, now);
		task->span = SPAN_PREEMPTED;
		return;
	}
	if (state & WORKLOAD_DEAD) {
		workload_change(task, STATE_DEAD, now);
		return;
	}
	workload_change(task, STATE_SLEEPS, now);
	task->limit_ns = 0;
	task->span = workload_reason(p, state, true, &task->limit_ns);
}

static __always_inline void workload_enters(struct workload_counters *c, struct task_struct *p,
					    u64 now)
{
	struct workload_task *task = workload_task(p, STATE_QUEUED);
	u32 cpu = bpf_get_smp_processor_id(), before;

	if (!task)
		return;
	if (task->state == STATE_QUEUED) {
		workload_add(c, SPAN_QUEUE, now - task->since_ns, !task->cut);
		if (task->span == SPAN_PREEMPTED)
			workload_add(c, SPAN_PREEMPTED, now - task->since_ns, !task->cut);
	} else if (task->state == STATE_SLEEPS) {
		/* Its wake-up came while it was on its way to sleep. */
		workload_slept(c, task, now);
	}
	before = task->cpu;
	if (before < MAX_CPUS && before != cpu) {
		c->migrations++;
		if (workload_llcs[before & (MAX_CPUS - 1)] != workload_llcs[cpu & (MAX_CPUS - 1)])
			c->llc_migrations++;
	}
	workload_change(task, STATE_RUNS, now);
}

SEC("tp_btf/sched_switch")
int BPF_PROG(workload_switch, bool preempt, struct task_struct *prev, struct task_struct *next,
	     unsigned int prev_state)
{
	bool leaves, enters;
	struct workload_counters *c;
	u64 now;

	if (!workload_counts())
		return 0;
	leaves = prev->pid && workload_has(prev);
	enters = next->pid && workload_has(next);
	if (!leaves && !enters)
		return 0;
	c = workload_counters();
	if (!c)
		return 0;
	now = bpf_ktime_get_ns();
	if (leaves)
		workload_leaves(c, prev, preempt, prev_state, now);
	if (enters)
		workload_enters(c, next, now);
	return 0;
}

/* Interrupts are counted at two places, of which only this one was the same in all kernels. */
static __always_inline bool workload_in_interrupt(void)
{
	if (bpf_ksym_exists(&__irq_regs) && *(struct pt_regs **)bpf_this_cpu_ptr(&__irq_regs))
		return true;
	return bpf_ksym_exists(&__preempt_count) &&
	       (*(int *)bpf_this_cpu_ptr(&__preempt_count) & WORKLOAD_SOFTIRQ);
}

static __always_inline void workload_count_waker(struct workload_counters *c, struct task_struct *p,
						 u32 span)
{
	struct task_struct *waker = bpf_get_current_task_btf();
	struct waker key = {};
	u64 one = 1, *known;

	c->wakeups++;
	bpf_probe_read_kernel_str(key.woken, sizeof(key.woken), p->comm);
	if (span == SPAN_TIMER) {
		key.source = SOURCE_TIMER;
	} else if (!waker->pid || workload_in_interrupt()) {
		key.source = SOURCE_INTERRUPT;
	} else {
		bpf_probe_read_kernel_str(key.waker, sizeof(key.waker), waker->comm);
		key.source = SOURCE_OUTSIDE;
		if (waker->tgid == p->tgid)
			key.source = SOURCE_ITSELF;
		else if (workload_has(waker))
			key.source = SOURCE_INSIDE;
	}
	known = bpf_map_lookup_elem(&wakers, &key);
	if (!known) {
		/* Another CPU may have been faster. */
		if (!bpf_map_update_elem(&wakers, &key, &one, BPF_NOEXIST))
			return;
		known = bpf_map_lookup_elem(&wakers, &key);
	}
	if (known)
		__sync_fetch_and_add(known, 1);
	else
		c->unlisted++;
}

/* In the context of whoever wakes, on the CPU of whoever wakes; its interrupts are off. */
SEC("tp_btf/sched_waking")
int BPF_PROG(workload_waking, struct task_struct *p)
{
	struct workload_counters *c;
	struct workload_task *task;
	u64 now;
	u32 span;

	if (!workload_counts() || !workload_has(p))
		return 0;
	c = workload_counters();
	task = bpf_task_storage_get(&tasks, p, 0, 0);
	/* It wakes itself, or is on its way to sleep. */
	if (!c || (!task && workload_on_cpu(p)))
		return 0;
	now = bpf_ktime_get_ns();
	if (!task) {
		task = workload_task(p, STATE_SLEEPS);
		if (!task)
			return 0;
		task->span = workload_reason(p, p->__state, false, &task->limit_ns);
	}
	if (task->state != STATE_SLEEPS)
		return 0;
	span = workload_slept(c, task, now);
	workload_change(task, STATE_QUEUED, now);
	task->span = SPAN_QUEUE;
	workload_count_waker(c, p, span);
	return 0;
}

SEC("tp_btf/sched_wakeup_new")
int BPF_PROG(workload_born, struct task_struct *p)
{
	struct workload_task *task;

	if (!workload_counts() || !workload_has(p))
		return 0;
	task = workload_task(p, STATE_QUEUED);
	if (task)
		workload_change(task, STATE_QUEUED, bpf_ktime_get_ns());
	return 0;
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(workload_fork, struct task_struct *parent, struct task_struct *child)
{
	struct workload_counters *c;

	if (!workload_counts() || !workload_has(parent))
		return 0;
	c = workload_counters();
	if (c)
		__sync_fetch_and_add(child->pid == child->tgid ? &c->forks : &c->threads, 1);
	return 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(workload_exec, struct task_struct *p)
{
	struct workload_counters *c;

	if (!workload_counts() || !workload_has(p))
		return 0;
	c = workload_counters();
	if (c)
		__sync_fetch_and_add(&c->execs, 1);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(workload_exit, struct task_struct *p)
{
	struct workload_counters *c;

	if (!workload_counts() || p->pid != p->tgid || !workload_has(p))
		return 0;
	c = workload_counters();
	if (!c)
		return 0;
	__sync_fetch_and_add(&c->exits, 1);
	workload_add(c, SPAN_LIFE, bpf_ktime_get_ns() - p->start_time, true);
	return 0;
}

SEC("tp_btf/sys_enter")
int BPF_PROG(workload_call, struct pt_regs *regs, long number)
{
	struct task_struct *p = bpf_get_current_task_btf();
	struct workload_counters *c;

	if (!workload_counts() || !workload_has(p))
		return 0;
	if ((u64)number >= MAX_SYSCALLS || (p->thread_info.status & WORKLOAD_COMPAT))
		return 0;
	c = workload_counters();
	if (c)
		__sync_fetch_and_add(&c->syscalls[number & (MAX_SYSCALLS - 1)], 1);
	return 0;
}

/* Read as a file when it is over, it adds what all tasks are in the middle of. */
SEC("iter/task")
int workload_rest(struct bpf_iter__task *ctx)
{
	struct task_struct *p = ctx->task;
	u64 since_ns = workload_began_ns, limit_ns = 0, ns;
	struct workload_counters *c;
	struct workload_task *task;
	u32 state, span;

	if (!p || p->exit_state || !workload_has(p))
		return 0;
	c = workload_counters();
	if (!c)
		return 0;
	c->tasks++;
	task = bpf_task_storage_get(&tasks, p, 0, 0);
	if (task && task->state) {
		since_ns = task->since_ns;
		state = task->state;
		span = task->span;
	} else {
		state = p->__state ? STATE_SLEEPS : STATE_QUEUED;
		if (workload_on_cpu(p))
			state = STATE_RUNS;
		span = state == STATE_SLEEPS ? workload_reason(p, p->__state, false, &limit_ns) : 0;
	}
	ns = workload_ended_ns - since_ns;
	switch (state) {
	case STATE_RUNS:
		workload_add(c, SPAN_RUN, ns, false);
		break;
	case STATE_QUEUED:
		workload_add(c, SPAN_QUEUE, ns, false);
		if (span == SPAN_PREEMPTED)
			workload_add(c, SPAN_PREEMPTED, ns, false);
		break;
	case STATE_SLEEPS:
		workload_add(c, span, ns, false);
		break;
	}
	return 0;
}
