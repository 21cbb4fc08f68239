import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from blocks.cluster.kubernetes.names import DOMAIN, job_name, run_labels, run_name
from blocks.cluster.kubernetes.view import _run_of_warning

RUN_IDS = st.from_regex(r"[a-z0-9][a-z0-9-]{0,62}", fullmatch=True)
HOST = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
LONG = "a-tuning-of-a-very-long-name-with-many-words-in-it-0001"


@given(RUN_IDS, st.integers(1, 999), st.integers(0, 99_999))
@example("a" * 63, 999, 99_999)
@example("a-", 1, 0)
@example("0" + "-" * 62, 1, 0)
def test_all_names_of_a_run_are_names_of_hosts(run_id, attempt, rank):
    for name in (run_name(run_id), job_name(run_id, attempt), f"{job_name(run_id, attempt)}-{rank}"):
        assert HOST.fullmatch(name)


@given(RUN_IDS, RUN_IDS)
@example(LONG, run_name(LONG).removeprefix("mf-"))
@example("a-", run_name("a-").removeprefix("mf-"))
@example("a-", "a")
@example(LONG + "2", LONG)
def test_two_runs_have_two_names(one, other):
    assert (run_name(one) == run_name(other)) == (one == other)


@given(RUN_IDS, st.integers(1, 999), RUN_IDS, st.integers(1, 999))
def test_two_attempts_have_two_jobs(one, attempt, other, other_attempt):
    if one == other:
        assert (job_name(one, attempt) == job_name(other, other_attempt)) == (attempt == other_attempt)


@given(RUN_IDS, st.integers(1, 999), st.integers(0, 99))
def test_a_complaint_is_traced_to_its_run(run_id, attempt, rank):
    job = job_name(run_id, attempt)
    for kind, name in (("Job", job), ("Pod", f"{job}-{rank}-x7k2p")):
        assert _run_of_warning({"involvedObject": {"kind": kind, "name": name}}) == run_name(run_id)


def test_a_short_id_is_its_own_name():
    assert run_name("training-7") == "mf-training-7"
    assert job_name("training-7", 2) == "mf-training-7-2"


@pytest.mark.parametrize("value", ["", " ", "a b", "x" * 64, "-a", "a_", "\N{EURO SIGN}"])
def test_what_cannot_be_a_label_is_none(value):
    assert f"{DOMAIN}/name" not in run_labels("run", {"name": value})


def test_the_plans_labels_do_not_replace_ours():
    assert run_labels("run", {"run": "another", "training": "7"}) == {
        "app.kubernetes.io/name": "training",
        "app.kubernetes.io/instance": "mf-run",
        "app.kubernetes.io/part-of": "makerflow",
        "app.kubernetes.io/managed-by": "makerflow",
        "makerflow.io/run": "mf-run",
        "makerflow.io/training": "7",
    }
