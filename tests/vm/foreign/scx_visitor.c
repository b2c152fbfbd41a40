// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A scheduler of somebody else, as far as schedcp can tell: a program that loads a BPF object with
 * libbpf, under a name of its own, and holds it until it is asked to end.
 */
#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#define FAIR "/usr/lib/schedcp/schedulers/scx_fair/scx_fair.bpf.o"
#define STALL "/usr/local/lib/scx_visitor/scx_stall.bpf.o"

static volatile sig_atomic_t asked;

static void end(int signal)
{
	(void)signal;
	asked = true;
}

static _Noreturn void fail(const char *what)
{
	perror(what);
	exit(1);
}

static struct bpf_map *find_ops(struct bpf_object *object)
{
	struct bpf_map *map = bpf_object__next_map(object, NULL);

	while (map && bpf_map__type(map) != BPF_MAP_TYPE_STRUCT_OPS)
		map = bpf_object__next_map(object, map);
	if (!map)
		fail("no struct_ops map");
	return map;
}

/* Where struct sched_ext_ops has its name. */
static size_t name_offset(const struct btf *btf)
{
	int id = btf__find_by_name_kind(btf, "sched_ext_ops", BTF_KIND_STRUCT);
	const struct btf_type *type = btf__type_by_id(btf, id);
	const struct btf_member *member = btf_members(type);

	for (unsigned int index = 0; index < btf_vlen(type); index++, member++) {
		if (!strcmp(btf__name_by_offset(btf, member->name_off), "name"))
			return btf_member_bit_offset(type, index) / 8;
	}
	fail("no name");
}

static struct bpf_link *attach(const char *path, int level)
{
	struct bpf_object *object = bpf_object__open_file(path, NULL);
	struct bpf_link *link;
	struct bpf_map *ops;
	size_t size;
	char *value;

	if (!object)
		fail(path);
	ops = find_ops(object);
	value = bpf_map__initial_value(ops, &size);
	snprintf(value + name_offset(bpf_object__btf(object)), 64, "visitor_1.0_%d", level);
	if (bpf_object__load(object))
		fail("load");
	link = bpf_map__attach_struct_ops(ops);
	if (!link)
		fail("attach");
	return link;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "level", required_argument, NULL, 'l' },
		{ "object", required_argument, NULL, 'o' },
		{ "deaf", no_argument, NULL, 'd' },
		{},
	};
	const char *path = FAIR;
	struct bpf_link *link;
	bool deaf = false;
	int option, level = 0;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'l':
			level = atoi(optarg);
			break;
		case 'o':
			path = strcmp(optarg, "stall") ? FAIR : STALL;
			break;
		case 'd':
			deaf = true;
			break;
		default:
			return 2;
		}
	}
	signal(SIGINT, deaf ? SIG_IGN : end);
	link = attach(path, level);
	printf("visitor attached at level %d\n", level);
	fflush(stdout);
	while (!asked)
		pause();
	bpf_link__destroy(link);
	return 0;
}
