# The faults: mutant NAME FILE PROGRAM TEST SED (sed -E). See run.sh.
# shellcheck shell=bash

# --- waking, completing ---
mutant timer_thread_not_poked base/clock.c clock clock/armed_by_several_threads \
	's/^\tif \(at >= atomic_load\(&c->sleeps_until\)\)/\tif (true)/'
mutant lock_forgets_who_sleeps base/lock.c lock lock/who_sleeps_is_woken \
	's/while \(atomic_exchange\(&lock->word, 2\)\)/while (atomic_exchange(\&lock->word, 1))/'
mutant lock_does_not_wait base/lock.c lock lock/who_sleeps_is_woken \
	's/while \(atomic_exchange\(&lock->word, 2\)\)/if (atomic_exchange(\&lock->word, 2))/; s/enum \{ TURNS = 100/enum { TURNS = 0/'
mutant wake_of_waiters_skipped future/future.c wait wait/wakes_all_waiters \
	's/^\t\texsi_unpark\(&f->state, INT_MAX\);//'
mutant waiter_bit_not_set future/wait.c wait wait/wakes_all_waiters \
	's/s \| EXSI_WAITER/s/'
mutant completes_twice future/promise.c future future/completes_once \
	's/if \(p && claim\(&p->future\)\)/if (p)/'
mutant broken_promise_not_failed future/promise.c future future/fails_when_its_promise_is_freed \
	's/&& claim\(&p->future\)/\&\& false/'
mutant callback_order_reversed future/future.c stress stress/random_schedules \
	's/^\treturn node;/\treturn last;/'
mutant callbacks_of_a_done_future_left future/future.c future future/callbacks_added_in_callbacks \
	's/^\tbool done = s & EXSI_DONE;/\tbool done = false;/'
mutant extra_unref future/future.c future future/callbacks_added_in_callbacks \
	's/^\tcb\.fn\(f, cb\.ctx\);/&\n\texs_future_unref(f);/'
mutant missing_unref future/future.c future future/callbacks_added_in_callbacks \
	'/^static void run_callback/,/^}/s/\texs_future_unref\(f\);//'
mutant take_beside_other_references future/future.c future future/take_moves_a_value \
	's/\|\| !is_sole\(f\)//'
mutant many_references_taken_for_one future/future.c functions functions/map_one_very_often \
	's/refs & EXSI_MANY_REFS \? refs & ~EXSI_MANY_REFS : //'
mutant stops_for_one_held_without_end future/future.c functions functions/cancel_very_many_of_one \
	's/ && !is_held_often\(f\)//'
mutant way_gone_anew_for_each executor/executor.c gather gather/wait_inside_a_task_for_a_long_row \
	's/return exs_future_is_done\(work->awaited\);/return true;/'
mutant ways_to_any_without_end executor/executor.c gather gather/wait_for_any_of_any_ends \
	's/ && s->looks\+\+ < MAX_LOOKS && search/ \&\& search/'
mutant late_result_leaked future/future.c shutdown shutdown/forced_future_is_done_once \
	's/^\t\t\texs_result_clear\(r\);//'
mutant errors_do_not_decide future/wait.c wait wait/what_decides \
	's/exs_future_state\(f\) == EXS_STATE_ERROR/false/'
mutant futures_passed_again_for_each_that_is_helped future/wait.c stack stack/a_task_waits_for_an_error_of_many \
	's/^\tbool can = exsi_can_help\(deadline == EXSI_NEVER\);/&\n\tw->helped = 0;/'
mutant stack_used_up base/thread.c thread_pool_workers thread_pool_workers/waits_in_each_other_fit_the_stack \
	's/ > exsi_thread\.half_stack;/ > 0;/'
mutant statistics_beyond_ours_left base/memory.c thread_pool thread_pool/statistics_of_other_versions \
	'/^void exsi_fill_in/,/^}/s/^\tmemset.*//'

# --- as_completed ---
mutant members_passed_again_for_each_that_is_helped future/set.c stack stack/a_task_reads_a_set_of_many \
	's/^\t\tset->helped = walk->next;//'
mutant set_loses_its_wake future/set.c set set/deadline_reaches_a_sleeping_reader \
	'/exs_set_deadline\(exs_set/,/^}/s/^\texsi_unpark\(&set->changes, INT_MAX\);//'
mutant set_loses_a_members_wake future/set.c stress stress/random_schedules \
	's/if \(atomic_load\(&set->sleeps\) && /if (false \&\& /'
mutant eventfd_not_cleared future/set.c set set/descriptor_is_exact \
	'/^static int take\(/,/^}/s/\tassign_event\(.*//'
mutant read_member_ends_a_search future/set.c set set/many_members_in_a_random_order \
	's/if \(!m && !left\)/if (!m) return/; s/^\t\t\tleft = (&set->table\[i\];)/\t\t\t\1/'
mutant places_of_read_members_pile_up future/set.c stack stack/a_million_members_of_a_set \
	's/if \(!m && !left\)/if (false)/'
mutant read_member_left_among_the_others future/set.c set set/cancels_in_the_order_of_addition \
	's/^\t\tset->members\[m->index\] = NULL;//'
mutant moved_member_not_told_its_place future/set.c set set/many_members_in_a_random_order \
	's/^\tm->index = \(uint32_t\)set->used;/\tm->index = m->index ? m->index : (uint32_t)set->used;/'
mutant read_members_walked_over future/set.c stack stack/a_million_members_of_a_set \
	's/^\tif \(set->used > 2 \* set->count \+ FIRST_ROOM\)/\tif (false)/'
mutant member_counted_twice future/set.c set set/a_member_added_twice_comes_once \
	's/rc = !member_at\(set, at\);/rc = 1;/'
mutant freed_while_others_have_members future/set.c set set/freed_while_members_are_done \
	's/^\tfor \(unsigned turn = 0; coming; turn\+\+\)/\tfor (unsigned turn = 0; coming > 100000; turn++)/'

# --- the call ---
mutant arg_free_twice executor/call.c conformance conformance/value \
	's/^\t\targ_free\(f->arg\);/&\n\t\targ_free(f->arg);/'
mutant count_before_callbacks executor/call.c races races/callback_on_a_borrowed_pool_while_the_chain_is_freed \
	's/^\texsi_complete\(f, r\);$/\texsi_count_done(top);\n&/; /^\t\texsi_frame_pop\(frame\);$/{n;d}'
mutant park_not_refused_when_stopped executor/call.c races races/stop_request_during_the_task_keeps_it_out_of_the_poll_set \
	's/if \(exsi_stop\(s\) > x->depth\)/if (false)/'
mutant park_again_though_insisted executor/call.c races races/timeout_while_a_cancel_is_being_refused \
	's/if \(s & EXSI_INSISTED\)/if (false)/'
mutant closing_not_looked_at executor/call.c races races/value_that_comes_after_the_sweep \
	'/^static bool closed_to/,/^}/s/return closed;/return false;/'
mutant submit_after_shutdown executor/call.c conformance conformance/submit_after_shutdown \
	's/^\tif \(atomic_load\(&x->closing\) > \(within \? EXS_DRAIN : 0\)\)/\tif (false)/'
mutant task_has_no_frame executor/call.c shutdown shutdown/quiesce_waits_for_what_was_freed_from_within \
	'/^void exs_call_run/,/^}/s/push_frame\(&frame, f\);/exsi_frame_push(\&frame, NULL);/'
mutant released_calls_recurse executor/call.c stack stack/a_million_calls_released_one_by_one \
	's/^\tif \(!me\.nest\) \{/\tif (true) {/'
mutant one_allocation_more executor/call.c alloc alloc/one_per_call \
	's/^\texs_future \*f = exsi_alloc\(.*/\texsi_free(exsi_alloc(1));\n&/'
mutant handler_not_awaited future/context.c context context/task_waits_for_a_handler_under_way \
	's/atomic_load\(&h->state\) == CALLED/false/'
mutant handler_added_late_not_called future/context.c context context/handler_added_after_the_cancel_runs_at_once \
	's/^\tif \(exsi_stop\(atomic_fetch_or\(&f->state, EXSI_HOOKS\)\)\)/\tif (atomic_fetch_or(\&f->state, EXSI_HOOKS) == 1)/'
mutant users_slot_shared executor/executor.c executor executor/layers_that_share \
	's/if \(x->shares \+ x->shares_size != end\)/if (false)/'
mutant borrow_of_a_freed_pool executor/executor.c borrow borrow/freed_pool_refuses_and_lives_on \
	's/if \(!atomic_load\(&x->inner->closing\)\)/if (true)/'
mutant time_is_up_and_nothing_fails executor/shutdown.c shutdown shutdown/forced_future_is_done_once \
	's/exsi_sweep\(x, false, true\);/;/'
mutant running_not_told_by_shutdown executor/shutdown.c inline inline/shutdown_stops_what_runs \
	's/exsi_sweep\(x, false, false\);/;/'
mutant waits_for_itself executor/shutdown.c shutdown shutdown/freed_on_the_callback_thread \
	's/bool within = exsi_inside\(x\) \|\| exsi_on_callback_thread\(\);/bool within = false;/'

mutant handlers_lost_when_forced future/future.c races races/handlers_of_a_task_whose_future_is_failed \
	's/if \(n->kind == EXSI_HOOK\) \{/if (false) {/'
mutant callbacks_of_shutdown_have_no_frame executor/shutdown.c races races/shutdown_inside_a_callback_of_shutdown \
	's/^\texsi_frame_push\(&frame, x\);/\texsi_frame_push(\&frame, NULL);/'

# --- thread pool ---
mutant fifo_broken pools/thread_pool_queue.c thread_pool thread_pool/first_in_first_out \
	'/^struct exsi_pool_slot \*exsi_pool_shift/,/^}/s/slot_of\(p->queue\.link\.next\)/(struct exsi_pool_slot *)at(\&p->queue)/'
