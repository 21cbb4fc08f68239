"""The rows of tunings on Kubernetes: the tests of the command line, once more."""

import pytest

from tests.e2e.test_cli_tuning import (
    grid,
    test_a_detached_tuning_is_stopped_from_another_process,
    test_a_trial_shows_all_of_its_metrics_and_is_a_training_to_look_at,
    test_a_tuning_ends_complete_with_its_best_trial_and_where_that_ones_outputs_are,
    test_a_tuning_that_fails_says_why_and_lists_what_went_wrong,
    test_ctrl_c_once_stops_the_tuning_which_can_be_resumed,
    test_show_tells_what_is_searched_how_far_it_is_the_best_and_what_to_do_next,
    test_the_list_shows_time_counts_and_the_best_and_filters_as_that_of_trainings,
    test_trials_are_listed_with_status_objective_hyperparameters_and_reason,
    tuned,
)

__all__ = [
    "grid",
    "test_a_detached_tuning_is_stopped_from_another_process",
    "test_a_trial_shows_all_of_its_metrics_and_is_a_training_to_look_at",
    "test_a_tuning_ends_complete_with_its_best_trial_and_where_that_ones_outputs_are",
    "test_a_tuning_that_fails_says_why_and_lists_what_went_wrong",
    "test_ctrl_c_once_stops_the_tuning_which_can_be_resumed",
    "test_show_tells_what_is_searched_how_far_it_is_the_best_and_what_to_do_next",
    "test_the_list_shows_time_counts_and_the_best_and_filters_as_that_of_trainings",
    "test_trials_are_listed_with_status_objective_hyperparameters_and_reason",
    "tuned",
]

pytestmark = [pytest.mark.kubernetes, pytest.mark.soak, pytest.mark.xdist_group("kubernetes tunings")]
