// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Requests that are handed to worker threads, with the documented semantics of schbench: message
 * threads wake their workers; a woken worker thinks (sleeps) and then multiplies matrices of
 * integers under the lock of the CPU it runs on, a spinlock, so that a worker that loses its CPU in
 * there makes the next one on that CPU burn its time.
 *
 * messages -m MESSAGE_THREADS -t WORKERS_OF_EACH -r SECONDS
 *	[-F KB of matrices a worker] [-n multiplications a request] [-s think time in us]
 *
 * Prints requests per second, the request latency (from the wakeup having arrived to the work being
 * done) and the wakeup latency (from being woken to running), in microseconds.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <linux/futex.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "timing.h"

#define MOST_THREADS 1024

enum {
	IDLE,
	WAITING,
	WOKEN
};

struct cpu_lock {
	_Alignas(64) atomic_flag taken;
};

struct messenger;

struct worker {
	_Alignas(64) atomic_int state; /* futex */
	uint64_t woken_at;
	struct messenger *from;
	unsigned long *matrices;
	struct histogram requests, wakeups;
	pthread_t thread;
};

struct messenger {
	_Alignas(64) atomic_int calls; /* futex: workers that have asked since the last look */
	struct worker *workers;
	pthread_t thread;
};

static int messengers = 1, workers_of_each = 4, run_s = 10, footprint_kb = 256, multiplications = 5;
static int think_us = 100, side;
static struct cpu_lock *locks;
static atomic_bool over, measuring;