mutant late_call_not_heard_of pools/thread_pool.c thread_pool thread_pool/waiter_runs_what_comes_late \
	'/^static void pool_news/,/^}/s/exsi_pool_count_news\(p\);/;/'
mutant left_by_the_last_worker pools/thread_pool_workers.c thread_pool thread_pool/waiter_runs_what_the_last_worker_leaves \
	's/^\telse if \(stuck \&\& exsi_pool_queued\(p\)\)/\telse if (false)/'
mutant edeadlk_not_answered pools/thread_pool_workers.c thread_pool thread_pool/last_worker_that_would_wait_is_told \
	's/else if \(stuck \&\& concerned\)/else if (false)/'
mutant spare_not_started pools/thread_pool_workers.c thread_pool thread_pool/spares_stand_in_and_leave \
	's/exsi_pool_queued\(p\) \? exsi_pool_provide\(p, 0\) : NULL/NULL/'
mutant waiter_does_not_help pools/thread_pool_workers.c thread_pool thread_pool/waiter_runs_what_has_not_begun \
	's/^\tbool mine = exsi_call_claim_run\(f\);/\tbool mine = false;/'
mutant unused_room_not_passed_on pools/thread_pool.c races races/place_in_the_queue_that_is_not_used \
	's/else if \(p->submitters && !full\(p\)\) \{/else if (false) {/'
mutant queue_one_too_long pools/thread_pool.c thread_pool thread_pool/full_queue_rejects \
	's/p->stats\.queued >= p->options\.queue_limit/p->stats.queued > p->options.queue_limit/'
mutant worker_not_woken pools/thread_pool_workers.c thread_pool_workers thread_pool_workers/newest_idle_one_is_woken \
	'/^void exsi_pool_attend/,/^}/s/exsi_pool_wake_one\(p\);/;/'
mutant push_not_attended pools/thread_pool.c thread_pool_order thread_pool_order/parks_and_wakes_at_every_submit \
	's/^\treturn !top;/\treturn false;/'
mutant push_while_one_looked_forgotten pools/thread_pool_queue.c races races/workers_take_calls_while_a_pool_is_shut_down \
	's/^\tif \(!before \&\& is_attended\(p\)/\tif (false \&\& is_attended(p)/'
mutant own_submit_not_attended pools/thread_pool.c thread_pool_order thread_pool_order/idle_ones_take_from_the_busy \
	's/\(put_own\(p, me, s\) \|\| push\(p, s\)\)/(put_own(p, me, s) ? 0 : push(p, s))/'
mutant others_not_robbed pools/thread_pool_queue.c thread_pool_order thread_pool_order/none_is_stuck_behind_a_long_one \
	's/^\t\ttake_from_others\(p, me\);/\t\t;/'
mutant own_calls_keep_others_out pools/thread_pool_queue.c thread_pool_order thread_pool_order/own_calls_let_others_in \
	's/\+\+me->in_a_row % OWN_IN_A_ROW \?/true ?/'
mutant shutdown_misses_own_submits pools/thread_pool_queue.c thread_pool_order thread_pool_order/shutdown_finds_own_submits \
	's/^\t\texsi_pool_recall_own\(p, worker_in\(node\)\);/\t\t;/'
mutant limited_wait_runs_tasks future/wait.c thread_pool_order thread_pool_order/waiter_with_a_limit_does_not \
	's/deadline == EXSI_NEVER && exsi_run_awaited/exsi_run_awaited/'
mutant sleeps_without_a_last_look pools/thread_pool_workers.c thread_pool_order thread_pool_order/parks_and_wakes_at_every_submit \
	's/^\t       exsi_inbox_is_empty\(&p->inbox\)\) \{/\t       true) {/'
mutant cancelled_before_it_is_pushed pools/thread_pool_queue.c thread_pool_order thread_pool_order/cancel_while_it_is_pushed \
	's/return false; (\/\* it is parked)/return true; \1/'
mutant cancelled_while_a_worker_has_it pools/thread_pool_queue.c thread_pool_order thread_pool_order/cancel_while_it_is_taken \
	's/return false; (\/\* a worker has got it)/return true; \1/'
mutant what_runs_is_not_visited pools/thread_pool_queue.c shutdown shutdown/stronger_modes_follow \
	's/^\tvisit\(\(exs_future \*\)f, arg\);//'
mutant goes_on_while_it_is_looked_at pools/thread_pool_queue.c stress stress/random_schedules \
	's/^\tatomic_store\(&w->current, f\);/\t(void)f;/'
mutant room_not_told pools/thread_pool.c thread_pool thread_pool/full_queue_blocks_submits \
	'/^static exs_step pool_cancel/,/^}/s/exsi_pool_remove\(p, slot\);/{ unsigned n = p->submitters; p->submitters = 0; exsi_pool_remove(p, slot); p->submitters = n; }/'
mutant deadline_of_a_block_ignored pools/thread_pool.c thread_pool thread_pool/full_queue_blocks_up_to_a_time \
	's/&p->lock, deadline\)/\&p->lock, EXSI_NEVER)/'
mutant try_runs_the_task pools/thread_pool.c thread_pool thread_pool/full_queue_makes_the_caller_run \
	's/entry == EXS_ENTRY_SUBMIT && p->options\.when_full == EXS_FULL_CALLER_RUNS/p->options.when_full == EXS_FULL_CALLER_RUNS/'
mutant dropped_without_claim pools/thread_pool.c thread_pool_races thread_pool_races/drop_and_cancel \
	's/if \(!exs_call_claim\(f\)\)/exs_call_claim(f);\n\tif (false)/'
mutant dropped_calls_recurse pools/thread_pool.c thread_pool thread_pool/dropped_calls_that_submit_again \
	's/exs_call_release\(f, p->x, EXS_UP, &p->dropped, &s->dropped\);/(void)s; exs_result r = p->dropped; exs_call_resume(f, p->x, EXS_UP, \&r);/'
mutant retired_below_the_minimum pools/thread_pool_workers.c thread_pool_workers thread_pool_workers/who_stays_sleeps_without_end \
	's/exsi_pool_runnable\(p\) > p->options\.min_workers/exsi_pool_runnable(p) >= p->options.min_workers/'
mutant next_oldest_not_told pools/thread_pool_workers.c thread_pool_workers thread_pool_workers/idle_ones_retire_down_to_the_minimum \
	'/^static bool serve\(/,/^}/s/look_at_oldest\(p\);/;/'
mutant oldest_is_woken pools/thread_pool_workers.c thread_pool_workers thread_pool_workers/newest_idle_one_is_woken \
	'/^void exsi_pool_attend/,/^}/s/exsi_pool_wake_one\(p\);/if (p->oldest \&\& !p->waking) p->waking = p->to_wake = p->oldest;/'
mutant failed_setup_leaves_the_queue pools/thread_pool_workers.c thread_pool_workers thread_pool_workers/setup_of_the_only_one_fails \
	'/^static void fall_out/,/^}/s/exsi_pool_fail_queued\(p, error\);/;/'
mutant failed_start_leaves_the_queue pools/thread_pool.c oom oom/start_that_others_count_on \
	's/if \(way == NO_WORKER\)/if (false)/'
mutant state_of_another_pool pools/thread_pool_workers.c thread_pool_workers thread_pool_workers/no_state_elsewhere \
	's/return exsi_top\(f\)->leaf == .*/return worker_of(w)->state;/'
mutant default_pool_not_forgotten pools/thread_pool_default.c thread_pool_default thread_pool_default/is_shared_and_ends_with_its_last_user \
	's/if \(current == x\)/if (false)/'
mutant quota_of_the_group_alone base/cores.c cores cores/smallest_of_nested_groups \
	's/cut = strrchr\(dir \+ top, .*/cut = NULL;/'
mutant quota_not_looked_at base/cores.c cores cores/the_smaller_of_affinity_and_quota \
	's/return quota < n \? quota : n;/return n;/'
mutant blocked_submit_not_woken_by_a_drain pools/thread_pool.c thread_pool thread_pool/shutdown_that_drains_wakes_blocked_submits \
	's/^\t\.closing = pool_closing,//'
mutant further_thread_fails_the_call pools/thread_pool_workers.c oom oom/further_thread_that_cannot_be_made \
	's/return exsi_pool_runnable\(p\) \? NULL : /return /'
mutant teardown_only_with_setup pools/thread_pool_workers.c thread_pool_workers thread_pool_workers/start_and_stop_hooks \
	's/if \(!p->options\.teardown\)/if (!p->options.teardown || !p->options.setup)/'

# --- event loop ---
mutant rounds_without_end pools/event_loop.c event_loop event_loop/poll_runs_what_was_queued_when_it_began \
	's/return run_list\(l, &l->round, LONG_MAX\);/return run_list(l, \&l->round, LONG_MAX) + run_list(l, \&l->queue, LONG_MAX);/'
mutant run_of_one_round pools/event_loop.c event_loop event_loop/run_goes_on_until_it_is_stopped \
	's/\} while \(!heed_stop\(l\)\);/} while (heed_stop(l), false);/'
mutant stop_forgotten pools/event_loop.c event_loop event_loop/stop_before_the_run_is_remembered \
	'/^static bool wait_for_work/,/^}/s/ && !l->stop//'
mutant loop_descriptor_not_cleared pools/event_loop.c event_loop event_loop/descriptor_is_exact \
	'/^static void take_out/,/^}/s/\texsi_event_assign\(.*/\t;/'
mutant turning_thread_not_nudged pools/event_loop.c event_loop event_loop/wait_for_what_is_queued_later \
	's/^\t\tl->nudge->fn\(l->nudge->arg\);/\t\t;/'
mutant news_of_a_loop_lost pools/event_loop.c event_loop event_loop/wait_for_what_another_call_takes_up_later \
	'/^static void loop_news/,/^}/s/\tcount_news\(l\);/\t;/'
mutant waits_for_what_runs_below pools/event_loop.c event_loop event_loop/wait_for_itself_is_told \
	's/ \|\| exs_future_state\(f\) == EXS_STATE_RUNNING//'
