// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The trial run of one scheduling policy, as the first process of a disposable
 * virtual machine: /policy.o is loaded, attached and put under load, and every
 * check is reported on the second serial port as one JSON object a line.
 */
#ifndef TRIAL_H
#define TRIAL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

typedef uint64_t u64;
typedef uint32_t u32;

#define NS_PER_MS 1000000ULL
#define MS_PER_S 1000ULL
#define CPUS 2
#define ANY_CPU (-1)
#define NO_GROUP (-1)
#define WORKERS_MAX 64
#define SLEEP_NS 5000000 /* of a WORK_SLEEP between two moments of work */
#define CONSTANTS_MAX 64
#define OPTIONAL_MAX 8
#define MESSAGE_MAX 400
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* ---- conf.c: /trial.conf, written by the verifier --------------------------- */

enum role {
	ROLE_NONE,
	ROLE_TARGET_ID,
	ROLE_TARGET_LEVEL
};

/* A constant of the policy, at an offset in its .rodata. */
struct constant {
	u32 offset, size;
	u64 initial, low, high;
	enum role role;
};

/* A callback that is left out where the kernel does not know it; offset as of timeout_ms. */
struct optional {
	u32 offset;
	char name[32];
};

struct conf {
	char name[32];
	u32 timeout_ms;	    /* written to the ops, as the loader does */
	u32 timeout_offset; /* of the ops' member, in the object's own layout */
	u32 max_wait_ms;    /* no runnable task may wait longer */
	bool honours_nice, honours_cpu_max;
	bool targeted; /* part of the load goes to the target cgroup */
	int nr_optional;
	struct optional optional[OPTIONAL_MAX];
	int nr_constants;
	struct constant constants[CONSTANTS_MAX];
};

extern struct conf conf;

bool conf_read(const char *path);

/* ---- report.c: what the outside gets to know -------------------------------- */

struct outcome {
	bool passed;
	bool timing; /* it failed by a figure that a busy host can spoil: worth one more try */
	double figure, bound, baseline;
	const char *unit;
	char message[MESSAGE_MAX];
};

bool report_open(const char *path);
void report_hello(void);
void report_begin(const char *stage, const char *check);
void report_check(const char *stage, const char *check, const struct outcome *out);
void report_broken(const char *why);
void report_beat_if_due(void);
void report_end(void);

__attribute__((format(printf, 2, 3))) void say(struct outcome *out, const char *format, ...);

/* ---- policy.c: the policy and its way through the kernel --------------------- */

/* enum scx_exit_kind of the kernel, as far as it matters here. */
enum exit_kind {
	EXIT_UNREG = 64,
	EXIT_UNREG_KERN = 66
};

enum values {
	VALUES_INITIAL,
	VALUES_LOW,
	VALUES_HIGH
};

bool policy_load(enum values values, struct outcome *out);
bool policy_try(enum values values, struct outcome *out);
bool policy_attach(struct outcome *out);
bool policy_settle(u32 ms, struct outcome *out);
bool policy_detach(double *ms);
bool policy_attached(void);
bool policy_gone(void);
int policy_exit_kind(void);
u64 policy_exit_code(void);
const char *policy_exit_text(void);

/* ---- load.c: processes that want the CPU -------------------------------------- */

enum work {
	WORK_HOG,      /* never sleeps */
	WORK_SLEEP,    /* wakes up every few milliseconds and measures how late */
	WORK_PIPE,     /* bounces a byte off its partner */
	WORK_FUTEX,    /* the same with a futex */
	WORK_STORM,    /* forks short-lived children */
	WORK_CHURN,    /* changes its own affinity, nice value and scheduling class */
	WORK_KTHREADS, /* makes kernel threads of every CPU work, and waits for them */
	WORK_REALTIME, /* SCHED_FIFO, most of one CPU */
	WORK_OFFLINE,  /* takes CPU 1 away, once */
	WORK_ONLINE,   /* brings it back */
};

struct spec {
	enum work work;
	int nice;
	int cpu;   /* or ANY_CPU */
	int group; /* file descriptor of a cgroup, or NO_GROUP */
};

struct worker {
	struct spec spec;
	pid_t pid;
	int fds[2];	   /* WORK_PIPE: to read from, to write to */
	u32 *futex, first; /* WORK_FUTEX: the shared word; which of the pair moves first */
	volatile int cpu;  /* where it last ran */
	volatile bool done;
	volatile u64 last, max_gap; /* ns: when it last got on, and its longest pause before that */
	volatile u64 rounds;
	volatile u64 wakeups, late; /* WORK_SLEEP: how often, and ns that it got on too late */
};

void *shared_memory(size_t size);
bool load_init(void);
struct worker *load_spawn(const struct spec *spec);
bool load_spawn_pair(enum work work, int cpu, int other_cpu);
void load_spawn_hogs(int count, int nice, int cpu, int group);
bool load_end(void);
int load_count(void);
struct worker *load_worker(int i);
u64 load_cpu_ns(const struct worker *w);
double load_wait_ms(const struct worker **who);
bool load_watch(u32 ms);
bool load_all_move(void);
const char *load_name(const struct worker *w);
void load_reset_waits(void);
void load_be_patient(u32 factor);
u32 load_patience_ms(void);

extern int target_group, capped_group; /* file descriptors of cgroups */
extern u64 target_id;

/* ---- workers.c: what the processes do ------------------------------------------ */

void worker_run(struct worker *w) __attribute__((noreturn));

/* ---- the checks ----------------------------------------------------------------- */

struct check {
	const char *name;
	void (*run)(struct outcome *out);
};

extern const struct check kernel_checks[], dynamic_checks[];
extern const int nr_kernel_checks, nr_dynamic_checks;

void check_load(struct outcome *out);
void check_load_extremes(struct outcome *out);
void check_attach(struct outcome *out);
void check_settle(struct outcome *out);
void check_runnable(struct outcome *out);
void check_fork_storm(struct outcome *out);
void check_nice_mix(struct outcome *out);
void check_pinned(struct outcome *out);
void check_affinity_churn(struct outcome *out);
void check_hotplug(struct outcome *out);
void check_realtime(struct outcome *out);
void check_cpu_max(struct outcome *out);
void check_shares(struct outcome *out);
void check_wakeups(struct outcome *out);
void check_latency(struct outcome *out);
void check_throughput(struct outcome *out);
void check_detach(struct outcome *out);
void check_reattach(struct outcome *out);
void check_exit_kind(struct outcome *out);

void measure_baselines(void);
void judge_waits(struct outcome *out);

/* ---- small things (init.c) -------------------------------------------------------- */

u64 now_ns(void);
void sleep_ms(u32 ms);
bool read_text(const char *path, char *text, size_t size);
bool write_text(const char *path, const char *text);
bool set_cap(bool on);

#endif /* TRIAL_H */
