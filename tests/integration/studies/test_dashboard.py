"""optuna-dashboard below a path: what it shows, what it refuses, and how it follows the registry."""

import gzip
import json
import re
import threading
from pathlib import Path
from typing import Any

import optuna_dashboard
import pytest
from werkzeug.test import Client

from blocks.domain.errors import InvalidInputError, RegistryUnavailableError
from blocks.domain.lifecycle import TrialStatus, TuningStatus
from blocks.registry.database import Registry
from blocks.registry.records import Tuning
from blocks.studies import dashboard as module
from blocks.studies.dashboard import Dashboard, LiveTrials, moved
from tests.doubles.tunings import end_trial, make_tuning, report, run_trials, start_trial
from tests.waiting import wait_until

PREFIX = "/dashboards/tun-1"
CHANGES = [
    ("POST", "/api/studies", {"study_name": "mine", "directions": ["minimize"]}),
    ("DELETE", "/api/studies/0", {"remove_associated_artifacts": True}),
    ("POST", "/api/studies/0/rename", {"study_name": "theirs"}),
    ("PUT", "/api/studies/0/note", {"version": 1, "body": "hello"}),
    ("PUT", "/api/studies/0/1/note", {"version": 1, "body": "hello"}),
    ("POST", "/api/trials/1/tell", {"state": "Complete", "values": [0.0]}),
    ("POST", "/api/trials/1/user-attrs", {"user_attrs": {"a": 1}}),
    ("POST", "/api/artifacts/0/1", {"file": "data:text/plain;base64,aGk=", "filename": "a.txt"}),
    ("POST", "/api/artifacts/0", {"file": "data:text/plain;base64,aGk=", "filename": "a.txt"}),
    ("DELETE", "/api/artifacts/0/1/abc", {}),
    ("POST", "/api/llm/trial_filter_query", {"user_query": "all"}),
    ("POST", "/incompatible-rdb-schema", {}),
    ("PATCH", "/api/studies/0", {}),
    ("OPTIONS", "/api/studies", {}),
]


@pytest.fixture(autouse=True)
def always_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FRESH_SECONDS", 0.0)


@pytest.fixture
def tuning(registry: Registry) -> Tuning:
    return make_tuning(registry, "digits-tuning")