mutant callback_in_two_hands pools/event_loop.c event_loop event_loop/freed_by_an_earlier_callback_of_the_same_future \
	's/mine = mine \|\| cb->delivered;/mine = true;/'
mutant turned_on_a_strangers_thread pools/event_loop.c event_loop event_loop/drained_by_another_thread \
	's/ && pthread_equal\(l->owner, pthread_self\(\)\)//'
mutant own_thread_not_turned executor/shutdown.c event_loop event_loop/drained_on_its_own_thread \
	's/^\tbool ok = x->leaf->turn \? .* : /\tbool ok = /'
mutant turning_has_no_frame pools/event_loop.c event_loop event_loop/drain_inside_a_callback_does_not_wait \
	's/^\tframe\.layer = l->x;.*//'

# --- retry, clock ---
mutant cancel_dropped_in_backoff decorators/retry.c retry retry/cancel_in_a_backoff \
	'/^static exs_step retry_cancel/,/^}/s/\texsi_call_timer_disarm\(.*//'
mutant retry_after_cancel decorators/retry.c retry retry/cancel_from_within_on_retry \
	'/^static exs_step again/,/^}/s/if \(exs_call_stopped\(f, x\)\)/if (false)/'
mutant cancelled_one_is_retried decorators/retry.c retry retry/policy_retries_a_success \
	's/if \(usual \|\| r->kind == EXS_KIND_CANCELLED \|\| /if (usual || /'
mutant one_attempt_more decorators/retry_policy.c retry retry/last_error_itself_and_the_attempts_explained \
	's/a->attempt >= o->max_attempts/a->attempt > o->max_attempts/'
mutant asked_about_after_a_cancel decorators/retry.c retry retry/cancel_while_an_attempt_runs \
	's/\|\| exs_call_stopped\(f, x\)\)$/)/'
mutant plain_success_not_asked_about decorators/retry.c retry retry/policy_retries_a_success_of_a_plain_submit \
	's/ && !all->policy && / \&\& /'
mutant own_codes_not_copied executor/call.c retry retry/own_policy_is_copied \
	's/retry->codes = memcpy\(rest, retry->codes, codes\);/(void)0;/'
mutant jitter_feeds_back decorators/retry_policy.c retry retry/jitter_leaves_the_series_alone \
	's/\*delay = with_jitter\(o, \*backoff\);/*delay = *backoff = with_jitter(o, *backoff);/'
mutant backoff_stays_the_same decorators/retry_policy.c retry retry/backs_off_exponentially \
	's/\*backoff \* o->exponent/*backoff/'
mutant hint_ignored decorators/retry_policy.c retry retry/hint_of_the_error \
	's/hint > \*delay \? hint : \*delay/*delay/'
mutant fired_without_a_claim executor/call_timer.c stress stress/random_schedules \
	's/: exs_call_claim\(f\);/: true;/'
mutant clock_not_held executor/executor.c clock clock/callbacks_run_and_wait_on_the_callback_thread \
	's/= exsi_clock_hold\(x->clock\);/= 0;/'
mutant ctx_kept executor/shutdown.c throttle throttle/count_changes_while_calls_wait \
	's/^\t\t\tx->ctx_free\(x->ctx\);/\t\t\t;/'
mutant timer_fires_early base/wheel.c wheel wheel/agrees_with_a_list \
	's/if \(start > now\)/if (start > now + 1000)/'
mutant equal_deadlines_reversed base/wheel.c wheel wheel/equal_deadlines_in_the_order_of_adding \
	's/= w->slots\[0\]\[digit\(start, 0\)\]\.next/= w->slots[0][digit(start, 0)].prev/'
mutant disarmed_timer_fires base/clock.c clock clock/disarmed_timers_do_not_fire \
	'/^bool exsi_timer_disarm/,/^}/s/^\tif \(armed\)/\tif (false)/'

# --- timeout ---
mutant stop_not_cleared_by_timeout decorators/timeout_wait.c retry retry/delegates_timeout_is_retried \
	's/^\texsi_stop_clear\(f, x->depth\);//'
mutant timeout_as_a_cancel decorators/timeout_wait.c timeout timeout/of_a_queued_call \
	's/if \(r->kind == EXS_KIND_CANCELLED && .*/if (false)/'
mutant timeout_of_what_runs_as_a_cancel decorators/timeout_wait.c timeout timeout/what_it_cancelled_is_retried_above \
	's/if \(r->kind == EXS_KIND_CANCELLED && .*/if (false)/'
mutant late_outcome_goes_up_twice decorators/timeout_wait.c stress stress/random_schedules \
	's/^\t\treturn EXS_HELD;/\t\treturn EXS_UP;/'
mutant child_not_marked_as_left executor/child.c timeout timeout/abandon_fails_at_once \
	's/^\t\(\(struct kid \*\)exsi_slot\(d\.child, relay->relay\)\)->left = true;//'
mutant left_behind_for_ever executor/child.c timeout timeout/abandon_fails_at_once \
	's/^\trelay->left_behind -= left;//'
mutant shared_arg_not_counted executor/child.c timeout timeout/abandon_under_retry \
	's/^\tatomic_fetch_add\(&arg->users, 1\);//'
mutant abandoned_one_not_stopped executor/child.c timeout timeout/abandon_wakes_a_polite_task \
	's/exsi_cancel\(d\.child, EXSI_STOP_ALL, EXS_CAUSE_TIMEOUT\);/;/'
mutant nested_abandon_frees_the_arg executor/call.c stress stress/random_schedules \
	's/, \.arg_free = exsi_arg_drop\}/}/'
mutant parent_not_parked executor/child.c timeout timeout/abandon_cancels_an_inline_child \
	's/^\tpark\(relay, f\);//'
mutant early_stop_not_passed_on executor/child.c stress stress/random_schedules \
	'/^static void park/,/^}/s/tell_child\(relay, f\);//'
mutant only_the_root_is_kept executor/child.c queue queue/detached_with_a_child_of_a_child \
	's/^\t\tatomic_fetch_add\(&exsi_top\(f\)->children, 1\);/\t\tif (!exsi_parent(f)) atomic_fetch_add(\&exsi_top(f)->children, 1);/; s/^\t\texsi_count_child_done\(top\);/\t\tif (!up) exsi_count_child_done(top);/'
mutant begun_one_recalled future/future.c queue queue/detach_leaves_what_has_begun \
	's/s & \(EXSI_BEGUN \| EXSI_DONE\)/false/'

# --- the queue ---
mutant put_off_before_it_sleeps pools/queue.c queue queue/wait_deep_on_the_stack \
	's/^\t*exsi_drain\(\);.*/\t;/'
mutant one_reaper_for_all executor/shutdown.c shutdown shutdown/freed_from_within_holds_up_no_other \
	's/^\tbool first = unreaped \&\& !coming;/\tstatic bool started; bool first = unreaped \&\& !started; started = started || first;/; s/bool last = unreaped \&\& coming == 1;/bool last = false;/'
mutant owned_ones_left_open executor/shutdown.c shutdown shutdown/of_a_chain_closes_all_that_it_owns \
	's/^\texsi_walk\(x, true, close_one, &mode\);/\tclose_one(x, true, \&mode);/'
mutant levels_upside_down pools/queue.c queue queue/first_in_first_out_in_a_level \
	's/now \+ s->level \* q->aging : s->level;/now + s->level * q->aging : 64 - s->level;/'
mutant aging_forgotten pools/queue.c queue queue/aging \
	's/^\t\tkey = q->aging \?/\t\tkey = false ?/'
mutant aging_without_levels pools/queue.c queue queue/lowest_under_a_stream_of_urgent_ones \
	's/now \+ s->level \* q->aging/now + s->level/'
mutant serial_of_waiting_ones_alone pools/queue.c queue queue/serials_count_all_calls_of_a_series \
	's/key = \+\+q->lines\[s->series\]\.serial/key = (q->lines[s->series].serial += !free_worker(q, s->series))/'
mutant series_not_looked_at pools/queue.c queue queue/series_without_a_worker \
	's/^\treturn w->all;$/\treturn true;/'
mutant place_not_freed pools/queue.c queue queue/fast_and_slow_two_to_one \
	's/^\tw->busy--;$//'
mutant given_back_behind_the_others pools/queue.c queue queue/detach_gives_back \
	's/^\tq->stats\.given_back \+= back;/&\n\ts->node.order = back ? q->arrivals++ : s->node.order;/'
mutant detach_misses_one_on_its_way pools/queue.c queue queue/detach_when_the_next_is_on_its_way \
	's/^\tp->recalled = is_detached\(q, w\);/\tp->recalled = false;/'
mutant waiter_does_not_hurry pools/queue.c queue queue/wait_in_a_task \
	's/x == w->q->x && take_out_of_turn\(w, f\)/false/'
mutant place_not_lent pools/queue.c queue queue/a_waiting_task_lends_its_place \
	's/^\tw->lent \+= begins \? 1 : .*/\t;/'
mutant queued_call_not_unlinked pools/queue.c queue queue/cancel_at_each_stage \
	'/^static exs_step queue_cancel/,/^}/s/^\t\tpull\(q, s\);/\t\t;/'
mutant attach_while_closing pools/queue.c queue queue/shutdown_in_each_mode \
	's/^\tbool closing =$/\tbool closing = false \&\&/'
mutant heap_order_forgotten base/heap.c heap heap/random_adds_and_removes \
	's/a->order < b->order/false/'

# --- throttle, cancel on shutdown ---
mutant throttle_lets_one_more_in decorators/throttle_line.c throttle throttle/reaches_its_limit_and_keeps_it \
	's/below >= line->limit\)/below > line->limit)/'
mutant throttle_who_leaves_does_not_look decorators/throttle_line.c throttle throttle/reaches_its_limit_and_keeps_it \
	's/return line->ticker\.x \|\| atomic_load\(&line->waiting\);/return line->ticker.x;/'
mutant throttle_takes_no_limit_for_never_one decorators/throttle_line.c throttle throttle/limit_where_there_was_none \
	's/line->open = !ns && /line->open = /'
