"""What mergeometry promises of other people's weights, and the tests that hold it: the rows of docs/guarantees.md."""

from __future__ import annotations

from typing import NamedTuple


class Promise(NamedTuple):
    """One row: what is promised, the figure to reach, and the tests by file and name."""

    promise: str
    figure: str
    tests: tuple[str, ...]


_CRASH, _SINK, _HOSTILE, _SOURCES = (
    "tests/crash/test_",
    "tests/sink/test_",
    "tests/hostile/test_",
    "tests/sources/test_",
)

PROMISES = (
    Promise(
        "A merge that is killed at any moment can be resumed, to the same bytes",
        "every operation on files; 200 kills; at most one tensor per worker done again",
        (
            f"{_CRASH}operations.py::test_death_at_every_operation",
            f"{_CRASH}operations.py::test_every_kind_of_output",
            f"{_CRASH}operations.py::test_a_search_before_the_merge",
            f"{_CRASH}kill_loop.py::test_a_handful_of_kills",
            f"{_CRASH}kill_loop.py::test_two_hundred_kills",
            f"{_SINK}crash.py::test_at_most_one_tensor_is_done_again",
            "tests/execution/test_journal.py::test_a_value_of_another_type_anywhere_costs_at_most_tensors",
            "tests/cli/test_signals.py::test_sigterm_is_a_clean_stop",
        ),
    ),
    Promise(
        "A power loss leaves no incomplete output",
        "every prefix of a merge's operations, with what was not synced lost",
        (
            f"{_SINK}power_loss.py::test_no_prefix_leaves_an_incomplete_folder",
            f"{_SINK}power_loss.py::test_the_model_of_the_disk_catches_a_missing_sync",
            f"{_CRASH}power_loss.py::test_the_power_fails_now_and_then",
            f"{_CRASH}power_loss.py::test_the_power_fails_after_every_operation",
        ),
    ),
    Promise(
        "The output appears whole or not at all, and no file of an earlier one survives",
        "a reader that polls never sees part of it",
        (
            f"{_SINK}race.py::test_a_reader_never_sees_part_of_a_folder",
            f"{_SINK}staging.py::test_overwrite_leaves_no_stale_file",
            f"{_SINK}staging.py::test_empty_folder_is_replaced_and_anything_else_is_refused",
        ),
    ),
    Promise(
        "A failure publishes nothing, and what it leaves is collected",
        "no file of a model; the next run or `mergeometry clean` removes the rest",
        (
            f"{_SINK}crash.py::test_one_failing_operation_at_every_place",
            "tests/execution/test_failures.py::test_a_method_that_fails_is_named_with_the_tensor",
            "tests/execution/test_processes.py::test_a_worker_that_is_killed",
            f"{_CRASH}environment.py::test_the_lock_of_a_dead_run_holds_nobody_up",
        ),
    ),
    Promise(
        "Pickled code is never run",
        "no canary; nothing else in the source unpickles",
        (
            f"{_HOSTILE}tricks.py::test_a_trick_is_refused_by_name",
            f"{_HOSTILE}code.py::test_nothing_unpickles_or_evaluates_data",
            f"{_SOURCES}hostile_folder.py::test_pickles_are_never_run",
            f"{_SOURCES}pickles.py::test_a_hostile_pickle_is_refused_and_does_nothing",
        ),
    ),
    Promise(
        "A model's own code is neither run nor copied",
        "transformers is not imported while merging",
        (
            f"{_HOSTILE}code.py::test_a_merge_runs_no_code_of_a_model_and_imports_no_transformers",
            "tests/encoders/test_runnable.py::test_code_of_the_base_is_not_run_whatever_is_answered",
        ),
    ),
    Promise(
        "A damaged file is named",
        "cuts at every byte and 1,000 places of the data; flips of every byte of the header, 1,000 of header and of "
        "data; no death by a signal",
        (
            f"{_SOURCES}hostile_header.py::test_a_cut_at_any_byte_is_named",
            f"{_SOURCES}hostile_header.py::test_flipped_headers_parse_rightly_or_not_at_all",
            f"{_HOSTILE}data.py::test_a_cut_at_a_thousand_places_of_the_data",
            f"{_HOSTILE}data.py::test_a_flip_of_the_data_is_in_the_record",
            f"{_HOSTILE}data.py::test_a_flip_at_a_thousand_places_of_the_data",
            f"{_HOSTILE}data.py::test_a_file_that_is_cut_while_it_is_merged",
            f"{_SOURCES}hostile_folder.py::test_a_file_that_changes_after_its_header_was_read",
        ),
    ),
    Promise(
        "NaN and infinity do not pass in silence",
        "model, tensor and count named, in inputs and results",
        (
            "tests/execution/test_failures.py::test_values_that_are_not_finite_are_named",
            "tests/execution/test_failures.py::test_in_every_dtype",
            "tests/execution/test_failures.py::test_results_that_a_dtype_does_not_hold",
            "tests/execution/test_failures.py::test_in_a_tensor_of_a_dtype_that_is_not_merged",
        ),
    ),
    Promise(
        "Every tensor is accounted for",
        "all mismatches at once, before weights are read, with the nearest name",
        (
            "tests/plan/test_plan.py::test_all_that_does_not_fit_is_listed_at_once",
            "tests/plan/test_plan.py::test_no_weight_is_read",
            "tests/recipe/test_recipe.py::test_an_unknown_key_names_the_nearest",
            "tests/plan/test_folders.py::test_weights_that_a_merge_would_lose_are_refused_by_name",
        ),
    ),
    Promise(
        "A full disk is survived",
        "a disk of 8 MB, without bytes or without inodes; what is needed and free is said",
        (
            f"{_CRASH}full_disk.py::test_a_disk_that_is_too_small_is_told_first",
            f"{_CRASH}full_disk.py::test_a_disk_that_fills_meanwhile",
            f"{_CRASH}full_disk.py::test_inodes_are_not_bytes",
            f"{_CRASH}full_disk.py::test_a_limit_on_the_size_of_files",
            f"{_CRASH}full_disk.py::test_a_disk_that_fills_at_every_operation",
        ),
    ),
    Promise(
        "Two runs do not mix in one output",
        "50 races: one wins, the other explains",
        (
            f"{_SINK}race.py::test_of_two_runs_one_wins_and_the_other_explains",
            f"{_SINK}race.py::test_fifty_races",
            f"{_SINK}race.py::test_a_live_run_is_never_disturbed",
        ),
    ),
    Promise(
        "No path leads out of a model's folder",
        "refused before anything is opened; a hub cache's own blobs are allowed",
        (
            f"{_SOURCES}hostile_folder.py::test_no_name_in_an_index_leaves_the_folder",
            f"{_SOURCES}hostile_folder.py::test_links_out_of_the_folder",
            f"{_SOURCES}hostile_folder.py::test_a_hub_cache_links_to_its_own_blobs_only",
            f"{_SOURCES}hostile_folder.py::test_pipes_devices_sockets_and_folders_are_refused_without_waiting",
        ),
    ),
    Promise(
        "No small file unpacks to a large one",
        "refused in 50 ms and 50 MB",
        (
            f"{_HOSTILE}tricks.py::test_no_trick_takes_much_memory",
            f"{_HOSTILE}tricks.py::test_no_trick_takes_long",
            f"{_SOURCES}hostile_header.py::test_bombs_cost_little",
        ),
    ),
    Promise(
        "A key that is given twice is refused",
        "in header, index, settings and recipe; the key is named",
        (
            f"{_SOURCES}hostile_header.py::test_headers_that_are_no_strict_json",
            f"{_SOURCES}hostile_folder.py::test_indexes_that_are_none",
            f"{_SOURCES}hostile_adapter.py::test_settings_that_are_no_strict_json",
            "tests/recipe/test_recipe.py::test_yaml_that_is_refused",
        ),
    ),
    Promise(
        "Tensors that overlap, leave holes or overflow are refused",
        "offsets of every kind; file and tensor named",
        (
            f"{_SOURCES}hostile_header.py::test_bytes_belong_to_one_tensor_each",
            f"{_SOURCES}hostile_header.py::test_entries_that_describe_no_tensor",
        ),
    ),
    Promise(
        "A pattern in an adapter's settings holds nobody up",
        "any pattern in 10 ms, or refused",
        (
            f"{_SOURCES}patterns.py::test_no_hostile_pattern_costs_more_than_milliseconds",
            f"{_SOURCES}patterns.py::test_any_pattern_matches_as_in_python_or_is_refused",
            f"{_SOURCES}hostile_adapter.py::test_many_patterns_together_cost_about_a_second",
        ),
    ),
    Promise(
        "A name cannot inject anything into a page",
        "in Chromium: no dialog, no request, a strict content security policy",
        (
            "tests/report/test_inspection_page.py::test_hostile_names_do_nothing_in_a_browser",
            "tests/report/test_inspection_page.py::test_no_name_can_be_markup",
            "tests/report/test_inspection_page.py::test_the_policy_names_the_one_style_and_the_one_script",
        ),
    ),
    Promise(
        "YAML means what it says",
        "a table of values: `1e-3`, `no`, duplicate keys, anchors",
        (
            "tests/recipe/test_recipe.py::test_yaml_means_what_it_says",
            "tests/recipe/test_recipe.py::test_values_outside_the_core_schema_are_refused",
        ),
    ),
    Promise(
        "The same inputs and seed give the same bytes",
        "workers 1, 2 and 4, a Ray cluster, any order, hash seeds 0 to 9: one digest",
        (
            f"{_CRASH}same_bytes.py::test_tensors_that_are_done_in_any_order",
            f"{_CRASH}same_bytes.py::test_ten_hash_seeds_and_any_number_of_workers",
            "tests/execution/test_processes.py::test_workers_hash_seeds_and_scripts_without_a_guard",
            "tests/execution/test_processes.py::test_the_order_of_files_on_disk_means_nothing",
            "tests/execution/test_cluster.py::test_a_cluster_gives_the_bytes_of_one_machine",
        ),
    ),
    Promise(
        "Memory is bounded and estimated",
        "at most the estimate and a tenth, whatever the number of tensors",
        (
            "tests/execution/test_memory.py::test_one_process_stays_below_the_plan",
            "tests/execution/test_memory.py::test_a_table_of_words_takes_a_few_rows_of_memory",
            "tests/execution/test_large_table.py::test_it_takes_a_fraction_of_its_size",
            "tests/execution/test_workers.py::test_a_merge_that_does_not_fit_is_refused_with_the_cure",
        ),
    ),
    Promise(
        "Parsers do not fall over",
        "nothing uncaught, at most a second per file; `make fuzz` for half an hour",
        (
            f"{_HOSTILE}parsers.py::test_seeds_are_accepted_and_any_bytes_answered",
            f"{_HOSTILE}parsers.py::test_twenty_thousand_mutations",
            f"{_SOURCES}hostile_header.py::test_no_header_escapes_the_error_tree",
            f"{_SOURCES}gguf.py::test_a_hostile_header_is_refused_by_name_at_once",
            f"{_SOURCES}hostile_folder.py::test_no_index_escapes_the_error_tree",
            f"{_SOURCES}hostile_adapter.py::test_no_settings_escape_the_error_tree",
            "tests/recipe/test_fuzz.py::test_any_bytes",
        ),
    ),
    Promise(
        "What is read stays as it is",
        "hashes of the inputs before and after",
        (
            f"{_CRASH}environment.py::test_inputs_that_may_only_be_read",
            f"{_CRASH}operations.py::test_death_at_every_operation",
            f"{_SINK}replaceable.py::test_an_input_is_neither_replaced_nor_written_into",
        ),
    ),
)
