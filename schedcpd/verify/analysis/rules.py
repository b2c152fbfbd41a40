# SPDX-License-Identifier: GPL-2.0-or-later
"""The catalogue: what each rule catches, why it matters, an example, and how to mend it."""

from __future__ import annotations

from schedcpd.model import Rule, Severity

REJECT, SUSPECT, WARNING = Severity.REJECT, Severity.SUSPECT, Severity.WARNING


RULES: tuple[Rule, ...] = (
    Rule(
        "SCX001", "licence", REJECT,
        "A licence that does not start with GPL.",
        "The kernel lends most of its functions to GPL code only, and would refuse to load it.",
        'char _license[] SEC("license") = "Proprietary";',
        'Put char _license[] SEC("license") = "GPL"; into the source.',
    ),
    Rule(
        "SCX002", "one set of operations", REJECT,
        "A file that is no policy, is damaged, or does not have exactly one struct sched_ext_ops "
        "in .struct_ops.link.",
        "The daemon owns a policy by the link of its one set of operations; without a link "
        "nobody could take it off.",
        'SEC(".struct_ops") struct sched_ext_ops ops = { … };',
        'Define one struct sched_ext_ops, with SEC(".struct_ops.link").',
    ),
    Rule(
        "SCX003", "foreign program", REJECT,
        "A program that is no callback of a scheduler: tracing, kprobe, socket filter.",
        "A policy that also listens elsewhere in the kernel does more than to schedule.",
        'SEC("kprobe/do_sys_open") int spy(void *ctx) { … }',
        "Keep only struct_ops programs and the functions that they call.",
    ),
    Rule(
        "SCX004", "helper not allowed", REJECT,
        "A helper of BPF that schedules nothing: write user memory, send signals, override "
        "returns.",
        "These helpers change processes, not their schedule.",
        "bpf_send_signal(9);",
        "Leave the call out.",
    ),
    Rule(
        "SCX005", "kernel function not known", REJECT,
        "A kernel function that is not on the list of those that a scheduler needs.",
        "What is not known cannot be judged.",
        "bpf_crypto_encrypt(…);",
        "Use the functions of sched_ext and of cpumasks, tasks, cgroups, lists and trees.",
    ),
    Rule(
        "SCX006", "kernel function in the wrong callback", REJECT,
        "A function of sched_ext that the kernel does not allow in the callback that calls it.",
        "The kernel's verifier refuses it, with a much longer message.",
        "scx_bpf_dsq_move_to_local() in enqueue.",
        "Take tasks from queues in dispatch, create queues in init, and insert tasks in "
        "select_cpu, enqueue or dispatch.",
    ),
    Rule(
        "SCX007", "name", REJECT,
        "A name of the operations that the kernel refuses, or that is not the card's.",
        "People and tools must be able to tell which policy is attached.",
        '.name = "my scheduler!"',
        "Give .name the name of the card: letters, digits and underscores.",
    ),
    Rule(
        "SCX008", "watchdog", REJECT,
        "A timeout of the kernel's watchdog that is missing or not within 1 to 30000 ms.",
        "It is the last thing that ends a policy which lets a task starve.",
        ".timeout_ms = 60000",
        "Set timeout_ms in the card to at most 30000.",
    ),
    Rule(
        "SCX009", "flags", REJECT,
        "Flags that this kernel does not know, or SCX_OPS_ENQ_LAST without enqueue.",
        "The kernel refuses the policy, at the moment when it is to be attached.",
        ".flags = 1 << 40",
        "Use flags of enum scx_ops_flags, and SCX_OPS_ENQ_LAST only together with enqueue.",
    ),
    Rule(
        "SCX010", "exit record", REJECT,
        "No record of why the policy ended.",
        "Without it nobody can tell a fault from a farewell.",
        "no .exit, or one that does not call sx_record()",
        "Include scx_compat.bpf.h and call sx_record(ei) in the exit callback.",
    ),
    Rule(
        "SCX011", "card and object disagree", REJECT,
        "A tunable or counter of the card that the object does not have, or of another type.",
        "The loader sets tunables, and the daemon reads counters, by their names.",
        "[tunables.slice_ns] in the card, but no const volatile u64 slice_ns",
        "Make the card's tunables and counters those of the source.",
    ),
    Rule(
        "SCX012", "not offered by this kernel", REJECT,
        "A call of a function, or a use of a constant, that this kernel does not have.",
        "The kernel's verifier refuses it.",
        "scx_bpf_dsq_peek() without bpf_ksym_exists()",
        "Test with bpf_ksym_exists() or bpf_core_enum_value_exists(), and do without it.",
    ),
    Rule(
        "SCX101", "task lost in enqueue", REJECT,
        "A path through enqueue that does not queue the task anywhere.",
        "The task never runs again, until the watchdog ends the policy.",
        "if (p->flags & PF_KTHREAD) scx_bpf_dsq_insert(…); /* and the others? */",
        "Insert the task into a queue on every path; SCX_DSQ_GLOBAL is always right.",
    ),
    Rule(
        "SCX102", "task queued twice", REJECT,
        "A path that inserts the same task two times.",
        "The kernel ends the policy at once.",
        "scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, …); scx_bpf_dsq_insert(p, SCX_DSQ_LOCAL, …);",
        "Return after the first insert.",
    ),
    Rule(
        "SCX103", "queue that does not exist", REJECT,
        "An insert into a queue that nothing creates.",
        "The kernel ends the policy at once.",
        "scx_bpf_dsq_insert(p, 0x1234, …), but no scx_bpf_create_dsq(0x1234, …)",
        "Create the queue in init.",
    ),
    Rule(
        "SCX104", "queue never served", REJECT,
        "A queue that tasks are put in and that nothing takes tasks from.",
        "Its tasks never run.",
        "insert into MY_DSQ, but dispatch moves OTHER_DSQ only",
        "Take tasks from it in dispatch with scx_bpf_dsq_move_to_local().",
    ),
    Rule(
        "SCX105", "no dispatch", REJECT,
        "A policy with queues of its own but without a dispatch callback.",
        "The kernel serves only its built-in queues by itself.",
        "insert into MY_DSQ, and no .dispatch",
        "Add a dispatch callback that takes tasks from the queue.",
    ),
    Rule(
        "SCX106", "ordered insert into a built-in queue", REJECT,
        "An insert by virtual time into SCX_DSQ_LOCAL or SCX_DSQ_GLOBAL.",
        "Built-in queues have no order; the kernel ends the policy at once.",
        "scx_bpf_dsq_insert_vtime(p, SCX_DSQ_GLOBAL, …)",
        "Create a queue for it, or use scx_bpf_dsq_insert().",
    ),
    Rule(
        "SCX107", "misuse of a built-in queue", REJECT,
        "Taking tasks from a built-in queue, creating one, or naming a CPU that cannot be.",
        "Kernels end the policy at once; some older ones did not look.",
        "scx_bpf_dsq_move_to_local(SCX_DSQ_GLOBAL)",
        "Leave built-in queues to the kernel, and name only CPUs below scx_bpf_nr_cpu_ids().",
    ),
    Rule(
        "SCX108", "dispatch that tries nothing", SUSPECT,
        "A path through dispatch that looks into no queue.",
        "The CPU goes idle although tasks may be waiting.",
        "if (cpu != 0) return;",
        "Look into every queue that the CPU may serve before returning.",
    ),
    Rule(
        "SCX109", "queues in fixed order", SUSPECT,
        "Several queues that are always served in the same order.",
        "The last one starves while the first ones have tasks.",
        "move_to_local(HIGH) || move_to_local(LOW)",
        "Give each queue its turn, or let tasks grow older.",
    ),
    Rule(
        "SCX110", "queue served by some CPUs", SUSPECT,
        "A dispatch that does something on certain CPUs only.",
        "Tasks that may not run on those CPUs wait for ever.",
        "if (cpu == 0) scx_bpf_dsq_move_to_local(MY_DSQ);",
        "Let every CPU serve the queue, or give each CPU one of its own.",
    ),
    Rule(
        "SCX111", "own queue never drained", REJECT,
        "Tasks that are kept in a map, list or tree that dispatch takes nothing from.",
        "They never run.",
        "bpf_map_push_elem(&queue, &pid, 0) and no bpf_map_pop_elem()",
        "Take them out in dispatch and insert them into a queue.",
    ),
    Rule(
        "SCX201", "endless slice", REJECT,
        "A slice without end, in a policy that has no way to take the CPU away.",
        "One task that never sleeps has the CPU for good, the daemon and the shell wait.",
        "scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, SCX_SLICE_INF, 0)",
        "Use a slice of milliseconds, or preempt by tick or scx_bpf_kick_cpu(SCX_KICK_PREEMPT).",
    ),
    Rule(
        "SCX202", "slice out of bounds", REJECT,
        "A slice of more than one second, as it stands or by a tunable; a warning for zero.",
        "Whoever waits behind it sees the machine freeze.",
        "const volatile u64 slice_ns = 5000000000;",
        "Keep slices and the maximum of their tunables below one second.",
    ),
    Rule(
        "SCX301", "loop budget", REJECT,
        f"Loops that may go round more than {65536} times in one callback, nested ones "
        "multiplied; a count that is not bounded counts as the greatest possible.",
        "Callbacks run with a runqueue locked. The kernel bounds each loop but not their "
        "product: two nested ones can hang the machine for good, and nothing ends that.",
        "bpf_loop(1000000, outer, …) where outer calls bpf_loop(1000000, inner, …)",
        "Bound each loop by a constant and keep loops from nesting.",
    ),
    Rule(
        "SCX302", "too many queues", REJECT,
        "Queues that are created by the thousand, or in a callback that runs again and again.",
        "The kernel has no limit; a million queues block it for seconds and eat its memory.",
        "scx_bpf_create_dsq(p->pid, -1) in init_task",
        "Create a bounded number of queues, in init.",
    ),
    Rule(
        "SCX303", "maps too large", REJECT,
        "A map of more than 1,000,000 entries, or more than 64 MiB in all.",
        "It is kernel memory that cannot be swapped out.",
        "__uint(max_entries, 100000000)",
        "Make maps as large as the tasks and CPUs of a machine need.",
    ),
    Rule(
        "SCX304", "kind of map", REJECT,
        "A map that is pinned to the file system, or of a kind that no scheduler needs.",
        "Pinned maps outlive the policy and are open to others.",
        "__uint(pinning, LIBBPF_PIN_BY_NAME)",
        "Use hashes, arrays, queues, and storage of tasks or cgroups, without pinning.",
    ),
    Rule(
        "SCX401", "kernel threads and pinned tasks", SUSPECT,
        "Kernel threads, and tasks that may run on one CPU only, wait among all others.",
        "The whole machine may wait for one of them.",
        "every task into one queue, whatever its flags and nr_cpus_allowed",
        "Send them straight to their CPU, or make sure that nobody waits for long.",
    ),
    Rule(
        "SCX402", "impossible CPU from select_cpu", REJECT,
        "A select_cpu that returns the number of a CPU that cannot be.",
        "The kernel ends the policy at once.",
        "return 4096;",
        "Return prev_cpu or what a function of the kernel has returned.",
    ),
    Rule(
        "SCX403", "disallow at fork", REJECT,
        "p->scx.disallow set without a look at args->fork.",
        "It is allowed only for tasks that exist when the policy is loaded; at a fork the kernel "
        "ends the policy.",
        "p->scx.disallow = true; in init_task",
        "Do it only if (!args->fork).",
    ),
    Rule(
        "SCX404", "weights ignored", WARNING,
        "A card that promises to honour nice or cpu.weight, and code that never reads a weight.",
        "People who set nice expect it to matter.",
        'honours = ["nice"], but no p->scx.weight',
        "Use p->scx.weight, or take the promise from the card.",
    ),
    Rule(
        "SCX405", "cgroup limits ignored silently", REJECT,
        "No callback for cpu.weight, cpu.max or cpu.idle, and a card that does not say so.",
        "While a policy is attached the kernel's own limits have no effect: the card is what "
        "keeps it off hosts that rely on them.",
        "ignores = [], and no .cgroup_set_bandwidth",
        'Say ignores = ["cpu.weight", "cpu.max", "cpu.idle"] in the card, or implement them.',
    ),
    Rule(
        "SCX406", "write to a task", REJECT,
        "A write to a field of a task other than scx.slice, scx.dsq_vtime and scx.disallow.",
        "The kernel's verifier refuses it.",
        "p->prio = 0;",
        "Leave the field alone.",
    ),
    Rule(
        "SCX407", "gives up on an ordinary path", SUSPECT,
        "scx_bpf_error() or scx_bpf_exit() for something that happens in ordinary life.",
        "The policy ends itself sooner or later.",
        'if (p->nr_cpus_allowed == 1) scx_bpf_error("pinned");',
        "Queue the task on SCX_DSQ_GLOBAL instead.",
    ),
    Rule(
        "SCX501", "identity oracle", WARNING,
        "A comparison with the name of a program or with a fixed process id.",
        "Such a policy works for one program by its name, which anybody can take.",
        'if (!bpf_strncmp(p->comm, 5, "nginx")) …',
        "Choose by cgroup, weight or behaviour.",
    ),
)  # fmt: skip

_BY_ID = {one.id: one for one in RULES}


def rule(name: str) -> Rule:
    """The rule with that id."""
    return _BY_ID[name]