mutant throttle_of_zero_lets_in decorators/throttle_line.c throttle throttle/zero_lets_nothing_begin \
	's/line->limit != EXS_UNLIMITED && below >= line->limit/line->limit \&\& below >= line->limit/'
mutant cancelled_one_stays_in_the_throttle decorators/throttle_line.c throttle throttle/cancel_removes_a_waiting_call \
	'/^exs_step exsi_line_cancel/,/^}/s/^\t\ttake\(line, &s->node\);/\t\t;/'
mutant throttle_lets_all_blocked_go decorators/throttle_line.c throttle throttle/blocked_submitters_let_go_by_number \
	's/while \(!exsi_list_is_empty\(&line->blocked\) && try_go\(line\)\)/while (!exsi_list_is_empty(\&line->blocked) \&\& line->limit)/'
mutant late_count_counts decorators/throttle.c throttle throttle/late_answer_is_ignored \
	's/if \(failed \|\| number < t->answered\)/if (failed)/'
mutant throttle_ticks_on decorators/throttle_line.c throttle \
	throttle/asked_when_something_happens_and_every_two_seconds \
	's/^\tif \(idle\)$/\tif (false)/'
mutant blocked_not_woken_by_shutdown decorators/throttle_line.c throttle throttle/blocked_submitters_woken_by_shutdown \
	's/^\t\t\twake\(line, node, REFUSED\);/\t\t\t;/'
mutant blocked_within executor/call.c throttle throttle/submits_from_within_never_block \
	's/!exsi_inside_before_submit\(x\)/true/'
mutant released_after_its_place_is_lost decorators/throttle_line.c throttle throttle/races \
	's/while \(!exsi_list_is_empty\(&line->queue\) && try_go\(line\)\)/while (!exsi_list_is_empty(\&line->queue) \&\& has_room(line))/'
mutant gate_spares_what_runs decorators/cancel_on_shutdown.c cancel_on_shutdown \
	cancel_on_shutdown/every_mode_cancels_all_that_is_not_done \
	's/exsi_cancel_all\(calls, n, EXS_CAUSE_SHUTDOWN, false\);/;/'
mutant gate_closed_by_a_borrower decorators/cancel_on_shutdown.c cancel_on_shutdown cancel_on_shutdown/borrowers \
	's/if \(!atomic_load\(&x->closing\)\)/if (false)/'
mutant gate_lets_in_while_closing decorators/cancel_on_shutdown.c cancel_on_shutdown \
	cancel_on_shutdown/call_that_waits_above \
	's/bool closed = atomic_load\(&x->closing\);/bool closed = false;/'
mutant delegate_closed_before_the_gate executor/shutdown.c cancel_on_shutdown \
	cancel_on_shutdown/then_shuts_the_delegate_down \
	's/^\texsi_walk\(x, true, close_one, &mode\);/\tfor (exs_executor *y = x; y; y = y->inner) atomic_store(\&y->closing, mode);\n&/'

# --- batch ---
mutant batch_never_full decorators/batch.c batch batch/is_started_when_it_is_full \
	's/b->gathered\.n % b->options\.max == 0/b->gathered.n > b->options.max/'
mutant gathered_one_stays_after_cancel decorators/batch_run.c batch batch/cancel_of_gathered_calls \
	'/^void exsi_batch_leave/,/^}/s/^\t\texsi_calls_remove\(held\);/\t\t;/'
mutant unwanted_batch_goes_on decorators/batch.c batch batch/cancel_while_start_many_runs \
	's/^\t\texsi_cancel_next\(unwanted, cause\);/\t\texsi_drop(unwanted);/'
mutant canceller_left_behind decorators/batch_run.c batch batch/races \
	's/^\t\texsi_batch_leave\(x, held\);/\t\tif (mine)\n\t&/'
mutant batch_argument_freed_early decorators/batch_run.c batch batch/abandoned_below \
	's/^\t\t\texsi_batch_tear\(x, held\);/\t\t\t;/'
mutant scope_forgets_what_was_left_behind decorators/batch_item.c batch batch/scope_waits_for_what_was_abandoned_below \
	's/item->scope = exsi_scope\(root\);/;/'
mutant function_that_runs_not_awaited decorators/batch_run.c batch batch/abandoned_below_while_a_function_runs \
	's/if \(exsi_batch_slot\(held\)->runs\)/if (false)/'
mutant gathered_ones_not_swept decorators/batch_run.c batch batch/shutdown_cancels_what_was_gathered \
	's/x->marks_running = true;/x->marks_running = false;/'
mutant options_reach_below_a_batch executor/call.c batch batch/options_of_a_call \
	's/x->marks_running \? NULL : x->inner/x->inner/'
mutant yields_resumed_in_place decorators/batch_item.c stack stack/retries_through_batches \
	's/exs_call_release\(f, x, EXS_UP, &s->held\.outcome, &s->link\);/exs_call_resume(f, x, EXS_UP, \&r);/'

# --- poll, and calls in hand ---
mutant yield_accepted_after_cancel decorators/poll_descriptor.c poll poll/cancel_during_a_poll \
	's/^\texsi_hand_take\(held\);/\t;/'
mutant claim_skipped executor/hand.c poll poll/yield_while_the_cancel_function_runs \
	's/if \(exs_call_claim\(f\)\) \{/if (true) {/'
mutant kept_yield_wins decorators/poll_cancel.c poll poll/yield_while_the_cancel_function_runs \
	's/if \(s->held\.yielded && refused\)/if (s->held.yielded)/'
mutant ignored_value_leaked executor/hand.c poll poll/yields_once_each \
	'/^exs_future \*exsi_hand_yield/,/^}/s/exs_result_clear\(&r\);/;/'
mutant batch_holds_nothing decorators/poll_turn.c races races/descriptor_of_a_call_that_ends_during_the_poll \
	's/exsi_hold\(d->root\);/;/; s/exsi_drop\(d->root\);/;/'
mutant refused_cancel_counts decorators/poll_cancel.c poll poll/cancel_answered_no \
	's/if \(refused && !s->held\.yielded && /if (false \&\& /'
mutant idle_poll_armed decorators/poll_turn.c poll poll/sleeps_with_nothing_pending \
	's/bool idle = !p->pending\.n && !p->options\.poll_empty;/bool idle = false;/'
mutant timeout_asks_on_its_own_thread decorators/poll.c poll poll/timeouts_and_siblings_ask_on_the_poll_thread \
	's/if \(cause == EXS_CAUSE_USER\)/if (cause == EXS_CAUSE_USER || cause == EXS_CAUSE_TIMEOUT)/'
mutant poller_not_woken executor/servant.c poll poll/woken_by_a_new_call_and_by_notify \
	'/^void exsi_servant_ring/,/^}/s/exsi_unpark\(&s->bell, 1\);//'
mutant pending_counted_each_time decorators/poll.c stack stack/a_million_pending_descriptors \
	's/^\t\texsi_calls_append\(&p->pending, &s->held\);/&\n\t\tfor (struct exsi_held *o = p->pending.first; o; o = o->next)\n\t\t\to->in = \&p->pending;/'
mutant context_not_freed_on_failure executor/executor.c oom oom/constructors \
	'/^exs_executor \*exsi_own/,/^}/s/ctx_free\(ctx\);/;/'
mutant oldest_not_asked_for decorators/poll_turn.c oom oom/poll \
	's/s && set->n < set->room/s \&\& set->n <= set->room/'

# --- map, flat_map, bind ---
mutant map_of_a_cancelled_call decorators/map.c map map/cancelled_passes \
	's/if \(!fn \|\| r->kind == EXS_KIND_CANCELLED\)/if (!fn)/'
mutant map_answer_not_checked decorators/map.c map map/invalid_answer_is_an_error_that_names_the_function \
	's/^\texsi_check_result\(.*//'
mutant error_goes_to_fn decorators/map.c map map/error_replaced_by_a_value_and_by_another_error \
	's/failed \? m->error_fn : m->fn/m->fn/'
mutant flat_map_goes_on_when_stopped decorators/flat_map.c flat_map flat_map/cancel_while_the_delegate_runs \
	's/^\tif \(exs_call_stopped\(f, x\)\) \{/\tif (false) {/'
mutant stopped_value_leaked decorators/flat_map.c flat_map flat_map/cancel_while_the_delegate_runs \
	's/^\texs_result_clear\(r\);//'
mutant inner_future_leaked executor/adopt.c flat_map flat_map/goes_on_with_the_inner_future \
	's/^\texs_future_unref\(inner\);$//'
mutant shared_value_taken executor/adopt.c flat_map flat_map/shared_inner_future \
	's/else if \(r\.destroy && exs_future_take\(inner, &r\)\)/else if (false)/'
mutant stop_not_passed_on executor/adopt.c flat_map flat_map/cancel_reaches_a_pending_inner_future \
	's/^\t\texsi_cancel_next\(tell, cause\);/\t\texsi_drop(tell);/'
mutant stop_during_fn_not_passed_on executor/adopt.c flat_map flat_map/cancel_while_the_function_runs \
	's/^\t\texsi_cancel\(tell, EXSI_STOP_ALL, cause\);//'
mutant end_of_inner_not_noted executor/adopt.c stress stress/random_schedules \
	's/^\ts->done = true;//'
mutant insistence_ignored executor/call.c flat_map flat_map/cancel_and_timeout_while_the_function_runs \
	's/cause = first > EXS_CAUSE_USER \? first : EXS_CAUSE_TIMEOUT;/;/'
mutant adopted_calls_not_swept executor/shutdown.c flat_map flat_map/shutdown_of_a_pending_inner_future \
	's/!exsi_has_children\(layer\) \|\| layer->marks_running/!layer->ops.child || layer->marks_running/'
mutant stops_recurse future/future.c stack stack/flat_maps_that_wait_for_each_other \
	's/if \(p && p->n < p->room && p->cause == cause .*\) \{/if (false) {/'
