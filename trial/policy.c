// SPDX-License-Identifier: GPL-2.0-or-later
/* The policy under trial, handled as the daemon's loader does. */
#include "trial.h"

#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOG_SIZE (2 << 20)
#define SAID_SIZE 8192
#define LEAVE_MS 2000
/* A policy that goes by itself may be slow about it: that is for the check of detaching. */
#define EJECT_MS 8000
#define POLL_MS 5
#define TARGET_LEVEL 1

/* struct sx_exit_rec of the policies' header. */
struct exit_record {
	volatile int32_t kind;
	int32_t cpu;
	int64_t code;
	u64 flags, seq;
	char reason[64], msg[512];
};

static struct {
	struct bpf_object *object;
	struct bpf_map *ops;
	struct exit_record *record;
} policy;

static struct bpf_link *held;
static char *log_text, said[SAID_SIZE];
static char exit_text[MESSAGE_MAX];

static int on_print(enum libbpf_print_level level, const char *format, va_list args)
{
	size_t used = strlen(said);

	if (level == LIBBPF_DEBUG)
		return 0;
	return vsnprintf(said + used, sizeof(said) - used, format, args);
}

static const void *read_object(size_t *size)
{
	int fd = open("/policy.o", O_RDONLY | O_CLOEXEC);
	struct stat about;
	char *data;

	if (fd < 0 || fstat(fd, &about))
		return NULL;
	data = malloc(about.st_size);
	*size = about.st_size;
	if (data && read(fd, data, about.st_size) != about.st_size)
		data = NULL;
	close(fd);
	return data;
}

static u64 value_of(const struct constant *c, enum values values)
{
	if (values == VALUES_LOW)
		return c->low;
	if (values == VALUES_HIGH)
		return c->high;
	if (c->role == ROLE_TARGET_ID)
		return target_id;
	return c->role == ROLE_TARGET_LEVEL ? TARGET_LEVEL : c->initial;
}

static bool set_constants(enum values values, struct outcome *out)
{
	struct bpf_map *map = bpf_object__find_map_by_name(policy.object, ".rodata");
	size_t size = 0;
	char *area = map ? bpf_map__initial_value(map, &size) : NULL;

	for (int i = 0; i < conf.nr_constants; i++) {
		const struct constant *c = &conf.constants[i];
		u64 value = value_of(c, values);

		if (!area || c->offset > size || c->size > size - c->offset) {
			say(out, "it has no constants, though its card has tunables");
			return false;
		}
		memcpy(area + c->offset, &value, c->size);
	}
	return true;
}

static bool kernel_has(const struct btf *btf, const char *name)
{
	int id = btf__find_by_name_kind(btf, "sched_ext_ops", BTF_KIND_STRUCT);
	const struct btf_type *ops = id < 0 ? NULL : btf__type_by_id(btf, id);

	for (int i = 0; ops && i < btf_vlen(ops); i++) {
		if (!strcmp(btf__name_by_offset(btf, btf_members(ops)[i].name_off), name))
			return true;
	}
	return false;
}

/* The kernel's types are read once: that takes longer than all the rest. */
static void leave_out_unknown(char *area, size_t size)
{
	static struct btf *btf;

	if (conf.nr_optional && !btf)
		btf = btf__load_vmlinux_btf();
	for (int i = 0; btf && i < conf.nr_optional; i++) {
		const struct optional *o = &conf.optional[i];

		if (o->offset <= size - sizeof(void *) && !kernel_has(btf, o->name))
			memset(area + o->offset, 0, sizeof(void *));
	}
}

static bool set_ops(struct outcome *out)
{
	struct bpf_map *map;
	size_t size = 0;
	char *area;

	policy.ops = NULL;
	bpf_object__for_each_map(map, policy.object)
	{
		if (bpf_map__type(map) != BPF_MAP_TYPE_STRUCT_OPS)
			continue;
		if (policy.ops) {
			say(out, "it has more than one struct_ops map");
			return false;
		}
		policy.ops = map;
	}
	area = policy.ops ? bpf_map__initial_value(policy.ops, &size) : NULL;
	if (!area || size < sizeof(u32) || conf.timeout_offset > size - sizeof(u32)) {
		say(out, "it has no struct_ops map that libbpf can set up");
		return false;
	}
	memcpy(area + conf.timeout_offset, &conf.timeout_ms, sizeof(u32));
	leave_out_unknown(area, size);
	return true;
}

static bool open_object(struct outcome *out)
{
	static const void *data;
	static size_t size;
	LIBBPF_OPTS(bpf_object_open_opts, opts, .object_name = "trial");

	if (!log_text)
		log_text = malloc(LOG_SIZE);
	if (!data)
		data = read_object(&size);
	said[0] = 0;
	libbpf_set_print(on_print);
	log_text[0] = 0;
	opts.kernel_log_buf = log_text;
	opts.kernel_log_size = LOG_SIZE;
	policy.object = data ? bpf_object__open_mem(data, size, &opts) : NULL;
	if (policy.object)
		return true;
	said[strcspn(said, "\n")] = 0;
	say(out, "libbpf cannot open it: %s", said[0] ? said : strerror(errno));
	return false;
}

/* The lines of a verifier's log that only tell of its work. */
static bool is_noise(const char *text)
{
	static const char *const starts[] = { "processed ", "max_states_per_insn",
					      "verification time", "stack depth", "mark_precise" };

	for (size_t i = 0; i < ARRAY_SIZE(starts); i++) {
		if (!strncmp(text, starts[i], strlen(starts[i])))
			return true;
	}
	return !*text;
}

