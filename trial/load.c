// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The processes that the policy has to schedule.  The trial itself is SCHED_FIFO
 * and never waits for one of them without a deadline; what it knows of them it
 * reads from memory that they share.
 */
#include "trial.h"

#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define POLL_MS 5
#define END_MS 1500

static struct worker *workers;
static u32 *futexes;
static int count;
static u32 patience_ms;

int target_group = NO_GROUP, capped_group = NO_GROUP;
u64 target_id;

/* Memory that forked processes share with this one. */
void *shared_memory(size_t size)
{
	void *area = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return area == MAP_FAILED ? NULL : area;
}

bool load_init(void)
{
	workers = shared_memory(sizeof(*workers) * WORKERS_MAX);
	futexes = shared_memory(sizeof(*futexes) * WORKERS_MAX);
	return workers && futexes;
}

int load_count(void)
{
	return count;
}

struct worker *load_worker(int i)
{
	return &workers[i];
}

static pid_t fork_into(int group)
{
	struct clone_args args = { .exit_signal = SIGCHLD };

	if (group != NO_GROUP) {
		args.flags = CLONE_INTO_CGROUP;
		args.cgroup = group;
	}
	return syscall(SYS_clone3, &args, sizeof(args));
}

/* The parent sets the child up: a child that never gets a CPU could not do it. */
static void set_up(const struct worker *w)
{
	struct sched_param param = { .sched_priority = 10 };
	cpu_set_t cpus;

	if (w->spec.cpu != ANY_CPU) {
		CPU_ZERO(&cpus);
		CPU_SET(w->spec.cpu, &cpus);
		sched_setaffinity(w->pid, sizeof(cpus), &cpus);
	}
	if (w->spec.nice)
		setpriority(PRIO_PROCESS, w->pid, w->spec.nice);
	if (w->spec.work == WORK_REALTIME)
		sched_setscheduler(w->pid, SCHED_FIFO, &param);
}

static struct worker *prepare(const struct spec *spec)
{
	struct worker *w = &workers[count];

	if (count == WORKERS_MAX)
		return NULL;
	memset(w, 0, sizeof(*w));
	w->spec = *spec;
	w->fds[0] = w->fds[1] = -1;
	w->cpu = -1;
	w->last = now_ns();
	count++;
	return w;
}

static void start(struct worker *w)
{
	pid_t pid = fork_into(w->spec.group);

	/* The child must not store it: they share this memory, and there it is 0. */
	if (!pid)
		worker_run(w);
	w->pid = pid;
	if (pid > 0)
		set_up(w);
}

struct worker *load_spawn(const struct spec *spec)
{
	struct worker *w = prepare(spec);

	if (w)
		start(w);
	return w;
}

void load_spawn_hogs(int n, int nice, int cpu, int group)
{
	struct spec spec = { .work = WORK_HOG, .nice = nice, .cpu = cpu, .group = group };

	for (int i = 0; i < n; i++)
		load_spawn(&spec);
}

/* Two processes that wake each other in turn. */
bool load_spawn_pair(enum work work, int cpu, int other_cpu)
{
	struct spec one = { .work = work, .cpu = cpu, .group = NO_GROUP };
	struct spec two = { .work = work, .cpu = other_cpu, .group = NO_GROUP };
	struct worker *a = prepare(&one), *b = prepare(&two);
	int there[2], back[2];

	if (!a || !b || pipe(there) || pipe(back))
		return false;
	a->fds[0] = back[0];
	a->fds[1] = there[1];
	b->fds[0] = there[0];
	b->fds[1] = back[1];
	a->futex = b->futex = &futexes[a - workers];
	*a->futex = 0;
	b->first = 1;
	start(a);
	start(b);
	for (int i = 0; i < 2; i++) {
		close(there[i]);
		close(back[i]);
	}
	return true;
}