mutant stops_not_together future/future.c flat_map flat_map/cancelled_together \
	's/^\tstruct passed_on p = \{\.room = n, /\tstruct passed_on p = {.room = 0, /'
mutant completion_recurses executor/adopt.c stack stack/flat_maps_that_wait_for_each_other \
	's/^\texs_call_release\(f, x, EXS_UP, &s->outcome, &s->link\);/\texs_result r = s->outcome;\n\texs_call_resume(f, x, EXS_UP, \&r);/'
mutant callback_holds_up_the_call future/future.c flat_map flat_map/callback_of_the_inner_future_waits_for_the_call \
	's/ && n->kind != EXSI_CONTINUATION\)/)/'
mutant end_put_off_when_cancelled future/future.c flat_map flat_map/cancel_in_a_callback \
	's/exsi_self\(\)->drain\(false\);/;/'
mutant submit_blocks_what_is_put_off base/thread.c flat_map flat_map/submit_that_blocks_in_a_callback \
	's/^\t\tif \(!exsi_thread\.drain\)$/\t\tif (true)/'
mutant bound_once_only decorators/flat_bind.c flat_bind flat_bind/under_retry_and_abandon \
	's/^\tf->fn = exs_bound;.*//'
mutant binder_is_the_outermost decorators/flat_bind.c flat_bind flat_bind/outermost_counts \
	's/ && atomic_load\(&\(\(struct slot \*\)exsi_slot\(f, x\)\)->bound\)//'
mutant all_calls_bound decorators/bind.c bind bind/other_functions_pass \
	's/if \(f->fn == exs_bound\)/if (true)/'

# --- simulation ---
mutant sim_order_not_drawn pools/sim_pool.c sim sim/every_order_comes \
	's/p->calls\[exsi_sim_below\(p->sim, p->n_ready\)\]/p->calls[0]/'
mutant sim_jitter_not_drawn base/sync.c sim sim/jitter_comes_from_the_seed \
	'/^double exsi_random/,/^}/s/^\tif \(turner\)/\tif (false)/'
mutant sim_time_stands_still pools/sim_turn.c sim sim/time_passes_beside_a_busy_poller \
	's/^\t\tsim->chores_done\+\+;/\t\t;/'
mutant sim_delayed_calls_mixed_up pools/sim_pool.c sim_conformance sim_conformance/random_chains \
	'/^static void take_out/,/^}/s/at = p->n_ready;/;/'
mutant sim_poller_entered_again pools/sim_turn.c sim_conformance sim_conformance/random_chains \
	's/if \(c->busy \|\| /if (/'
mutant sim_released_while_in_use executor/shutdown.c sim sim/a_chain_in_use_is_not_released \
	's/while \(x && \(!over\(x\) \|\| exsi_inside\(x\)\)\)/while (x \&\& !over(x))/'
mutant sim_poller_not_dismissed executor/servant.c sim_conformance sim_conformance/random_chains \
	's/^\t\texsi_dismiss\(&s->chore\);/\t\t;/'
mutant sim_waits_in_real_time base/thread.c sim sim/waits_are_measured_on_its_clock \
	's/return exsi_thread\.turner \? .*$/return exsi_now();/'
mutant restart_seen_as_submit executor/call.c call call/a_restart_within_its_own_submit_is_a_restart \
	's/^\telse if \(me\.entering == f\)/\telse if (false)/'
mutant sim_waiting_task_has_no_spare pools/sim_pool.c sim_threads sim_threads/no_wait_is_inverted \
	's/^\t\trun->pool->n_running \+= begins.*/\t\t;/'
mutant sim_nobody_told_of_a_deadlock pools/sim_turn.c sim_threads sim_threads/deadlocks_are_found \
	's/^\twhile \(w->idles && w->below\)/\twhile (w->below)/'
mutant sim_polling_chain_released base/thread.c sim_threads sim_threads/a_chain_is_not_released_while_it_polls \
	's/^\tif \(turner && chore->busy\)/\tif (false)/'
mutant sim_handler_blocks_all future/context.c sim_threads sim_threads/a_task_awaits_its_handler \
	's/^\tif \(elsewhere && turner\)/\tif (false)/'
# What stress_test.c finds among threads, found in one process that can be replayed.
mutant sim_callback_order_reversed future/future.c conformance 'conformance/callbacks_once_and_in_order@sim: *' \
	's/^\treturn node;/\treturn last;/'
mutant sim_table_of_members_not_cleared future/set.c conformance 'conformance/thousand_submits@sim: *' \
	's/^\tmemset\(set->table, 0.*//'
mutant sim_late_outcome_goes_up_twice decorators/timeout_wait.c conformance 'conformance/thousand_submits_with_faults@sim: *' \
	's/^\t\treturn EXS_HELD;/\t\treturn EXS_UP;/'
mutant sim_nested_abandon_frees_the_arg executor/call.c conformance 'conformance/last_attempt_may_succeed@sim: *' \
	's/, \.arg_free = exsi_arg_drop\}/}/'
mutant sim_park_not_refused_when_stopped executor/call.c conformance 'conformance/cancel_what_runs@sim: *' \
	's/if \(exsi_stop\(s\) > x->depth\)/if (false)/'
mutant sim_call_stays_in_hand decorators/poll_descriptor.c conformance 'conformance/value@sim: *' \
	's/^\texsi_hand_take\(held\);/\t;/'

# --- scopes ---
mutant abandoned_member_not_counted executor/child.c scope scope/abandoned_tasks_are_awaited \
	'/^static void parents_hold/,/^}/s/exsi_scope_enter\(scope\);/;/'
mutant siblings_not_cancelled executor/scope.c scope scope/first_error_cancels_the_others \
	's/stop\(s, EXS_CAUSE_SIBLING\);/s->cause = EXS_CAUSE_SIBLING;/'
mutant last_error_answered executor/scope.c scope scope/error_is_the_first_itself \
	's/^\tif \(!s->error\)$/\tif (true)/'
mutant failed_scope_takes_more executor/scope.c scope scope/failed_scope_takes_no_more \
	's/^\tif \(!cause\)$/\tif (true)/; s/^\treturn !cause;/\treturn true;/'
mutant batch_not_counted decorators/poll_turn.c scope scope/poll_functions_are_awaited \
	's/exsi_scope_(enter|leave)\(d->scope\);/;/'
mutant late_member_not_tried_again executor/scope.c scope scope/closing_worker_runs_what_comes_late \
	's/^\tif \(again\)$/\tif (false)/'
mutant nudge_not_heard executor/scope.c scope scope/close_on_an_event_loop \
	's/^\tif \(atomic_exchange\(&c->nudged, false\)\)$/\tif (false)/'
mutant close_waits_for_itself executor/scope.c scope scope/close_from_within_is_refused \
	's/^\tif \(would_deadlock\(s\)\)$/\tif (false)/'
mutant poll_thread_waits_for_itself decorators/poll_turn.c scope scope/close_in_the_batch_of_a_member \
	's/s\.found = p->batch\.d\[i\]\.scope == scope;/s.found = false;/'
mutant submit_not_awaited executor/scope.c races races/scope_is_closed_while_a_submit_is_under_way \
	'/^static exs_future \*submit/,/^}/{s/exsi_scope_(enter|leave)\(s\);/;/}'
mutant no_room_for_the_rest executor/scope.c oom oom/scopes \
	's/^\twhile \(\(n = next_untold\(s, calls, room\)\)\) \{/\tif ((n = next_untold(s, calls, room))) {/'
mutant arena_counts_too_little executor/scope.c scope scope/arena \
	's/^\tc->used \+= size;/\tc->used += size - ALIGN * (size > ALIGN);/'

mutant a_new_member_is_no_news future/set.c set set/a_worker_that_sleeps_on_it_is_told_of_a_member \
	's/^\texsi_news_of\(f\);//'

# --- functions on futures ---
mutant mapped_value_of_others_destroyed future/functions.c functions functions/map_what_others_have \
	's/^\tr\.destroy = NULL;//'
mutant mapped_input_not_kept future/functions.c functions functions/map_what_others_have \
	's/bool keeps = shared/bool keeps = false \&\& shared/'
mutant map_recurses future/functions.c functions functions/a_million_links \
	's/^\tif \(due\.running\)/\tif (false)/'
mutant map_not_run_before_a_wait future/future.c functions functions/map_inside_a_function \
	's/^\texsi_run_due\(\);//'
mutant map_cancel_not_passed_on future/then.c functions functions/cancel_goes_to_the_input \
	's/exsi_cancel_next\(input, cause\);/exsi_drop(input);/'
mutant map_not_seen_through executor/executor.c functions functions/wait_inside_a_task \
	's/else if \(!x \&\& !exs_future_is_done\(f\) \&\& f->source->input\) \{/else if (false) {/'
mutant flat_map_stop_forgotten future/then.c functions functions/flat_map_cancelled_while_the_function_runs \
	's/if \(cause != EXS_CAUSE_NONE\)/if (false)/'
mutant flat_map_tells_no_waiter future/then.c functions functions/flat_map_wakes_a_worker_that_waits_for_it \
	's/^\t\texsi_news_of\(inner\);/\t\t;/'
mutant flat_map_input_not_kept future/then.c functions functions/flat_map_what_others_have \
	's/^\tm->first = m->then\.input;/\tm->first = (exs_future_unref(m->then.input), exs_future_return(NULL, NULL));/'
mutant flat_map_cancels_the_input future/then.c functions functions/flat_map_cancelled_after \
	's/^\t\texsi_cancel_next\(inner, cause\);/\t\texsi_drop(inner);/'
mutant ensure_loses_the_token future/pass.c pass pass/ensure_cancelled \
	's/^\tatomic_fetch_or\(&f->state, EXSI_PARKED\);//'
mutant nocancel_has_a_token future/pass.c pass pass/nocancel \
	's/fn \? EXSI_PARKED : 0/EXSI_PARKED/'
