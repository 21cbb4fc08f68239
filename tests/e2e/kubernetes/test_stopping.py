"""Trainings that are stopped, left and watched on Kubernetes: the tests of the command line, once more."""

import pytest

from tests.e2e.test_cli_interrupts import (
    test_a_detached_training_is_followed_and_stopped_from_other_processes,
    test_a_killed_command_leaves_a_training_that_can_be_resumed,
)
from tests.e2e.test_cli_monitoring import (
    test_workers_are_watched_through_the_death_of_who_follows_them_and_no_sample_is_lost_or_doubled,
)

__all__ = [
    "test_a_detached_training_is_followed_and_stopped_from_other_processes",
    "test_a_killed_command_leaves_a_training_that_can_be_resumed",
    "test_workers_are_watched_through_the_death_of_who_follows_them_and_no_sample_is_lost_or_doubled",
]

pytestmark = [pytest.mark.kubernetes, pytest.mark.xdist_group("kubernetes stopping")]