static void sleep_on(atomic_int *word, int value)
{
	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void wake(atomic_int *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* Take the lock of the CPU that this thread is on when it has it. */
static struct cpu_lock *lock_this_cpu(void)
{
	for (;;) {
		int cpu = sched_getcpu();
		struct cpu_lock *lock = &locks[cpu];

		while (atomic_flag_test_and_set_explicit(&lock->taken, memory_order_acquire))
			__builtin_ia32_pause();
		if (sched_getcpu() == cpu)
			return lock;
		atomic_flag_clear_explicit(&lock->taken, memory_order_release);
	}
}

static void multiply(const unsigned long *left, const unsigned long *right, unsigned long *out)
{
	for (int row = 0; row < side; row++)
		for (int column = 0; column < side; column++) {
			unsigned long sum = 0;

			for (int i = 0; i < side; i++)
				sum += left[row * side + i] * right[i * side + column];
			out[row * side + column] = sum;
		}
}

static void serve(struct worker *me)
{
	size_t cells = (size_t)side * side;
	struct cpu_lock *lock;

	usleep(think_us);
	lock = lock_this_cpu();
	for (int i = 0; i < multiplications; i++)
		multiply(me->matrices, me->matrices + cells, me->matrices + 2 * cells);
	atomic_flag_clear_explicit(&lock->taken, memory_order_release);
}

static void *work(void *argument)
{
	struct worker *me = argument;

	while (!over) {
		uint64_t began;

		atomic_store(&me->state, WAITING);
		atomic_fetch_add(&me->from->calls, 1);
		wake(&me->from->calls);
		while (atomic_load(&me->state) == WAITING && !over)
			sleep_on(&me->state, WAITING);
		if (over)
			break;
		began = now_ns();
		if (measuring)
			add_time(&me->wakeups, began - me->woken_at);
		serve(me);
		if (measuring)
			add_time(&me->requests, now_ns() - began);
	}
	return NULL;
}

/* Wake every worker that has asked, as long as one has; sleep when none has. */
static void *hand_out(void *argument)
{
	struct messenger *me = argument;

	while (!over) {
		int calls = atomic_exchange(&me->calls, 0);

		if (!calls) {
			sleep_on(&me->calls, 0);
			continue;
		}
		for (int i = 0; i < workers_of_each; i++) {
			struct worker *worker = &me->workers[i];

			if (atomic_load(&worker->state) != WAITING)
				continue;
			worker->woken_at = now_ns();
			atomic_store(&worker->state, WOKEN);
			wake(&worker->state);
		}
	}
	return NULL;
}

static void *zeroed(size_t count, size_t size)
{
	size_t bytes = (count * size + 63) / 64 * 64;
	void *memory = aligned_alloc(64, bytes);

	if (!memory)
		err(1, "memory");
	return __builtin_memset(memory, 0, bytes);
}

static int number(const char *text, int most)
{
	char *end;
	long value = strtol(text, &end, 10);

	if (*end || value < 1 || value > most)
		errx(2, "not a number from 1 to %d: %s", most, text);
	return value;
}

static void parse(int argc, char **argv)
{
	int option;

	while ((option = getopt(argc, argv, "m:t:r:F:n:s:")) != -1)
		switch (option) {
		case 'm':
			messengers = number(optarg, MOST_THREADS);
			break;
		case 't':
			workers_of_each = number(optarg, MOST_THREADS);
			break;
		case 'r':
			run_s = number(optarg, 86400);
			break;
		case 'F':
			footprint_kb = number(optarg, 1 << 20);
			break;
		case 'n':
			multiplications = number(optarg, 1 << 20);
			break;
		case 's':
			think_us = number(optarg, 999999);
			break;
		default:
			errx(2, "usage: messages -m N -t N -r SECONDS [-F KB] [-n N] [-s US]");
		}
	if (optind != argc)
		errx(2, "no argument expected: %s", argv[optind]);
	side = sqrt(footprint_kb * 1024.0 / (3 * sizeof(unsigned long)));
}

static void start(pthread_t *thread, void *(*function)(void *), void *argument)
{
	errno = pthread_create(thread, NULL, function, argument);
	if (errno)
		err(1, "pthread_create");
}

static void start_all(struct messenger *all, struct worker *workers)
{
	size_t cells = (size_t)side * side * 3;

	for (int m = 0; m < messengers; m++) {
		all[m].workers = workers + (size_t)m * workers_of_each;
		for (int w = 0; w < workers_of_each; w++) {
			struct worker *worker = &all[m].workers[w];

			worker->from = &all[m];
			worker->matrices = zeroed(cells, sizeof(unsigned long));
			for (size_t i = 0; i < cells; i++)
				worker->matrices[i] = i % 7;
			start(&worker->thread, work, worker);
		}
		start(&all[m].thread, hand_out, &all[m]);
	}
}

static void stop_all(struct messenger *all)
{
	over = true;
	for (int m = 0; m < messengers; m++) {
		atomic_fetch_add(&all[m].calls, 1);
		wake(&all[m].calls);
		pthread_join(all[m].thread, NULL);
		for (int w = 0; w < workers_of_each; w++) {
			atomic_store(&all[m].workers[w].state, WOKEN);
			wake(&all[m].workers[w].state);
			pthread_join(all[m].workers[w].thread, NULL);
		}
	}
}

int main(int argc, char **argv)
{
	static struct histogram requests, wakeups;
	struct messenger *all;
	struct worker *workers;
	uint64_t began;
	double took;
	int count;

	parse(argc, argv);
	count = messengers * workers_of_each;
	locks = zeroed(sysconf(_SC_NPROCESSORS_CONF), sizeof(*locks));
	all = zeroed(messengers, sizeof(*all));
	workers = zeroed(count, sizeof(*workers));
	start_all(all, workers);
	began = now_ns();
	measuring = true;
	sleep(run_s);
	measuring = false;
	took = (now_ns() - began) / 1e9;
	stop_all(all);
	for (int i = 0; i < count; i++) {
		add_all(&requests, &workers[i].requests);
		add_all(&wakeups, &workers[i].wakeups);
	}
	printf("{\"seconds\": %.3f, \"requests\": %lu, \"requests_per_s\": %.2f, ", took,
	       requests.total, requests.total / took);
	print_times("request_us", &requests);
	printf(", ");
	print_times("wakeup_us", &wakeups);
	printf("}\n");
	return 0;
}