mutant rest_not_cancelled future/gather.c gather gather/the_rest_is_cancelled_once_it_is_decided \
	's/^\t\texsi_cancel_these\(take_rest\(g\), EXS_CAUSE_SIBLING\);/\t\t;/'
mutant cancelled_before_all_are_added future/gather.c gather gather/decided_at_once \
	's/ == \(ADDED \| DECIDED\)\)/ \& DECIDED)/'
mutant cancel_of_many_not_passed_on future/gather.c gather gather/a_cancel_goes_to_all \
	's/^\texsi_cancel_next_all\(take_rest\(g\)\);//'
mutant one_of_two_is_needed future/gather.c gather gather/wait_for_either_of_which_one_waits_for_itself \
	's/\.any = true, //'
mutant only_the_first_input_is_seen executor/executor.c gather gather/wait_inside_a_task \
	's/^\tif \(cursor == SIZE_MAX\)/\tif (true)/'
mutant many_are_told_one_by_one future/future.c gather gather/a_cancel_is_one_for_a_poll_set \
	's/exs_future \*\*now = exsi_alloc_array\(3 \* total, sizeof\(exs_future \*\)\)/exs_future **now = NULL/'
mutant zipped_value_of_others_destroyed future/zip.c zip zip/the_same_input_twice \
	's/\.input = shared \? input : NULL\}/.input = NULL}/'
mutant zipped_values_free_each_other future/zip.c zip zip/a_hundred_thousand_deep \
	's/^\tif \(to_free\.running\)/\tif (false)/'
mutant zipped_values_freed_with_the_inputs future/zip.c zip zip/values_in_the_order_of_the_inputs \
	's/^\tg->collected = NULL;//'

# --- futures with a time, futures elsewhere, predicates, trackers ---
mutant future_timeout_not_disarmed executor/future_timeout.c future_timeout future_timeout/value_in_time \
	's/^\t\texsi_timer_disarm\(clock, \&l->timer\);/\t\t;/'
mutant future_timeout_leaves_its_input executor/link.c future_timeout future_timeout/fails_at_the_deadline \
	's/^\t\texsi_cancel\(input, EXSI_STOP_ALL, cause\);//'
mutant future_timeout_though_in_time executor/future_timeout.c future_timeout future_timeout/done_in_time_and_told_later \
	's/return !exs_future_is_done\(l->link\.input\) \&\& /return /'
mutant future_timeout_cancel_not_passed_on executor/link.c future_timeout future_timeout/cancel_goes_to_the_input \
	's/exsi_cancel_next\(input, cause\);/exsi_drop(input);/'
mutant time_of_the_chain_not_seen executor/time.c future_timeout future_timeout/clock_seen_through_futures \
	's/return exsi_find_work\(f, has_clock, \&clock\)/return has_clock(f, \&clock)/'
mutant time_never_ends executor/time.c future_timeout future_timeout/threads_end_with_the_last \
	's/^\t\texsi_executor_unref_at_last\(time->keeper\);/\t\t;/'
mutant time_left_to_nobody executor/shutdown.c future_timeout future_timeout/threads_end_with_the_last \
	's/^\tif \(atomic_load\(\&exsi_executors\)\)/\tif (true)/'
mutant time_ends_with_each executor/shutdown.c future_timeout future_timeout/threads_stay_for_the_next \
	's/^\tif \(atomic_load\(\&exsi_executors\)\)/\tif (false)/'
mutant via_cancel_stays_above executor/via.c via via/cancel_goes_to_the_queued_call \
	's/^\texsi_cancel_next\(carrier, cause\);/\texsi_drop(carrier);/'
mutant via_carrier_not_seen executor/via.c via via/wait_on_the_only_worker \
	's/of\(f\)->carrier \? of\(f\)->carrier : //'
mutant via_has_the_outcome_of_the_carrier executor/via.c via via/shut_down_while_queued \
	's/if \(r\.kind == EXS_KIND_VALUE\)/if (true)/'
mutant until_stop_overlooked executor/until.c until until/cancel_during_a_check \
	's/^\t\tif \(exsi_stop\(s\)\)/\t\tif (false)/'
mutant until_delays_stay executor/until.c until until/default_delays \
	's/least\(u->delay \* u->factor, u->max\)/u->delay/'
mutant until_delays_without_end executor/until.c until until/delays_of_options \
	's/least\(u->delay \* u->factor, u->max\)/u->delay * u->factor/'
mutant until_leaves_what_was_set executor/until.c until until/result_of_a_check_that_fails \
	's/^\t\texs_result_clear\(r\);/\t\t;/'
mutant tracker_one_too_few executor/tracker.c tracker tracker/done_in_time \
	's/t->count < of_heap\(t->fewer\.first\)->n/t->count + 1 < of_heap(t->fewer.first)->n/'
mutant tracker_done_ones_do_not_count executor/tracker.c tracker tracker/added_while_somebody_waits \
	'/^static void passes/,/^}/s/^\tdecide_any.*//'
mutant tracker_moved_member_not_told executor/tracker.c tracker tracker/hundred_thousand \
	's/^\tlast->index = m->index;//'
mutant tracker_waiters_not_told executor/tracker.c tracker tracker/wait_on_the_only_worker \
	's/^\texsi_news_of\(f\);//'
mutant tracker_release_is_done executor/tracker.c tracker tracker/release \
	's/^\tw->released = released;/\tw->released = false;/'

# --- metrics, events, what is alive ---
mutant call_not_counted_down executor/watch.c metrics metrics/calls_by_their_outcome \
	's/^\texsi_series_add\(s, EXSI_CALLS_ENDED, 1\);//'
mutant restart_counted_on executor/watch.c metrics metrics/of_retries_below_layers \
	'/^static void count_restart/,/^}/s/^\tw->restarting = false;//'
mutant cancelled_backoff_waits_on executor/call_timer.c metrics metrics/backoffs_that_are_cancelled \
	'/^void exsi_call_timer_disarm/,/^}/s/^\tatomic_fetch_sub\(&x->timed, 1\);//'
mutant forced_call_counts_as_done executor/watch.c metrics metrics/of_what_a_shutdown_fails \
	's/&& is_forced\(f\)/\&\& false/'
mutant later_starts_end_the_queue_time executor/watch.c events events/of_attempts_with_their_times \
	's/atomic_compare_exchange_strong\(&its->started, &never, now\)/(void)never, atomic_store(\&its->started, now)/'
mutant child_hides_the_name future/context.c events events/of_an_abandoned_attempt \
	's/ && exsi_extra\(f\)->name//'
mutant abandoned_as_any_other executor/dump.c events alive/lists_what_was_abandoned \
	's/parent && exs_future_is_done\(parent\)/false/'

# --- streams ---
mutant stream_reader_not_told stream/window.c stream stream/cancel_wakes_a_reader_and_stops_what_runs \
	's/^\t\tgate = take_out\(&s->gate\);//'
mutant stream_producer_not_told stream/window.c producer produce/waits_for_room \
	's/^\t\troom = take_out\(&s->room\);//'
mutant stream_stage_not_told stream/window.c stages stages/bounded_each \
	's/^\t\tsink = s->sink;/\t\tsink = NULL;/'
mutant stream_descriptor_stays stream/window.c stream stream/descriptor_says_when_there_is_something_to_read \
	's/exsi_event_assign\(&s->event, readable\)/exsi_event_assign(\&s->event, true)/'
mutant stream_cancel_leaves_what_runs stream/window.c stream stream/cancel_wakes_a_reader_and_stops_what_runs \
	's/^\t\texsi_cancel_all\(futures, n, cause, false\);//'
mutant stream_failure_drops_nothing stream/window.c stream stream/stop_on_error_drops_what_comes_after \
	's/if \(!s->as_completed \|\| exsi_place_of\(link\)->state != EXSI_READY\)/if (false)/'
mutant stream_ticks_on stream/stall.c stream stream/timer_is_off_when_nothing_is_awaited \
	's/bool awaits = false;/bool awaits = true;/'
mutant stream_kept_by_what_it_awaited stream/window.c stream stream/freed_while_items_are_on_their_way \
	'/^static void fire\(/,/^}/s/if \(last\)/if (false)/'
mutant stream_dropped_by_each_that_it_awaited stream/window.c stream stream/freed_while_items_are_on_their_way \
	'/^static void fire\(/,/^}/s/if \(last\)/if (true)/'
mutant stream_error_told_again stream/window.c stream stream/source_that_fails_ends_it_after_the_items_before \
	's/^\ts->told = true;//'
mutant stream_later_error_counts stream/window.c stream stream/stop_with_an_error \
	's/^\texs_error \*unused = s->error \|\| s->closed \? error : NULL;/\texs_error *unused = NULL;/'
mutant stream_cancel_stays_below stream/window.c stages stages/cancel_goes_up \
	'/^void exs_stream_cancel/,/^}/s/if \(s->in\)/if (false)/'
mutant stream_failure_stays_below stream/window.c stages stages/stop_on_error_below_cancels_above \
	'/static void end_at/,/^}/s/if \(s->in\)/if (false)/'
mutant stream_one_too_many stream/pump.c stream stream/one_at_a_time \
	's/return s->count < s->max/return s->count <= s->max/'
mutant stream_not_lazy stream/pump.c stream stream/inline_is_as_lazy_as_it_can_be \
	's/!\(for_reader && s->lazy/!(false/'
mutant stream_pause_overlooked stream/pump.c stream stream/paused_begins_none \
	's/ && !s->paused//; s/ \|\| s->paused\)/)/'
mutant stream_input_not_kept stream/pump.c stream_stall stream_stall/any_answer_begins_the_count_anew \
	's/if \(!from && !again\)/if (!from)/'
mutant stream_code_error_without_number stream/pump.c stream stream/items_that_can_not_be_coded_carry_their_number \
	's/^\texs_error \*why = r\.kind == EXS_KIND_ERROR \? r\.error : NULL;/\texs_error *why = NULL;/'
mutant stream_retries_without_end stream/stall.c stream stream/lost_items_are_begun_again \
	's/^\ts->retries \+= .*//'