/* Since Linux 7.3 the log may end with a diagnosis, in which the reason has its own paragraph. */
static char *paragraph(char *log)
{
	char *start = strstr(log, "\nReason:\n"), *end;

	if (!start)
		return NULL;
	start += strlen("\nReason:\n");
	start += strspn(start, " ");
	end = strstr(start, "\n\n");
	if (end)
		*end = 0;
	for (end = start; (end = strchr(end, '\n'));)
		*end = ' ';
	return start;
}

static const char *last_words(char *log)
{
	char *reason = paragraph(log), *last = NULL, *next;

	if (reason)
		return reason;
	for (char *text = strtok_r(log, "\n", &next); text; text = strtok_r(NULL, "\n", &next)) {
		text += strspn(text, " ");
		if (!is_noise(text))
			last = text;
	}
	return last;
}

/* Open, set up, verify and load. */
bool policy_load(enum values values, struct outcome *out)
{
	const char *words;
	int err;

	if (!open_object(out) || !set_ops(out) || !set_constants(values, out))
		return false;
	err = bpf_object__load(policy.object);
	if (!err) {
		struct bpf_map *map = bpf_object__find_map_by_name(policy.object, ".data.sxexit");
		size_t size = 0;

		policy.record = map ? bpf_map__initial_value(map, &size) : NULL;
		if (policy.record && size >= sizeof(*policy.record))
			return true;
		say(out, "it has no exit record, so nobody could say why it left");
		return false;
	}
	words = last_words(log_text);
	said[strcspn(said, "\n")] = 0;
	say(out, "the kernel refused it: %s", words ? words : said[0] ? said : strerror(-err));
	return false;
}

static void policy_close(void)
{
	bpf_object__close(policy.object);
	memset(&policy, 0, sizeof(policy));
}

/* Whether it can be loaded with other values, too; the one that is loaded stays. */
bool policy_try(enum values values, struct outcome *out)
{
	typeof(policy) kept = policy;
	bool taken;

	memset(&policy, 0, sizeof(policy));
	taken = policy_load(values, out);
	policy_close();
	policy = kept;
	return taken;
}

static const char *attach_reason(int err)
{
	switch (err) {
	case E2BIG:
		return "its timeout or its batch of dispatches is larger than the kernel allows";
	case EINVAL:
		return "the kernel found its ops invalid";
	case EBUSY:
		return "another scheduler is attached";
	}
	return strerror(err);
}

bool policy_attach(struct outcome *out)
{
	policy.record->kind = 0;
	held = bpf_map__attach_struct_ops(policy.ops);
	if (held)
		return true;
	say(out, "it cannot be attached: %s", attach_reason(errno));
	return false;
}

static bool runs(void)
{
	char state[32] = "", name[64] = "";

	return read_text("/sys/kernel/sched_ext/state", state, sizeof(state)) &&
	       !strcmp(state, "enabled") &&
	       read_text("/sys/kernel/sched_ext/root/ops", name, sizeof(name)) &&
	       !strcmp(name, conf.name);
}

bool policy_attached(void)
{
	return held;
}

/* Whether the kernel has let go of a policy that we hold. */
bool policy_gone(void)
{
	char state[32] = "";

	if (!held)
		return false;
	if (policy.record->kind)
		return true;
	return read_text("/sys/kernel/sched_ext/state", state, sizeof(state)) &&
	       strcmp(state, "enabled");
}

static void await_record(u32 ms)
{
	for (u64 end = now_ns() + ms * NS_PER_MS; !policy.record->kind && now_ns() < end;) {
		report_beat_if_due();
		sleep_ms(POLL_MS);
	}
}

/* A policy whose init fails is attached all the same: only watching it shows whether it stays. */
bool policy_settle(u32 ms, struct outcome *out)
{
	for (u64 end = now_ns() + ms * NS_PER_MS; now_ns() < end && !policy.record->kind;)
		sleep_ms(POLL_MS);
	if (!policy.record->kind && runs())
		return true;
	await_record(LEAVE_MS);
	say(out, "it did not stay: %s", policy_exit_text());
	return false;
}

static bool wait_disabled(void)
{
	char state[32] = "";

	for (u64 end = now_ns() + LEAVE_MS * NS_PER_MS; now_ns() < end; sleep_ms(1)) {
		read_text("/sys/kernel/sched_ext/state", state, sizeof(state));
		if (!strcmp(state, "disabled"))
			return true;
	}
	return false;
}

/* Give the machine back to the kernel's own scheduler, and tell how long that took. */
bool policy_detach(double *ms)
{
	u64 start = now_ns();
	bool left;

	if (!held)
		return true;
	/* A forked process that has not run yet still has a copy of the link: closing is not enough. */
	bpf_link__detach(held);
	bpf_link__destroy(held);
	held = NULL;
	left = wait_disabled();
	if (ms)
		*ms = (double)(now_ns() - start) / NS_PER_MS;
	await_record(LEAVE_MS);
	return left;
}

int policy_exit_kind(void)
{
	return policy.record->kind;
}

u64 policy_exit_code(void)
{
	return policy.record->code;
}

const char *policy_exit_text(void)
{
	await_record(EJECT_MS);
	if (policy.record->kind)
		snprintf(exit_text, sizeof(exit_text), "exit kind %d, code %#llx: %.60s: %.250s",
			 policy.record->kind, (unsigned long long)policy.record->code,
			 policy.record->reason,
			 policy.record->msg[0] ? policy.record->msg : "(no message)");
	else
		snprintf(exit_text, sizeof(exit_text), "it does not run and left no exit record");
	return exit_text;
}
