// SPDX-License-Identifier: GPL-2.0
/*
 * tasks: which programs start and end in watched cgroups, what they read, and the
 * CPU time that they took.
 *
 * How long a process will take is guessed from what the same command took before
 * and from the sizes of the files that its arguments name.  Both are told here at
 * the moment of the exec, with the arguments themselves: a process that is over a
 * millisecond later has no /proc/PID/cmdline any more, and where a file lies that
 * is named by a relative path, or that is standard input, /proc tells only those
 * who may trace the process.  So nobody walks a path on behalf of a command line:
 * the size is that of the file which the process itself has opened.
 *
 * Programs open many files.  Told are those to read from that are called like the
 * end of an argument, as far as a Bloom filter can say: libraries cost no event.
 * tasks_files tells all open ones of the processes that were there before anybody
 * watched.
 *
 * The CPU time of the last thread is the scheduler's own, which is brought up to
 * date at ticks and switches: a process is told up to one tick too little.
 *
 * What it costs when no cgroup is watched: a look at the task's cgroups at an exec
 * and at an exit, one at the task's storage when a file is opened.
 *
 * Cgroups are those of cgroup v2.  Kernel 6.16 or later.
 */
#include <vmlinux.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char _license[] SEC("license") = "GPL";

/* Known to schedcpd/learn/events.py. */
#define COMM_BYTES 16
#define NAME_BYTES 64
#define ARGS_BYTES 512
#define RING_BYTES (512 * 1024)
#define MAX_WATCHED 256

#define MAX_LEVELS 24
#define MAX_OPENS 64
#define MIN_FILE_BYTES 4096
#define FILTER_WORDS 16 /* of 64 bits */
#define FNV_BASIS 2166136261u
#define FNV_PRIME 16777619u

/* Constants of the kernel which are macros there, so BTF does not carry them. */
#define TASKS_S_IFMT 0170000
#define TASKS_S_IFREG 0100000
#define TASKS_FMODE_READ 1
#define TASKS_FMODE_EXEC 0x20

enum task_event_kind {
	TASK_EXEC = 1,
	TASK_EXIT = 2,
	TASK_FILE = 3,
	TASK_STDIN = 4,
};

struct task_event {
	u32 kind;
	u32 tgid;
	u64 cgroup; /* the watched one: that of the task, or one above it */
	u64 at_ns;  /* CLOCK_MONOTONIC */
	u64 cpu_ns; /* of all threads, those that have ended as well */
	u64 bytes;  /* size of the file; at an exec that of standard input, 0 if it is none */
	u32 lost;   /* events for which there was no room, since the probe began */
	u32 detail; /* at an exec: bytes of the command line; at an exit: status, as of wait(2) */
	u32 parent; /* its tgid */
	u32 unused;
	char comm[COMM_BYTES];
	char name[NAME_BYTES]; /* of that file, without its folder, cut */
};

struct exec_event {
	struct task_event head;
	char args[ARGS_BYTES]; /* separated by NUL */
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, RING_BYTES);
} events SEC(".maps");

/* By cgroup id; what is below a watched cgroup is watched too. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_WATCHED);
	__type(key, u64);
	__type(value, u8);
} watched SEC(".maps");

struct task_opens {
	u64 names[FILTER_WORDS]; /* Bloom filter with one hash */
	u32 told;
};

/* The processes whose files are told, which are those whose exec was. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct task_opens);
} opens SEC(".maps");

static u32 tasks_lost;

extern int bpf_iter_task_new(struct bpf_iter_task *it, struct task_struct *task,
			     unsigned int flags) __ksym;
extern struct task_struct *bpf_iter_task_next(struct bpf_iter_task *it) __ksym;
extern void bpf_iter_task_destroy(struct bpf_iter_task *it) __ksym;

/* The id of the watched cgroup that the task is in; 0 when there is none. */
static __always_inline u64 tasks_watched(struct task_struct *p)
{
	struct cgroup *cgrp = BPF_CORE_READ(p, cgroups, dfl_cgrp);
	struct cgroup_subsys_state *above;
	u64 id;
	int i;

	for (i = 0; i < MAX_LEVELS && cgrp; i++) {
		id = BPF_CORE_READ(cgrp, kn, id);
		if (bpf_map_lookup_elem(&watched, &id))
			return id;
		above = BPF_CORE_READ(cgrp, self.parent);
		if (!above)
			break;
		cgrp = container_of(above, struct cgroup, self);
	}
	return 0;
}