class Visitor:
    """Somebody who looks at a dashboard."""

    def __init__(self, registry: Registry, tuning: Tuning) -> None:
        self.gone = threading.Event()
        self.client = Client(Dashboard(LiveTrials(registry, tuning.id), PREFIX, self.gone.set))

    def get(self, path: str, **headers: str) -> Any:
        return self.client.get(f"{PREFIX}{path}", headers=headers)

    def study(self, after: int = 0) -> dict[str, Any]:
        found: dict[str, Any] = self.get(f"/api/studies/0?after={after}").json
        return found

    def told(self) -> dict[str, Any]:
        """The study without what optuna-dashboard works out of its trials by and by, in any order."""
        return {name: value for name, value in self.study().items() if not name.endswith("_search_space")}


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have optuna-dashboard ask its storage each time: it waits for seconds."""
    original = optuna_dashboard._app.get_trials

    def get_trials(cache: Any, *arguments: Any) -> Any:
        cache._trials_last_fetched_at.clear()
        return original(cache, *arguments)

    monkeypatch.setattr(optuna_dashboard._app, "get_trials", get_trials)


@pytest.mark.req("TUN-13")
def test_it_shows_every_trial_under_its_own_number_with_all_that_it_has(registry: Registry, tuning: Tuning) -> None:
    run_trials(registry, tuning, 30)
    start_trial(registry, tuning, 31, {1: 0.5})
    shown = Visitor(registry, tuning).study()
    assert (shown["name"], shown["directions"], shown["objective_names"]) == (
        "digits-tuning",
        ["minimize"],
        ["val_loss"],
    )
    trials = shown["trials"]
    assert [trial["number"] for trial in trials] == list(range(1, 32))
    assert {trial["state"] for trial in trials} == {"Complete", "Pruned", "Fail", "Running"}
    rows = registry.tunings.trials(tuning.id)
    best = min((row for row in rows if row.status is TrialStatus.SUCCEEDED), key=lambda row: row.objective or 0)
    assert [trial["number"] for trial in shown["best_trials"]] == [best.number]
    one = trials[best.number - 1]
    assert one["values"] == [best.objective]
    assert {pair["name"]: pair["param_external_value"] for pair in one["params"]} == best.parameters
    assert len(one["intermediate_values"]) == 10
    told = {pair["key"]: pair["value"] for pair in one["user_attrs"]}
    assert told == {"makerflow:training": f"digits-tuning/{best.number}", "makerflow:status": "SUCCEEDED"}


@pytest.mark.usefixtures("soon")
@pytest.mark.req("TUN-13")
def test_it_follows_the_tuning_as_it_runs(registry: Registry, tuning: Tuning) -> None:
    visitor = Visitor(registry, tuning)
    assert visitor.study()["trials"] == []
    trial = start_trial(registry, tuning, 1, {1: 0.5})
    assert [one["state"] for one in visitor.study()["trials"]] == ["Running"]
    report(registry, trial, {2: 0.25})
    assert len(visitor.study()["trials"][0]["intermediate_values"]) == 2
    end_trial(registry, registry.tunings.trial(tuning.id, 1), TrialStatus.SUCCEEDED, 0.25)
    start_trial(registry, tuning, 2)
    registry.tunings.move(tuning.id, TuningStatus.COMPLETE_IN_PROGRESS)
    shown = visitor.study(after=1)
    assert [one["number"] for one in shown["trials"]] == [2]
    assert [one["number"] for one in shown["best_trials"]] == [1]
    assert {"key": "makerflow:status", "value": "COMPLETE IN PROGRESS"} in shown["user_attrs"]


def test_importances_and_the_table_as_a_file_come_from_all_trials(registry: Registry, tuning: Tuning) -> None:
    run_trials(registry, tuning, 30)
    visitor = Visitor(registry, tuning)
    [found] = visitor.get("/api/studies/0/param_importances").json["param_importances"]
    assert {one["name"] for one in found} == {"lr", "depth", "width", "kernel"}
    answer = visitor.get("/csv/0")
    assert answer.text.count("\n") == 31
    assert "val_loss" in answer.text
    assert "attachment" in answer.headers["content-disposition"]


@pytest.mark.req("TUN-13")
@pytest.mark.parametrize(("method", "path", "body"), CHANGES)
def test_nothing_can_be_changed_and_the_page_says_why(
    registry: Registry, tuning: Tuning, tmp_path: Path, method: str, path: str, body: dict[str, Any]
) -> None:
    run_trials(registry, tuning, 1)
    visitor = Visitor(registry, tuning)
    before, rows, files = visitor.told(), registry.tunings.trials(tuning.id), set(tmp_path.rglob("*"))
    answer = visitor.client.open(f"{PREFIX}{path}", method=method, json=body)
    assert answer.status_code == 405
    assert "changes nothing" in answer.json["reason"]
    assert visitor.told() == before
    assert len(visitor.get("/api/studies").json["study_summaries"]) == 1
    assert registry.tunings.trials(tuning.id) == rows
    assert set(tmp_path.rglob("*")) == files


def test_its_pages_know_where_they_are(registry: Registry, tuning: Tuning) -> None:
    visitor = Visitor(registry, tuning)
    for path in ("", "/"):
        answer = visitor.get(path)
        assert (answer.status_code, answer.headers["location"]) == (302, f"{PREFIX}/dashboard/studies/0")
    for path in ("/dashboard", "/dashboard/", "/dashboard/studies/0/analytics", "/dashboard/anything"):
        answer = visitor.get(path)
        assert (answer.status_code, answer.mimetype) == (200, "text/html")
        assert re.findall(r'(?:src|href)="(.*?)"', answer.text) == [f"{PREFIX}/static/bundle.js"]
    for path in (
        "/nothing",
        "/static/../index.html",
        "/static/x",
        "/dashboards",
        "/api",
        "/favicon.ico",
        "/api/nothing",
    ):
        assert visitor.get(path).status_code == 404, path
    assert visitor.client.get("/elsewhere").status_code == 404


def test_its_scripts_are_sent_compressed_to_who_takes_it_and_once(registry: Registry, tuning: Tuning) -> None:
    visitor = Visitor(registry, tuning)
    plain = visitor.get("/static/bundle.js")
    packed = visitor.get("/static/bundle.js", **{"accept-encoding": "gzip, br"})
    assert plain.data == gzip.decompress(packed.data)
    assert len(packed.data) < len(plain.data) / 3
    assert f'url_prefix:"{PREFIX}/dashboard"' in plain.text
    assert not re.search(r"baseURL\}/api|[`\"']/(csv|api)/", plain.text)
    for answer, headers in ((plain, {}), (packed, {"accept-encoding": "gzip"})):
        again = visitor.get("/static/bundle.js", **headers, **{"if-none-match": answer.headers["etag"]})
        assert (again.status_code, again.data) == (304, b"")
    assert plain.headers["etag"] != packed.headers["etag"]


def test_a_version_whose_pages_are_others_is_refused_with_what_to_do() -> None:
    with pytest.raises(InvalidInputError, match=rf"optuna-dashboard {re.escape(optuna_dashboard.__version__)}.*`?base"):
        moved("another page", {"${this.baseURL}/api/": ""}, PREFIX)


def test_while_the_registry_cannot_be_read_what_was_read_stays(
    registry: Registry, tuning: Tuning, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run_trials(registry, tuning, 2)
    visitor = Visitor(registry, tuning)

    def fail(key: str) -> Tuning:
        raise RegistryUnavailableError("it is gone")

    monkeypatch.setattr(registry.tunings, "get", fail)
    assert len(visitor.study()["trials"]) == 2
    assert "it is gone" in caplog.text
    assert not visitor.gone.is_set()


def test_it_ends_when_the_tuning_is_deleted(registry: Registry, tuning: Tuning) -> None:
    visitor = Visitor(registry, tuning)
    registry.tunings.move(tuning.id, TuningStatus.COMPLETE_IN_PROGRESS)
    registry.tunings.move(tuning.id, TuningStatus.COMPLETE)
    registry.tunings.delete(tuning.id)
    answer = visitor.get("/api/studies/0?after=0")
    assert answer.status_code == 404
    assert tuning.id in json.loads(answer.text)["reason"]
    assert not visitor.gone.is_set(), "before its answer is written"
    answer.close()
    wait_until(visitor.gone.is_set)