/* End all of them; false when one cannot even die, because it never gets a CPU. */
bool load_end(void)
{
	u64 end = now_ns() + END_MS * NS_PER_MS;
	pid_t pid;

	count = 0;
	patience_ms = 0;
	/* To the first process of a machine this means every process but itself. */
	kill(-1, SIGKILL);
	while ((pid = waitpid(-1, NULL, WNOHANG)) >= 0 && now_ns() < end) {
		if (!pid)
			sleep_ms(1);
	}
	return pid < 0;
}

u64 load_cpu_ns(const struct worker *w)
{
	struct timespec used;
	clockid_t clock;

	if (clock_getcpuclockid(w->pid, &clock) || clock_gettime(clock, &used))
		return 0;
	return used.tv_sec * 1000000000ULL + used.tv_nsec;
}

static double worker_wait_ms(const struct worker *w)
{
	u64 pause = w->max_gap, now = now_ns(), last = w->last;

	if (!w->done && now > last && now - last > pause)
		pause = now - last;
	return (double)pause / NS_PER_MS;
}

/* The longest that one of them did not get on, and which. */
double load_wait_ms(const struct worker **who)
{
	double longest = 0;

	for (int i = 0; i < count; i++) {
		double wait = worker_wait_ms(&workers[i]);

		if (wait <= longest)
			continue;
		longest = wait;
		if (who)
			*who = &workers[i];
	}
	return longest;
}

void load_reset_waits(void)
{
	for (int i = 0; i < count; i++) {
		workers[i].max_gap = 0;
		workers[i].last = now_ns();
	}
}

/* Allow one check longer waits than others. */
void load_be_patient(u32 factor)
{
	patience_ms = factor * conf.max_wait_ms;
}

/* The longest that a task may wait now. */
u32 load_patience_ms(void)
{
	return patience_ms ?: conf.max_wait_ms;
}

static bool healthy(void)
{
	report_beat_if_due();
	return !policy_gone() && load_wait_ms(NULL) <= load_patience_ms();
}

/* Let them run; ends early when one waits too long or the policy is gone. */
bool load_watch(u32 ms)
{
	for (u64 end = now_ns() + ms * NS_PER_MS; now_ns() < end; sleep_ms(POLL_MS)) {
		if (!healthy())
			return false;
	}
	return healthy();
}

/*
 * Wait until each of them has got on once more.  A sound policy does that in no
 * time; one that has forgotten a task is found out after the longest wait allowed.
 */
bool load_all_move(void)
{
	u64 since = now_ns();
	bool moved = false;

	while (!moved) {
		moved = true;
		for (int i = 0; i < count; i++)
			moved &= workers[i].done || workers[i].last > since;
		if (!healthy())
			return false;
		if (!moved)
			sleep_ms(POLL_MS);
	}
	return true;
}

static const char *work_name(enum work work)
{
	switch (work) {
	case WORK_HOG:
		return "a CPU-bound task";
	case WORK_SLEEP:
		return "a task that sleeps and wakes up";
	case WORK_PIPE:
		return "a task woken through a pipe";
	case WORK_FUTEX:
		return "a task woken through a futex";
	case WORK_STORM:
		return "a task that forks, or a child of it,";
	case WORK_CHURN:
		return "a task that changes its affinity and class";
	case WORK_KTHREADS:
		return "a task that waits for kernel threads";
	case WORK_REALTIME:
		return "a real-time task";
	case WORK_OFFLINE:
	case WORK_ONLINE:
		return "the task that switches a CPU";
	}
	return "a task";
}

const char *load_name(const struct worker *w)
{
	static char name[128];
	int used = snprintf(name, sizeof(name), "%s", work_name(w->spec.work));

	if (w->spec.nice)
		used += snprintf(name + used, sizeof(name) - used, " of nice %d", w->spec.nice);
	if (w->spec.cpu != ANY_CPU)
		used += snprintf(name + used, sizeof(name) - used, " pinned to CPU %d",
				 w->spec.cpu);
	if (w->spec.group != NO_GROUP)
		snprintf(name + used, sizeof(name) - used, " in %s",
			 w->spec.group == target_group ? "the target cgroup"
						       : "a cgroup with cpu.max");
	return name;
}