/* As many turns as the process has threads; most of those that have ended are in the sum. */
static __always_inline u64 tasks_cpu_ns(struct task_struct *p)
{
	u64 cpu_ns = p->signal->sum_sched_runtime;
	struct bpf_iter_task it;
	struct task_struct *t;

	bpf_iter_task_new(&it, p, BPF_TASK_ITER_PROC_THREADS);
	while ((t = bpf_iter_task_next(&it)))
		cpu_ns += t->se.sum_exec_runtime;
	bpf_iter_task_destroy(&it);
	return cpu_ns;
}

static __always_inline void tasks_describe(struct task_event *event, struct task_struct *p,
					   enum task_event_kind kind, u64 cgroup)
{
	__builtin_memset(event, 0, sizeof(*event));
	event->kind = kind;
	event->tgid = p->tgid;
	event->cgroup = cgroup;
	event->parent = BPF_CORE_READ(p, group_leader, real_parent, tgid);
	event->at_ns = bpf_ktime_get_ns();
	event->lost = tasks_lost;
	bpf_probe_read_kernel_str(event->comm, sizeof(event->comm), p->comm);
}

/* Whether the task can read from it, and it is a file with a size. */
static __always_inline bool tasks_is_input(struct file *file)
{
	if (!(BPF_CORE_READ(file, f_mode) & TASKS_FMODE_READ))
		return false;
	return (BPF_CORE_READ(file, f_inode, i_mode) & TASKS_S_IFMT) == TASKS_S_IFREG;
}

static __always_inline void tasks_describe_file(struct task_event *event, struct file *file)
{
	event->bytes = BPF_CORE_READ(file, f_inode, i_size);
	bpf_probe_read_kernel_str(event->name, sizeof(event->name),
				  BPF_CORE_READ(file, f_path.dentry, d_name.name));
}

static __always_inline void tasks_describe_stdin(struct task_event *event, struct task_struct *p)
{
	struct file **fds = BPF_CORE_READ(p, files, fdt, fd), *file = NULL;

	if (bpf_probe_read_kernel(&file, sizeof(file), fds) || !file)
		return;
	if (tasks_is_input(file))
		tasks_describe_file(event, file);
}

static __always_inline u32 tasks_hash(u32 hash, char byte)
{
	return (hash ^ (u8)byte) * FNV_PRIME;
}

static __always_inline bool tasks_is_named(const struct task_opens *opens, u32 hash)
{
	return opens->names[(hash >> 6) % FILTER_WORDS] >> (hash & 63) & 1;
}

