// SPDX-License-Identifier: GPL-2.0-or-later
/* The first process of the machine: sets it up, runs the checks, powers it off. */
#include "trial.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PRIORITY 50
#define FAILURES_MAX 3
#define SETTLE_MS 100
#define GROUPS "/sys/fs/cgroup/"

u64 now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

void sleep_ms(u32 ms)
{
	struct timespec time = { .tv_sec = ms / MS_PER_S, .tv_nsec = ms % MS_PER_S * NS_PER_MS };

	nanosleep(&time, NULL);
}

/* The text of a small file without its line end. */
bool read_text(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t length = fd < 0 ? -1 : read(fd, text, size - 1);

	if (fd >= 0)
		close(fd);
	text[length > 0 ? length : 0] = 0;
	text[strcspn(text, "\n")] = 0;
	return length >= 0;
}

bool write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t done = fd < 0 ? -1 : write(fd, text, strlen(text));

	if (fd >= 0)
		close(fd);
	return done == (ssize_t)strlen(text);
}

static void mount_all(void)
{
	static const char *const mounts[][2] = {
		{ "proc", "/proc" },
		{ "sysfs", "/sys" },
		{ "devtmpfs", "/dev" },
		{ "cgroup2", "/sys/fs/cgroup" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(mounts); i++) {
		mkdir(mounts[i][1], 0755);
		mount(mounts[i][0], mounts[i][1], mounts[i][0], 0, NULL);
	}
}

static int make_group(const char *path, u64 *id)
{
	struct stat about;
	int fd;

	mkdir(path, 0755);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0 && id && !fstat(fd, &about))
		*id = about.st_ino;
	return fd;
}

/* Limit the capped cgroup to a fifth of a CPU, or lift that. */
bool set_cap(bool on)
{
	return write_text(GROUPS "capped/cpu.max", on ? "20000 100000" : "max 100000");
}

static const char *make_groups(void)
{
	if (!write_text(GROUPS "cgroup.subtree_control", "+cpu"))
		return "this kernel has no CPU controller for cgroups";
	target_group = make_group(GROUPS "target", &target_id);
	capped_group = make_group(GROUPS "capped", NULL);
	if (target_group < 0 || capped_group < 0)
		return "cgroups cannot be made";
	if (!set_cap(true))
		return "this kernel has no cpu.max";
	return NULL;
}

/* Why the trial cannot be held here, or NULL. */
static const char *set_up(void)
{
	struct sched_param param = { .sched_priority = PRIORITY };
	char state[32];

	if (!conf_read("/trial.conf"))
		return "the trial was not told what to do";
	if (!read_text("/sys/kernel/sched_ext/state", state, sizeof(state)))
		return "this kernel has no sched_ext";
	if (sysconf(_SC_NPROCESSORS_ONLN) != CPUS)
		return "the machine has not the number of CPUs that the trial needs";
	/* Without the reset every process it starts would be real-time as well. */
	if (sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &param))
		return "the trial cannot become real-time";
	if (!load_init())
		return "there is not enough memory";
	return make_groups();
}

/* What the kernel did to the policy outweighs what the check saw of it. */
static void note_ejection(struct outcome *out)
{
	if (!policy_gone())
		return;
	out->passed = out->timing = false;
	say(out, "the kernel ejected it: %s", policy_exit_text());
}

/* Get rid of everything that a failed check left behind; false when it cannot go on. */
static bool recover(void)
{
	struct outcome out;

	policy_detach(NULL);
	return load_end() && policy_attach(&out) && policy_settle(SETTLE_MS, &out);
}

/* The host may be busier than it was: what the policy is compared with is measured again. */
static bool renew_baselines(void)
{
	policy_detach(NULL);
	measure_baselines();
	return recover();
}

static void run_check(const struct check *check, bool settled, struct outcome *out)
{
	for (int attempt = 0; attempt < 2; attempt++) {
		if (attempt && settled && out->baseline > 0 && !renew_baselines())
			return;
		memset(out, 0, sizeof(*out));
		check->run(out);
		if (settled)
			note_ejection(out);
		if (!load_end()) {
			out->timing = false;
			if (out->passed)
				say(out, "a task cannot be ended, because it gets no CPU");
			out->passed = false;
		}
		if (out->passed || !out->timing)
			return;
	}
}

static bool run_kernel_stage(void)
{
	struct outcome out;

	for (int i = 0; i < nr_kernel_checks; i++) {
		report_begin("kernel", kernel_checks[i].name);
		run_check(&kernel_checks[i], false, &out);
		report_check("kernel", kernel_checks[i].name, &out);
		if (!out.passed)
			return false;
	}
	return true;
}

/* An ejection ends the trial, and is a failure of its own. */
static void report_ejection(const struct outcome *found)
{
	struct outcome out = { .unit = "kind", .figure = policy_exit_kind(), .bound = EXIT_UNREG };

	memcpy(out.message, found->message, sizeof(out.message));
	report_check("dynamic", "exit-kind", &out);
}

static void run_dynamic_stage(void)
{
	struct outcome out;
	int failures = 0;

	for (int i = 0; i < nr_dynamic_checks; i++) {
		report_begin("dynamic", dynamic_checks[i].name);
		run_check(&dynamic_checks[i], true, &out);
		report_check("dynamic", dynamic_checks[i].name, &out);
		if (out.passed)
			continue;
		if (policy_gone()) {
			report_ejection(&out);
			return;
		}
		if (++failures == FAILURES_MAX || !policy_attached() || !recover())
			return;
	}
}

int main(void)
{
	const char *trouble;

	mount_all();
	if (report_open("/dev/ttyS1")) {
		report_hello();
		trouble = set_up();
		if (trouble) {
			report_broken(trouble);
		} else {
			report_begin("kernel", "baseline");
			measure_baselines();
			if (run_kernel_stage())
				run_dynamic_stage();
		}
		report_end();
	}
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}
