# SPDX-License-Identifier: GPL-2.0-or-later
"""What a policy may call, from where, and what the calls do; as far as the analysis needs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from schedcpd.verify.analysis.values import MASK32, MASK64, Range


class Act(StrEnum):
    """What a call means to the scheduler."""

    INSERT = "insert"
    INSERT_VTIME = "insert-vtime"
    INSERT_VTIME_ARGS = "insert-vtime-args"
    CONSUME = "consume"
    MOVE = "move"
    CREATE = "create"
    ERROR = "error"
    LEAVE = "leave"
    KICK = "kick"
    SET_SLICE = "set-slice"
    ITERATE_QUEUE = "iterate-queue"
    ITERATE = "iterate"
    NEXT = "next"
    PUSH = "push"  # into a map, a list or a tree
    UPDATE = "update"  # of a map, which may or may not serve as a queue
    POP = "pop"
    READ_MAP = "read-map"
    LOOP = "loop"
    FOR_EACH = "for-each"
    DRAIN = "drain"  # of what user space has written
    TIMER = "timer"
    SUB_DISPATCH = "sub-dispatch"
    OTHER = "other"


# ---- from where -------------------------------------------------------------------

TIMER_CALLBACK = "timer"
# Called without the lock of a runqueue; all but the timer may be sleepable.
UNLOCKED = frozenset(
    "init exit init_task init_cids cgroup_init cgroup_exit cgroup_prep_move cgroup_set_bandwidth "
    "cgroup_set_idle cgroup_set_weight sub_attach sub_detach cpu_online cpu_offline".split()
)
QUEUEING = frozenset(("select_cpu", "enqueue", "dispatch"))
DISPATCH = frozenset(("dispatch",))
MOVING = DISPATCH | UNLOCKED | {TIMER_CALLBACK}
SELECTING = frozenset(("select_cpu", "enqueue")) | UNLOCKED | {TIMER_CALLBACK}
DUMPING = frozenset(("dump", "dump_cpu", "dump_task"))
SLEEPABLE = UNLOCKED


@dataclass(frozen=True, slots=True)
class Call:
    """A function of the kernel; ``writes`` has the bytes that it writes through an argument."""

    act: Act = Act.OTHER
    allowed: frozenset[str] | None = None  # callbacks; None for all
    bounds: Range = (0, MASK64)
    points_to: str = ""
    writes: Mapping[int, int] | None = None  # argument → bytes


CPU: Range = (0, 8191)
BOOL: Range = (0, 1)
INT: Range = (0, MASK32)
VOID = Call()

INSERT = Call(Act.INSERT, QUEUEING, BOOL)
INSERT_VTIME = Call(Act.INSERT_VTIME, QUEUEING, BOOL)
CONSUME = Call(Act.CONSUME, DISPATCH, BOOL)
MOVE = Call(Act.MOVE, MOVING, BOOL)
IDLE_CPU = Call(bounds=INT)
CREDIT = Call(allowed=MOVING)

SCX: Mapping[str, Call] = {
    "scx_bpf_dsq_insert": INSERT,
    "scx_bpf_dispatch": INSERT,
    "scx_bpf_dsq_insert_vtime": INSERT_VTIME,
    "scx_bpf_dispatch_vtime": INSERT_VTIME,
    "__scx_bpf_dsq_insert_vtime": Call(Act.INSERT_VTIME_ARGS, QUEUEING, BOOL),
    "scx_bpf_dsq_move_to_local": CONSUME,
    "scx_bpf_consume": CONSUME,
    "scx_bpf_dsq_move": MOVE,
    "scx_bpf_dsq_move_vtime": MOVE,
    "scx_bpf_dispatch_from_dsq": MOVE,
    "scx_bpf_dispatch_vtime_from_dsq": MOVE,
    "scx_bpf_dsq_move_set_slice": CREDIT,
    "scx_bpf_dsq_move_set_vtime": CREDIT,
    "scx_bpf_dispatch_from_dsq_set_slice": CREDIT,
    "scx_bpf_dispatch_from_dsq_set_vtime": CREDIT,
    "scx_bpf_dispatch_nr_slots": Call(allowed=DISPATCH, bounds=INT),
    "scx_bpf_dispatch_cancel": Call(allowed=DISPATCH),
    "scx_bpf_sub_dispatch": Call(Act.SUB_DISPATCH, DISPATCH, BOOL),
    "scx_bpf_create_dsq": Call(Act.CREATE, SLEEPABLE, INT),
    "scx_bpf_destroy_dsq": VOID,
    "scx_bpf_dsq_nr_queued": Call(bounds=INT),
    "scx_bpf_dsq_peek": Call(points_to="task_struct"),
    "scx_bpf_dsq_reenq": VOID,
    "scx_bpf_select_cpu_dfl": Call(allowed=SELECTING, bounds=CPU, writes={4: 1}),
    "scx_bpf_select_cpu_and": Call(allowed=SELECTING, bounds=INT),
    "__scx_bpf_select_cpu_and": Call(allowed=SELECTING, bounds=INT),
    "scx_bpf_pick_idle_cpu": IDLE_CPU,
    "scx_bpf_pick_idle_cpu_node": IDLE_CPU,
    "scx_bpf_pick_any_cpu": IDLE_CPU,
    "scx_bpf_pick_any_cpu_node": IDLE_CPU,
    "scx_bpf_test_and_clear_cpu_idle": Call(bounds=BOOL),
    "scx_bpf_task_cpu": Call(bounds=CPU),
    "scx_bpf_task_cid": Call(bounds=CPU),
    "scx_bpf_cpu_node": Call(bounds=INT),
    "scx_bpf_task_running": Call(bounds=BOOL),
    "scx_bpf_nr_cpu_ids": Call(bounds=(1, 8192)),
    "scx_bpf_nr_node_ids": Call(bounds=(1, 1024)),
    "scx_bpf_nr_cids": Call(bounds=(1, 8192)),
    "scx_bpf_nr_online_cids": Call(bounds=(1, 8192)),
    "scx_bpf_this_cid": Call(bounds=CPU),
    "scx_bpf_kick_cpu": Call(Act.KICK),
    "scx_bpf_kick_cid": Call(Act.KICK),
    "scx_bpf_task_set_slice": Call(Act.SET_SLICE, bounds=BOOL),
    "scx_bpf_task_set_dsq_vtime": Call(bounds=BOOL),
    "scx_bpf_error_bstr": Call(Act.ERROR),
    "scx_bpf_exit_bstr": Call(Act.LEAVE),
    "scx_bpf_dump_bstr": Call(allowed=DUMPING),
    "scx_bpf_task_cgroup": Call(points_to="cgroup", bounds=(1, MASK64)),
    "scx_bpf_tid_to_task": Call(points_to="task_struct"),
    "scx_bpf_cpu_curr": Call(points_to="task_struct"),
    "scx_bpf_cid_curr": Call(points_to="task_struct"),
    "scx_bpf_cpu_rq": Call(points_to="rq"),
    "scx_bpf_locked_rq": Call(points_to="rq"),
    "scx_bpf_events": Call(writes={1: 256}),
    **dict.fromkeys(
        "scx_bpf_get_idle_cpumask scx_bpf_get_idle_cpumask_node scx_bpf_get_idle_smtmask "
        "scx_bpf_get_idle_smtmask_node scx_bpf_get_online_cpumask "
        "scx_bpf_get_possible_cpumask".split(),
        Call(points_to="cpumask", bounds=(1, MASK64)),
    ),
    **dict.fromkeys(
        "scx_bpf_put_cpumask scx_bpf_put_idle_cpumask scx_bpf_cpuperf_cap scx_bpf_cpuperf_cur "
        "scx_bpf_cpuperf_set scx_bpf_cidperf_cap scx_bpf_cidperf_cur scx_bpf_cidperf_set "
        "scx_bpf_now __scx_bpf_now scx_bpf_cid_to_cpu scx_bpf_cpu_to_cid scx_bpf_cid_topo "
        "scx_bpf_cid_override scx_bpf_online_cmask scx_bpf_sub_caps scx_bpf_sub_grant "
        "scx_bpf_sub_revoke".split(),
        VOID,
    ),
}
# The newer form takes nothing and is allowed everywhere; the older one empties a CPU being lost.
REENQUEUE = "scx_bpf_reenqueue_local"
BPF: Mapping[str, Call] = {
    "bpf_iter_num_new": Call(Act.ITERATE, writes={1: 8}),
    "bpf_iter_num_next": Call(Act.NEXT, points_to="number"),
    "bpf_iter_scx_dsq_new": Call(Act.ITERATE_QUEUE, writes={1: 48}),
    "bpf_iter_scx_dsq_next": Call(Act.NEXT, points_to="task_struct"),
    "bpf_iter_task_new": Call(Act.ITERATE, writes={1: 24}),
    "bpf_iter_task_next": Call(Act.NEXT, points_to="task_struct"),
    "bpf_iter_css_new": Call(Act.ITERATE, writes={1: 24}),
    "bpf_iter_css_next": Call(Act.NEXT, points_to="cgroup_subsys_state"),
    "bpf_iter_css_task_new": Call(Act.ITERATE, writes={1: 8}),
    "bpf_iter_css_task_next": Call(Act.NEXT, points_to="task_struct"),
    "bpf_iter_bits_new": Call(Act.ITERATE, writes={1: 16}),
    "bpf_iter_bits_next": Call(Act.NEXT, points_to="number"),
    "bpf_list_push_front_impl": Call(Act.PUSH, bounds=INT),
    "bpf_list_push_back_impl": Call(Act.PUSH, bounds=INT),
    "bpf_list_push_front": Call(Act.PUSH, bounds=INT),
    "bpf_list_push_back": Call(Act.PUSH, bounds=INT),
    "bpf_list_add": Call(Act.PUSH, bounds=INT),
    "bpf_list_pop_front": Call(Act.POP, points_to="own"),
    "bpf_list_pop_back": Call(Act.POP, points_to="own"),
    "bpf_list_del": Call(Act.POP, points_to="own"),
    "bpf_rbtree_add_impl": Call(Act.PUSH, bounds=INT),
    "bpf_rbtree_add": Call(Act.PUSH, bounds=INT),
    "bpf_rbtree_remove": Call(Act.POP, points_to="own"),
    "bpf_task_from_pid": Call(points_to="task_struct"),
    "bpf_task_from_vpid": Call(points_to="task_struct"),
    "bpf_task_acquire": Call(points_to="task_struct"),
    "bpf_cpumask_test_cpu": Call(bounds=BOOL),
    "bpf_cpumask_empty": Call(bounds=BOOL),
    "bpf_cpumask_full": Call(bounds=BOOL),
    "bpf_cpumask_subset": Call(bounds=BOOL),
    "bpf_cpumask_intersects": Call(bounds=BOOL),
    "bpf_cpumask_equal": Call(bounds=BOOL),
    "bpf_cpumask_first": Call(bounds=INT),
    "bpf_cpumask_any_distribute": Call(bounds=INT),
    "bpf_cpumask_weight": Call(bounds=INT),
    "bpf_rcu_read_lock": VOID,
    "bpf_rcu_read_unlock": VOID,
    "bpf_preempt_disable": VOID,
    "bpf_preempt_enable": VOID,
    "bpf_local_irq_save": Call(writes={1: 8}),
    "bpf_local_irq_restore": VOID,
    "bpf_get_kmem_cache": VOID,
    "bpf_task_pt_regs": VOID,
}
# Families of which everything is harmless to a scheduler.
FAMILIES = (
    "bpf_cpumask_", "bpf_cgroup_", "bpf_task_", "bpf_iter_num_", "bpf_iter_scx_dsq_",
    "bpf_iter_task_", "bpf_iter_css_", "bpf_iter_bits_", "bpf_rbtree_", "bpf_list_", "bpf_obj_new",
    "bpf_obj_drop", "bpf_percpu_obj_", "bpf_refcount_", "bpf_cast_", "bpf_rdonly_cast",
    "bpf_dynptr_", "bpf_strcmp", "bpf_strnlen", "bpf_strstr", "bpf_strchr", "bpf_strncasecmp",
    "bpf_arena_", "bpf_throw", "bpf_res_spin_", "bpf_stream_",
)  # fmt: skip
FORBIDDEN_FAMILIES = ("bpf_task_work_",)


def kfunc(name: str) -> Call | None:
    """What is known of a kfunc without its flavour; None when no policy may call it."""
    known = SCX.get(name) or BPF.get(name)
    if known is None and name == REENQUEUE:
        return VOID
    if known is None and name.startswith(FAMILIES) and not name.startswith(FORBIDDEN_FAMILIES):
        return VOID
    return known


# ---- helpers ------------------------------------------------------------------------

VALUE = "value"  # what a map lookup returns
HELPERS: Mapping[int, tuple[str, Call]] = {
    1: ("bpf_map_lookup_elem", Call(Act.READ_MAP, points_to=VALUE)),
    2: ("bpf_map_update_elem", Call(Act.UPDATE, bounds=INT)),
    3: ("bpf_map_delete_elem", Call(bounds=INT)),
    4: ("bpf_probe_read", Call(bounds=INT, writes={1: 512})),
    5: ("bpf_ktime_get_ns", VOID),
    6: ("bpf_trace_printk", Call(bounds=INT)),
    7: ("bpf_get_prandom_u32", Call(bounds=INT)),
    8: ("bpf_get_smp_processor_id", Call(bounds=CPU)),
    14: ("bpf_get_current_pid_tgid", VOID),
    15: ("bpf_get_current_uid_gid", VOID),
    16: ("bpf_get_current_comm", Call(writes={1: 16})),
    35: ("bpf_get_current_task", Call(bounds=(1, MASK64), points_to="task_struct")),
    42: ("bpf_get_numa_node_id", Call(bounds=(0, 1023))),
    45: ("bpf_probe_read_str", Call(bounds=INT, writes={1: 512})),
    80: ("bpf_get_current_cgroup_id", VOID),
    87: ("bpf_map_push_elem", Call(Act.PUSH, bounds=INT)),
    88: ("bpf_map_pop_elem", Call(Act.POP, bounds=INT, writes={2: 64})),
    89: ("bpf_map_peek_elem", Call(Act.READ_MAP, bounds=INT, writes={2: 64})),
    93: ("bpf_spin_lock", VOID),
    94: ("bpf_spin_unlock", VOID),
    113: ("bpf_probe_read_kernel", Call(bounds=INT, writes={1: 512})),
    115: ("bpf_probe_read_kernel_str", Call(bounds=INT, writes={1: 512})),
    118: ("bpf_jiffies64", VOID),
    123: ("bpf_get_current_ancestor_cgroup_id", VOID),
    125: ("bpf_ktime_get_boot_ns", VOID),
    130: ("bpf_ringbuf_output", Call(Act.PUSH, bounds=INT)),
    131: ("bpf_ringbuf_reserve", Call(points_to="record")),
    132: ("bpf_ringbuf_submit", Call(Act.PUSH)),
    133: ("bpf_ringbuf_discard", VOID),
    134: ("bpf_ringbuf_query", VOID),
    153: ("bpf_per_cpu_ptr", Call(points_to="percpu")),
    154: ("bpf_this_cpu_ptr", Call(points_to="percpu", bounds=(1, MASK64))),
    156: ("bpf_task_storage_get", Call(points_to=VALUE)),
    157: ("bpf_task_storage_delete", Call(bounds=INT)),
    158: ("bpf_get_current_task_btf", Call(bounds=(1, MASK64), points_to="task_struct")),
    160: ("bpf_ktime_get_coarse_ns", VOID),
    164: ("bpf_for_each_map_elem", Call(Act.FOR_EACH, bounds=INT)),
    165: ("bpf_snprintf", Call(bounds=INT, writes={1: 512})),
    169: ("bpf_timer_init", Call(bounds=INT)),
    170: ("bpf_timer_set_callback", Call(Act.TIMER, bounds=INT)),
    171: ("bpf_timer_start", Call(bounds=INT)),
    172: ("bpf_timer_cancel", Call(bounds=INT)),
    175: ("bpf_task_pt_regs", Call(bounds=(1, MASK64), points_to="pt_regs")),
    177: ("bpf_trace_vprintk", Call(bounds=INT)),
    181: ("bpf_loop", Call(Act.LOOP, bounds=INT)),
    182: ("bpf_strncmp", Call(bounds=INT)),
    194: ("bpf_kptr_xchg", Call(Act.UPDATE, points_to="own")),
    195: ("bpf_map_lookup_percpu_elem", Call(Act.READ_MAP, points_to=VALUE)),
    197: ("bpf_dynptr_from_mem", Call(bounds=INT, writes={4: 16})),
    198: ("bpf_ringbuf_reserve_dynptr", Call(bounds=INT, writes={4: 16})),
    199: ("bpf_ringbuf_submit_dynptr", VOID),
    200: ("bpf_ringbuf_discard_dynptr", VOID),
    201: ("bpf_dynptr_read", Call(bounds=INT, writes={1: 512})),
    202: ("bpf_dynptr_write", Call(bounds=INT)),
    203: ("bpf_dynptr_data", Call(points_to="record")),
    208: ("bpf_ktime_get_tai_ns", VOID),
    209: ("bpf_user_ringbuf_drain", Call(Act.DRAIN, bounds=INT)),
    210: ("bpf_cgrp_storage_get", Call(points_to=VALUE)),
    211: ("bpf_cgrp_storage_delete", Call(bounds=INT)),
}
MAX_LOOPS = 8 << 20  # BPF_MAX_LOOPS, of bpf_loop and of the number iterator
MAX_SAMPLES = 128 << 10  # BPF_MAX_USER_RINGBUF_SAMPLES, of bpf_user_ringbuf_drain
TREE_DEPTH = 64  # comparisons for one node that is put into a tree
