"""The rows of trainings on Kubernetes: the tests of the command line, once more."""

import pytest

from tests.e2e.test_cli_training import (
    finished,
    test_a_copy_has_the_same_settings_but_those_that_are_overridden,
    test_a_training_that_fails_says_why_and_what_to_do,
    test_a_training_that_went_well_is_complete_and_its_model_where_it_was_asked_for,
    test_deleting_asks_first_and_an_experiment_in_use_stays,
    test_logs_of_each_worker_are_kept_and_inert,
    test_metrics_are_a_table_a_document_csv_or_a_picture,
    test_show_tells_settings_history_outputs_metrics_and_what_to_do_next,
    test_the_list_filters_by_name_status_tag_and_experiment,
    test_what_cannot_begin_is_told_with_its_exit_code,
)

__all__ = [
    "finished",
    "test_a_copy_has_the_same_settings_but_those_that_are_overridden",
    "test_a_training_that_fails_says_why_and_what_to_do",
    "test_a_training_that_went_well_is_complete_and_its_model_where_it_was_asked_for",
    "test_deleting_asks_first_and_an_experiment_in_use_stays",
    "test_logs_of_each_worker_are_kept_and_inert",
    "test_metrics_are_a_table_a_document_csv_or_a_picture",
    "test_show_tells_settings_history_outputs_metrics_and_what_to_do_next",
    "test_the_list_filters_by_name_status_tag_and_experiment",
    "test_what_cannot_begin_is_told_with_its_exit_code",
]

pytestmark = [pytest.mark.kubernetes, pytest.mark.soak, pytest.mark.xdist_group("kubernetes trainings")]