mutant stream_lost_ones_run_on stream/stall.c stream stream/lost_items_are_begun_again \
	's/^\t\t\texsi_cancel\(old, EXSI_STOP_ALL, EXS_CAUSE_TIMEOUT\);//'
mutant stream_first_not_watched stream/window.c producer produce/descriptor_tells_of_an_item_that_comes_later \
	's/if \(!p \|\| p->state != EXSI_AWAITED \|\| p->watched\)/if (true)/'
mutant stream_arrival_not_told stream/window.c producer produce/descriptor_tells_of_an_item_that_comes_later \
	'/^static void look_after/,/^}/s/atomic_load\(&s->waited\)/false/'
mutant stream_arrival_not_swept stream/window.c producer produce/freed_while_an_item_is_on_its_way \
	'/^static void look_after/,/^}/s/atomic_load\(&s->cut\)/false/'
mutant stream_cancel_leaves_what_arrived stream/window.c stream stream/freed_with_what_has_arrived \
	'/^void exs_stream_cancel/,/^}/s/^\tsweep\(s\);//'
mutant stream_answers_not_looked_for stream/stall.c stream_stall stream_stall/answers_that_nobody_waits_for_are_seen \
	's/if \(exsi_is_seen_done\(p\)\)/if (false)/'
mutant stream_looks_too_late stream/stall.c stream_stall stream_stall/answers_that_nobody_waits_for_are_seen \
	's/return s->timeout \/ 8 \+ 1;/return s->timeout;/'
mutant stream_tick_blind_behind_ready stream/stall.c stream_stall stream_stall/answers_behind_one_that_is_not_read_are_seen \
	's/exsi_stream_receive\(s\);/exsi_place_next(s);/'
mutant stream_source_asked_when_closed stream/pump.c stream_stall stream_ends/source_is_not_asked_after_free \
	's/if \(s->closed \|\| s->paused\).*/if (false)/'
mutant stream_late_answer_thrown_away stream/stall.c stream_stall stream_stall/an_answer_while_others_are_given_up_counts \
	's/if \(exsi_is_done\(old\)\)/if (false)/'
mutant stream_not_decoded stream/read.c stream stream/items_that_can_not_be_coded_carry_their_number \
	's/return s->decode \?/return false ?/'
mutant stream_room_for_one_more stream/produce.c producer produce/try_does_not_wait_for_room \
	's/s->count >= s->max && !beyond/s->count > s->max \&\& !beyond/'
mutant stream_produces_while_paused stream/produce.c producer produce/paused_items_keep_their_places \
	's/= is_paused\(s\) \?/= false ?/'
mutant stream_cancel_of_one_held stream/produce.c producer produce/paused_items_keep_their_places \
	's/return f \? exs_future_nocancel\(f\) : NULL;/return f;/'
mutant producer_early_exit_unnoticed stream/producer.c producer producer/early_exit_of_the_consumer \
	'/^static void consumed/,/^}/s/^\texs_stream_cancel\(p->stream\);//'
mutant producer_second_stop stream/producer.c producer producer/second_stop_and_produce_after_it_complete_at_once_with_nothing \
	's/bool first = !p->stopped;/bool first = true;/'
mutant producer_failure_not_reported stream/producer.c producer producer/first_failure_ends_the_iteration_and_is_what_stop_reports \
	's/if \(!error \|\| exs_error_is/if (true || exs_error_is/'
mutant producer_items_before_the_start_run stream/producer.c producer producer/items_before_the_start_wait \
	'/^exs_producer \*exs_producer_new_sized/,/^}/s/^\texs_stream_pause\(p->stream\);//'
mutant stage_failed_item_is_an_input stream/stream_map.c stages stages/item_that_fails_keeps_its_place \
	's/if \(exs_future_state\(item\.future\) != EXS_STATE_VALUE\)/if (false)/'
mutant stage_cancel_above_is_an_end stream/stream_map.c stages stages/cancel_above_comes_down \
	's/why = exs_stream_error\(s->in\);/why = NULL;/'
mutant batch_never_due stream/stream_batch.c stages stages/batch_after_so_many_seconds \
	's/b->due = now >= next;/b->due = false;/'
mutant batch_time_of_the_one_before stream/stream_batch.c stages stages/batch_after_so_many_seconds \
	's/^\tnote_begun\(s, EXSI_NEVER\);//; s/if \(b->used == 1 \&\& b->ns/if (b->used == 1 \&\& b->begun == EXSI_NEVER \&\& b->ns/'
mutant iterator_stop_does_not_wake stream/iterator.c iterator iterator/stop_wakes_a_task_that_waits_for_room \
	'/^static void interrupt/,/^}/s/atomic_store\(&s->interrupted, true\);//'
mutant iterator_waits_below_its_reader stream/iterator.c iterator iterator/inline_keeps_all \
	's/\(atomic_load\(&e->starting\) &&/(false \&\&/'
mutant iterator_cancel_leaves_the_task stream/iterator.c iterator iterator/cancel_before_the_first_item \
	'/^static void emitted_cancel/,/^}/s/if \(s->extra\)/if (false)/'
mutant iterator_run_by_its_reader stream/iterator.c iterator iterator/read_on_a_worker_of_the_same_pool \
	's/^\tbelow->alone = true;//'
mutant iterator_error_lost stream/iterator.c iterator iterator/error_after_items_ends_the_stream \
	's/exs_error \*error = exs_error_ref\(exs_future_error\(f\)\);/exs_error *error = NULL;/'
mutant stream_ends_before_what_comes stream/window.c stream_stall stream_ends/after_what_the_source_is_about_to_give \
	's/\(s->cut \? exsi_list_is_empty\(&s->window\) : !s->count\)/exsi_list_is_empty(\&s->window)/'
mutant stream_free_waits_for_its_own_source stream/stream.c stream_stall stream_ends/free_waits_for_the_source_of_the_first_stage \
	's/wait_for_source\(first\)/wait_for_source(s)/'
mutant stream_begun_again_waits_for_room stream/pump.c stream_stall stream_stall/lost_in_a_full_pool \
	's/EXS_ENTRY_RESTART/EXS_ENTRY_SUBMIT/'
mutant stream_answer_does_not_count stream/window.c stream_stall stream_stall/any_answer_begins_the_count_anew \
	's/^\ts->retries = 0;//'
mutant stream_gives_up_without_memory stream/window.c oom oom/streams \
	's/exsi_stream_pump\(s, !is_sink\); \/\* which had given up \*\//exsi_stream_unlock(s);/'
mutant stream_input_gone_with_its_item stream/pump.c stream_stall stream_stall/input_lives_until_the_last_attempt_has_ended \
	's/^\t\tatomic_fetch_add\(&p->input->refs, 1\);//'
mutant sim_chooses_what_is_below pools/sim_turn.c sim_threads sim_threads/a_wait_within_another_lets_time_pass \
	's/return w->seat->wait == w;/return true;/'

# --- processes: bytes, frames, channels, errors, invocations ---
mutant bytes_seals_not_checked base/bytes.c bytes bytes/adopt_needs_each_seal \
	's/\(seals & SEALS\) != SEALS/!(seals \& SEALS)/'
mutant bytes_size_not_checked base/bytes.c bytes bytes/adopt_needs_the_very_size \
	's/size == 0 \|\| \(uint64_t\)status\.st_size != size/size == 0/'
mutant bytes_shared_unsealed base/bytes.c bytes bytes/shared_are_sealed_and_stay_where_they_are \
	's/ && !fcntl\(fd, F_ADD_SEALS, SEALS\)//'
mutant bytes_shared_at_another_size base/bytes.c bytes bytes/shared_at_their_lowered_size \
	's/return has_size\(fd, bytes->size\) \? fd : -1;/return fd;/'
mutant bytes_longer_than_files_may_be base/bytes.c bytes bytes/not_shared_where_files_may_not_be_as_long \
	's/may_be_long\(bytes->size\) \?/true ?/'
mutant frame_within_another_message process/frame.c frame frame/refuses_packets_of_another_message_in_between \
	's/h->type != m->type \|\| h->id != m->id/h->type != m->type/'
mutant frame_memory_within_a_message process/frame.c frame frame/refuses_memory_within_a_message \
	'/^static const char \*wrong_with_memory/,/^}/s/if \(d->partial\)/if (false)/'
mutant frame_more_than_announced process/frame.c frame frame/refuses_more_bytes_than_due_at_the_end \
	's/return n != \(left </return n < (left </'
mutant frame_limit_of_memory_alone process/frame.c frame frame/refuses_what_is_over_the_limit \
	's/h->size > d->max \|\| n > d->max - h->size/h->size > d->max/'
mutant frame_room_as_announced process/frame.c frame frame/makes_room_as_bytes_come \
	's/room = head \? 2 \* had : FIRST_ROOM/room = d->size/'
mutant channel_overtakes_what_is_kept process/channel.c channel channel/overtakes_nothing_that_is_kept \
	's/exsi_list_is_empty\(&c->out\) \? send_rest\(c, o\) : EAGAIN/send_rest(c, o)/'
mutant channel_keeps_without_end process/channel.c channel channel/keeps_only_so_many \
	's/c->kept < EXSI_CHANNEL_KEPT \?/true ?/'
mutant channel_half_a_message process/channel.c channel channel/a_message_that_cannot_be_finished_ends_it \
	's/rc == ENOMEM && o->done == 0/rc == ENOMEM/'
mutant channel_descriptors_left_open process/channel.c channel channel/refuses_descriptors_too_many \
	'/^static int take_descriptors/,/^}/s/^\tclose\(one\);//'
mutant errors_too_many_in_all process/errors.c errors errors/too_many_in_all_are_rejected \
	's/^\t\*left -= n;//'
mutant errors_too_deep process/errors.c errors errors/too_deep_ones_are_rejected \
	's/ && levels && n <= / \&\& n <= /'