/* What follows the last slash or equals sign of each argument, the program's own name as well. */
static __always_inline void tasks_add_names(struct task_opens *opens, const char *args, u32 length)
{
	u32 hash = FNV_BASIS;
	int i;

	bpf_for(i, 0, ARGS_BYTES) {
		if ((u32)i >= length)
			break;
		if (args[i] == '/' || args[i] == '=') {
			hash = FNV_BASIS;
		} else if (args[i]) {
			hash = tasks_hash(hash, args[i]);
		} else {
			opens->names[(hash >> 6) % FILTER_WORDS] |= 1ull << (hash & 63);
			hash = FNV_BASIS;
		}
	}
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(tasks_exec, struct task_struct *p)
{
	u64 cgroup = tasks_watched(p), cpu_ns, start, size;
	struct task_opens *told;
	struct exec_event *event;
	u32 length;

	if (!cgroup)
		return 0;
	cpu_ns = tasks_cpu_ns(p);
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event) {
		__sync_fetch_and_add(&tasks_lost, 1);
		return 0;
	}
	tasks_describe(&event->head, p, TASK_EXEC, cgroup);
	event->head.cpu_ns = cpu_ns;
	tasks_describe_stdin(&event->head, p);
	start = BPF_CORE_READ(p, mm, arg_start);
	size = BPF_CORE_READ(p, mm, arg_end) - start;
	length = size < ARGS_BYTES ? size : ARGS_BYTES;
	/* The pages were written a moment ago, so they are there. */
	if (!bpf_probe_read_user(event->args, length, (void *)start)) {
		event->head.detail = size;
		told = bpf_task_storage_get(&opens, p, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
		if (told) {
			__builtin_memset(told, 0, sizeof(*told));
			tasks_add_names(told, event->args, length);
		}
	}
	bpf_ringbuf_submit(event, 0);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(tasks_exit, struct task_struct *p)
{
	struct task_event *event;
	u64 cgroup, cpu_ns;

	/* Two threads that end at the same time may both be the last: the reader takes the first. */
	if (p->signal->live.counter)
		return 0;
	cgroup = tasks_watched(p);
	if (!cgroup)
		return 0;
	cpu_ns = tasks_cpu_ns(p);
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event) {
		__sync_fetch_and_add(&tasks_lost, 1);
		return 0;
	}
	tasks_describe(event, p, TASK_EXIT, cgroup);
	event->cpu_ns = cpu_ns;
	event->detail = p->exit_code;
	bpf_ringbuf_submit(event, 0);
	return 0;
}

/* The hash of the file's name, without its folder. */
static __always_inline u32 tasks_name_hash(struct file *file)
{
	char name[NAME_BYTES] = {};
	u32 hash = FNV_BASIS;
	int i;

	bpf_probe_read_kernel_str(name, sizeof(name),
				  BPF_CORE_READ(file, f_path.dentry, d_name.name));
	bpf_for(i, 0, NAME_BYTES) {
		if (!name[i])
			break;
		hash = tasks_hash(hash, name[i]);
	}
	return hash;
}

SEC("fentry/security_file_open")
int BPF_PROG(tasks_open, struct file *file)
{
	struct task_struct *p = bpf_get_current_task_btf();
	struct task_opens *told;
	struct task_event *event;
	u64 cgroup;

	told = bpf_task_storage_get(&opens, p->group_leader, 0, 0);
	if (!told || told->told >= MAX_OPENS || (file->f_flags & TASKS_FMODE_EXEC))
		return 0;
	if (!tasks_is_input(file) || BPF_CORE_READ(file, f_inode, i_size) < MIN_FILE_BYTES)
		return 0;
	if (!tasks_is_named(told, tasks_name_hash(file)))
		return 0;
	cgroup = tasks_watched(p);
	if (!cgroup)
		return 0;
	__sync_fetch_and_add(&told->told, 1);
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event) {
		__sync_fetch_and_add(&tasks_lost, 1);
		return 0;
	}
	tasks_describe(event, p, TASK_FILE, cgroup);
	tasks_describe_file(event, file);
	bpf_ringbuf_submit(event, 0);
	return 0;
}

/* Read as a file, it tells each one that is open. */
SEC("iter/task_file")
int tasks_files(struct bpf_iter__task_file *ctx)
{
	struct task_struct *p = ctx->task;
	struct file *file = ctx->file;
	struct task_event event;
	u64 cgroup;

	if (!p || !file || !tasks_is_input(file))
		return 0;
	if (ctx->fd && BPF_CORE_READ(file, f_inode, i_size) < MIN_FILE_BYTES)
		return 0;
	cgroup = tasks_watched(p);
	if (!cgroup)
		return 0;
	tasks_describe(&event, p, ctx->fd ? TASK_FILE : TASK_STDIN, cgroup);
	tasks_describe_file(&event, file);
	bpf_seq_write(ctx->meta->seq, &event, sizeof(event));
	return 0;
}
