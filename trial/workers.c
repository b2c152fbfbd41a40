// SPDX-License-Identifier: GPL-2.0-or-later
/* What the processes under the policy do; they write down how they get on. */
#include "trial.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define STEP_SPINS 20000
#define STORM_CHILDREN 40
#define STORM_AT_ONCE 6
#define REALTIME_MS 90
#define REALTIME_PAUSE_MS 10
#define CPU_SWITCH "/sys/devices/system/cpu/cpu1/online"

static volatile u64 sink;

/* About 0.1 ms of work under emulation. */
static void spin(void)
{
	u64 x = sink;

	for (int i = 0; i < STEP_SPINS; i++)
		x = x * 6364136223846793005ULL + 1442695040888963407ULL;
	sink = x;
}

static void got_on(struct worker *w)
{
	u64 now = now_ns(), gap = now - w->last;

	if (now > w->last && gap > w->max_gap)
		w->max_gap = gap;
	w->last = now;
	w->cpu = sched_getcpu();
	w->rounds++;
}

static void hog(struct worker *w)
{
	for (;;) {
		spin();
		got_on(w);
	}
}

static void sleeper(struct worker *w)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	for (;;) {
		u64 due;

		at.tv_nsec += SLEEP_NS;
		if (at.tv_nsec >= 1000000000) {
			at.tv_nsec -= 1000000000;
			at.tv_sec++;
		}
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
		due = at.tv_sec * 1000000000ULL + at.tv_nsec;
		w->late += now_ns() - due;
		w->wakeups++;
		got_on(w);
		clock_gettime(CLOCK_MONOTONIC, &at);
	}
}

static void pipe_pair(struct worker *w)
{
	char byte = 0;

	if (!w->first && write(w->fds[1], &byte, 1) != 1)
		return;
	while (read(w->fds[0], &byte, 1) == 1) {
		got_on(w);
		if (write(w->fds[1], &byte, 1) != 1)
			return;
	}
}

static void futex_pair(struct worker *w)
{
	for (;;) {
		u32 value = __atomic_load_n(w->futex, __ATOMIC_SEQ_CST);

		if (value % 2 != w->first) {
			syscall(SYS_futex, w->futex, FUTEX_WAIT, value, NULL, NULL, 0);
			continue;
		}
		got_on(w);
		__atomic_store_n(w->futex, value + 1, __ATOMIC_SEQ_CST);
		syscall(SYS_futex, w->futex, FUTEX_WAKE, 1, NULL, NULL, 0);
	}
}

static void storm(struct worker *w)
{
	int running = 0;

	for (int started = 0; started < STORM_CHILDREN || running;) {
		pid_t pid;

		if (started < STORM_CHILDREN && running < STORM_AT_ONCE) {
			pid = fork();
			if (!pid) {
				for (int i = 0; i < 5; i++)
					spin();
				_exit(0);
			}
			started++;
			running += pid > 0;
			continue;
		}
		wait(NULL);
		running--;
		got_on(w);
	}
}

static void change(int round)
{
	struct sched_param none = { .sched_priority = 0 }, fifo = { .sched_priority = 1 };
	cpu_set_t cpus;

	switch (round % 8) {
	case 0:
	case 4:
		CPU_ZERO(&cpus);
		CPU_SET(round / 4 % CPUS, &cpus);
		sched_setaffinity(0, sizeof(cpus), &cpus);
		break;
	case 1:
		sched_setscheduler(0, SCHED_FIFO, &fifo);
		break;
	case 2:
		sched_setscheduler(0, SCHED_OTHER, &none);
		break;
	case 3:
		setpriority(PRIO_PROCESS, 0, 10);
		break;
	case 5:
		setpriority(PRIO_PROCESS, 0, 0);
		break;
	case 6:
		sched_setscheduler(0, SCHED_BATCH, &none);
		break;
	case 7:
		CPU_ZERO(&cpus);
		for (int cpu = 0; cpu < CPUS; cpu++)
			CPU_SET(cpu, &cpus);
		sched_setaffinity(0, sizeof(cpus), &cpus);
		sched_setscheduler(0, SCHED_OTHER, &none);
		break;
	}
}

static void churn(struct worker *w)
{
	for (int round = 0;; round++) {
		change(round);
		spin();
		got_on(w);
	}
}

/*
 * Reading stat_refresh makes a worker thread of every CPU run, and waits for all
 * of them; a global membarrier waits for the kernel's RCU thread.
 */
static void kthreads(struct worker *w)
{
	char text[16];
	int fd;

	for (;;) {
		fd = open("/proc/sys/vm/stat_refresh", O_RDONLY | O_CLOEXEC);
		if (fd < 0 || read(fd, text, sizeof(text)) < 0)
			return;
		close(fd);
		syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0);
		got_on(w);
		sleep_ms(5);
	}
}

static void realtime(struct worker *w)
{
	for (;;) {
		for (u64 end = now_ns() + REALTIME_MS * NS_PER_MS; now_ns() < end;)
			spin();
		sleep_ms(REALTIME_PAUSE_MS);
		got_on(w);
	}
}

void worker_run(struct worker *w)
{
	switch (w->spec.work) {
	case WORK_HOG:
		hog(w);
		break;
	case WORK_SLEEP:
		sleeper(w);
		break;
	case WORK_PIPE:
		pipe_pair(w);
		break;
	case WORK_FUTEX:
		futex_pair(w);
		break;
	case WORK_STORM:
		storm(w);
		break;
	case WORK_CHURN:
		churn(w);
		break;
	case WORK_KTHREADS:
		kthreads(w);
		break;
	case WORK_REALTIME:
		realtime(w);
		break;
	case WORK_OFFLINE:
		write_text(CPU_SWITCH, "0");
		break;
	case WORK_ONLINE:
		write_text(CPU_SWITCH, "1");
		break;
	}
	w->done = true;
	_exit(0);
}