mutant errors_text_without_end process/errors.c errors errors/many_long_texts_are_cut_further \
	's/left->text < TEXT \? left->text : TEXT/TEXT/'
mutant errors_character_divided process/errors.c errors errors/no_character_is_divided \
	's/i < 3 && size &&/i < 0 \&\& size \&\&/'
mutant registry_takes_another process/registry.c registry registry/the_same_again_is_allowed_another_is_not \
	's/if \(known == fn\)/if (known)/'
mutant invocation_inputs_beyond_its_body process/invocation.c invocation invocation/is_refused_when_it_is_malformed \
	's/return steps\.at != body \?/return steps.at < body ?/'
mutant invocation_not_stopped process/invocation.c invocation invocation/chain_is_stopped_between_its_steps \
	's/r = i && exs_context_stop_requested\(ctx\)/r = false/'
mutant schedule_refused_in_a_drain process/schedule.c schedule schedule/drain_waits_for_what_comes_after_it_began \
	's/closing\) > EXS_DRAIN/closing) >= EXS_DRAIN/'
mutant schedule_after_a_stop process/schedule.c schedule schedule/is_refused_to_a_task_that_was_asked_to_stop \
	's/exs_context_stop_requested\(\(exs_context \*\)\(void \*\)task\)/false/'

# --- messages ---
mutant messages_end_seen_apart decorators/messages_inbox.c messages messages/last_message_is_never_lost \
	's/^\tstruct message \*m = inbox->first;/&\n\texsi_unlock(\&inbox->lock);\n\texsi_lock(\&inbox->lock);/'
mutant messages_end_not_told decorators/messages_inbox.c messages messages/cancel_of_the_last_task_ends_the_wait \
	's/exsi_list_is_empty\(&inbox->tasks\) \? take_gate\(inbox\) : NULL/NULL/'
mutant messages_looks_at_one_that_left decorators/messages_inbox.c messages messages/read_on_a_worker_of_the_same_pool \
	's/^\t\tinbox->looked = t->link\.prev;/\t\t;/'
mutant messages_appended_to_one_that_was_read decorators/messages_inbox.c messages messages/over_executors \
	'/^static exs_set_status take/,/^}/s/if \(!inbox->first\)/if (false)/'

# --- processes: spawned, and from inside ---
mutant spawn_descriptors_inherited process/spawn.c spawn spawn/nothing_is_inherited \
	's/posix_spawn_file_actions_addclosefrom_np\(actions, ABOVE_CHILD\)/0/'
mutant spawn_signals_inherited process/spawn.c spawn spawn/signals_are_at_their_defaults \
	's/ \| POSIX_SPAWN_SETSIGMASK//'
mutant spawn_signal_to_one_alone process/spawn.c spawn spawn/a_signal_goes_to_its_group \
	's/kill\(-child->pid, signal\)/kill(child->pid, signal)/'
mutant spawn_group_left process/spawn.c spawn spawn/what_is_left_of_its_group_is_killed \
	's/^\tkill\(-child->pid, SIGKILL\); \/\*.*//'
mutant watchdog_not_of_the_socket process/place.c place place/a_busy_one_ends_when_its_control_socket_closes \
	's/poll\(fds, 2, -1\) < 0/poll(fds + 1, 1, -1) < 0/'
mutant watchdog_not_of_the_parent process/place.c place place/a_busy_one_ends_when_its_parent_is_killed_but_the_socket_is_open \
	's/poll\(fds, 2, -1\) < 0/poll(fds, 1, -1) < 0/'
mutant limits_raised process/place.c place place/limits_are_never_raised \
	's/hard < limit\.rlim_max \? hard : limit\.rlim_max/hard/'
mutant output_read_without_end process/output.c output output/a_read_is_bounded \
	's/i < BLOCKS/i < 100 * BLOCKS/'

# --- process pool ---
mutant worker_is_believed_what_it_was_not_given process/remote_event.c hostile hostile/each_malformed_form_ends_its_worker_alone \
	's/given = given && w->id == id/given = given/'
mutant worker_answers_what_is_about_to_be_given process/remote_event.c process_review process_review/answers_to_what_is_about_to_be_given \
	's/id && atomic_load\(&w->given\) >= id/id/'
mutant worker_gives_back_unasked process/remote_event.c hostile hostile/each_malformed_form_ends_its_worker_alone \
	's/asked = w->recalled &&/asked =/'
mutant items_beyond_credit process/remote_items.c hostile hostile/items_without_credit \
	's/bool may = items->credit > 0;/bool may = true;/'
mutant items_credit_not_given_again process/remote_items.c process_items process_items/worker_stays_so_many_ahead \
	's/uint32_t give = room > items->credit \? .*;/uint32_t give = 0;/'
mutant ahead_not_recalled process/remote_give.c process_ahead process_ahead/those_behind_one_that_waits_run_elsewhere_in_order \
	's/^\t\tw->recall = exsi_after\(w->since, PATIENCE\);/\t\t;/'
mutant ahead_back_in_reverse process/remote_give.c process_ahead process_ahead/those_behind_one_that_waits_run_elsewhere_in_order \
	'/^void exsi_remote_give_back/,/^}/s/list->prev/list->next/'
mutant ahead_begun_though_recalled process/worker.c process_ahead process_ahead/those_behind_one_that_waits_run_elsewhere_in_order \
	's/bool begins = id > here\.recalled;/bool begins = true;/'
mutant ahead_recalled_with_what_runs process/worker.c process_ahead process_ahead/those_behind_one_that_waits_run_elsewhere_in_order \
	's/here\.recalled : here\.recalled\) \+ 1|here\.recalled\) \+ 1/here.recalled)/; s/\(here\.id > here\.recalled \?/(here.id >= here.recalled ?/'
mutant ahead_lost_with_its_worker process/remote_event.c process_ahead process_ahead/those_of_a_killed_worker_have_not_begun \
	's/^\texsi_remote_give_back\(p, &ahead\);//'
mutant ahead_taken_for_begun process/remote_event.c process_ahead process_ahead/those_of_a_killed_worker_have_not_begun \
	's/^\texsi_remote_give_back\(p, &ahead\);/\twhile (!exsi_list_is_empty(\&ahead)) {\n\t\tstruct exsi_remote_slot *s = EXSI_CONTAINER_OF(ahead.next, struct exsi_remote_slot, link);\n\t\texsi_list_remove(\&s->link);\n\t\texsi_remote_bereave(w, exsi_slot_call(s, p->x));\n\t}/'
mutant ahead_begun_though_cancelled process/worker.c process_ahead process_ahead/cancel_of_one_that_has_not_begun \
	's/early\(id\)->id == id \? early\(id\)->cause : EXS_CAUSE_NONE/EXS_CAUSE_NONE/'
mutant deaths_not_counted process/remote_give.c process_pool process_pool/death_retries \
	's/^\ts->deaths\+\+;//'
mutant overdue_begun_again process/remote_give.c process_limits process_limits/task_seconds \
	's/ && !is_overdue\(w\)//'
mutant hope_without_end process/remote_event.c process_options process_options/program_that_is_no_worker \
	's/HOPELESS = 3/HOPELESS = 1000000/'
mutant hope_given_up_too_soon process/remote_event.c process_options process_options/setup_that_fails \
	's/HOPELESS = 3/HOPELESS = 1/'
mutant update_after_the_next_task process/remote_give.c process_limits process_limits/update_before_the_next_task \
	's/u = p->stopping \? NULL : exsi_update_next\(w\)/u = p->stopping || exsi_remote_lacks(p) || p->queued ? NULL : exsi_update_next(w)/'
mutant update_not_of_later_workers process/remote_update.c process_limits process_limits/update_of_later_workers \
	's/\(!u->ephemeral \|\| w->number <= u->last\)/w->number <= u->last/'
mutant kill_through_a_borrow process/process_pool.c process_close process_close/borrow_that_is_closed_closes_nothing_else \
	's/ && is_borrowed_by\(x\)/ \&\& false/'
mutant late_credit_takes_back process/worker.c worker worker/late_credit_does_not_count_for_another_task \
	's/here.told >= id/here.told == id/'
mutant late_credit_counts process/worker.c worker worker/late_credit_does_not_count_for_another_task \
	's/^\tif \(here.told == id\)/\tif (true)/'
mutant outlived_request_waits_for_the_kill process/remote_event.c process_limits process_limits/task_seconds_of_one_that_answers_then \
	's/w->how == EXSI_PART_TERM/false/'
mutant kill_spares_who_runs process/remote_event.c process_close process_close/kill_asks_nobody \
	's/^\t\tif \(p->killing\)$/\t\tif (false)/'
mutant kill_is_told_as_a_death process/remote_give.c process_close process_close/kill_cancels_all \
	's/if \(again \|\| p->killing \|\| heedless\)/if (again || heedless)/'
mutant kill_lets_submits_in process/remote.c process_close process_close/kill_lets_nothing_in \
	's/^\tif \(p->killing\) \{/\tif (false) {/'
mutant pool_not_kept_while_it_gives process/remote.c process_races process_races/freed_while_a_call_that_is_over_is_being_given \
	'/^\texsi_keep_for_submit\($/,/;/d; s/^\texsi_keep_for_submit\(p->x\);.*//; s/^\texsi_unkeep_for_submit\(p->x\);//'
mutant stop_before_dispatch_unheard process/remote.c process_close process_close/cancel_before_a_call_gets_there \
	's/^\tif \(exs_call_stopped\(f, p->x\)\)/\tif (false)/'
mutant spin_beside_busy_workers base/thread.c thread thread/no_spin_while_other_processes_need_the_processors \
	's/\(!busy \|\| n - 2 >= busy\)/true/'
mutant stream_of_invocations_not_seen_through stream/iterator.c process_items process_items/stream_of_invocations_that_are_begun_again \
	's/if \(work\.fn == exsi_input_run\)/if (false)/'
mutant iterator_of_invocations_not_seen_through stream/iterator.c process_items process_items/in_order \
	's/if \(work\.fn == emitter_run\)/if (false)/'
