"""A training with all that a training can be given, on Kubernetes."""

import pytest

from tests.e2e.test_cli_whole_training import *  # noqa: F403 - its tests and fixtures, all of them

pytestmark = [pytest.mark.kubernetes, pytest.mark.xdist_group("kubernetes whole training")]
