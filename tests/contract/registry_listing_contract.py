"""What every registry promises of lists: filters, orders, and pages that stay put."""

import base64
from collections.abc import Iterator
from typing import Any

import pytest

from blocks.domain.errors import InvalidInputError, NotFoundError
from blocks.domain.lifecycle import TrainingStatus
from blocks.domain.specs import ExperimentSpec
from blocks.registry.database import Registry, open_registry
from blocks.registry.records import Query, TrainingSummary
from tests.contract.registry_contract import TO_COMPLETE, RegistryBase, spec_of, walk

T = TrainingStatus


def names(registry: Registry, **query: Any) -> list[str]:
    """The names of one page."""
    return [row.name for row in registry.trainings.page(Query(**query)).items]


def all_pages(registry: Registry, **query: Any) -> list[TrainingSummary]:
    """The items of all pages, one after the other."""
    rows: list[TrainingSummary] = []
    cursor = ""
    while True:
        page = registry.trainings.page(Query(cursor=cursor, **query))
        rows += page.items
        cursor = page.cursor
        if not cursor:
            return rows


def fill(registry: Registry) -> None:
    """Make ten trainings in two experiments, in three statuses, with tags."""
    experiments = [registry.experiments.ensure(ExperimentSpec(name=name)).id for name in ("digits", "letters")]
    for n in range(10):
        tags = {"team": ("vision", "speech")[n % 2], "n": str(n)}
        row = registry.trainings.create(spec_of(f"Run-{n}", tags=tags), experiments[n % 2])
        walk(registry, row.id, *((T.CREATE_FAILED,), (T.CREATE_IN_PROGRESS,), TO_COMPLETE)[n % 3])


class ListBase(RegistryBase):
    """What tests of lists share."""

    @pytest.fixture(params=["rare", "common"])
    def any_plan(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whether a filter is answered by its index, or on the way through the list."""
        monkeypatch.setattr("blocks.registry.listing.RARE", 1000 if request.param == "rare" else -1)


class ListingContract(ListBase):
    """Lists of ten trainings, which no test changes."""

    @pytest.fixture(scope="class")
    @classmethod
    def shared_url(cls) -> str:
        """A new database for the whole class."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def listed(cls, shared_url: str) -> Iterator[Registry]:
        """Ten trainings in two experiments, in three statuses, with tags."""
        with open_registry(shared_url) as registry:
            fill(registry)
            yield registry

    @pytest.mark.req("COM-03", "TRN-12")
    @pytest.mark.usefixtures("any_plan")
    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ({}, "9876543210"),
            ({"status": ("COMPLETE",)}, "852"),
            ({"status": ("COMPLETE", "CREATE FAILED")}, "9865320"),
            ({"status": ("RUNNING",)}, ""),
            ({"name": "run-7"}, "7"),
            ({"name": "N-"}, "9876543210"),
            ({"name": "run-?"}, "9876543210"),
            ({"name": "?un*3"}, "3"),
            ({"name": "un*"}, ""),
            ({"name": "%"}, ""),
            ({"name": "_"}, ""),
            ({"name": "!"}, ""),
            ({"name": "\0"}, ""),
            ({"tags": {"team": "vision"}}, "86420"),
            ({"tags": {"team": None}}, "9876543210"),
            ({"tags": {"team": "Vision"}}, ""),
            ({"tags": {"team": "vision", "n": "4"}}, "4"),
            ({"tags": {"tea": None}}, ""),
            ({"experiment": "letters"}, "97531"),
            ({"experiment": "letters", "status": ("COMPLETE",), "tags": {"team": "speech"}, "name": "5"}, "5"),
        ],
        ids=str,
    )
    def test_a_list_shows_what_matches_all_filters(
        self, listed: Registry, query: dict[str, Any], expected: str
    ) -> None:
        assert [name[-1] for name in names(listed, **query)] == list(expected)

    def test_an_item_of_a_list_is_what_the_detail_shows(self, listed: Registry) -> None:
        for row in listed.trainings.page().items:
            detail = listed.trainings.get(row.id)
            assert row == TrainingSummary(**{name: getattr(detail, name) for name in TrainingSummary.model_fields})

    @pytest.mark.parametrize("limit", [1, 3, 10])
    @pytest.mark.parametrize(
        "sort", ["created", "-created", "changed", "-changed", "name", "-name", "status", "-status"]
    )
    def test_pages_give_every_item_once_in_order(self, listed: Registry, sort: str, limit: int) -> None:
        rows = all_pages(listed, sort=sort, limit=limit)
        assert sorted(row.name for row in rows) == sorted(f"Run-{n}" for n in range(10))
        keys = [(getattr(row, sort.removeprefix("-")), row.id) for row in rows]
        assert keys == sorted(keys, reverse=sort.startswith("-"))

    def test_filtered_pages_too(self, listed: Registry) -> None:
        rows = all_pages(listed, status=("CREATE FAILED", "COMPLETE"), tags={"team": "vision"}, sort="name", limit=1)
        assert [row.name for row in rows] == ["Run-0", "Run-2", "Run-6", "Run-8"]

    def test_a_cursor_of_another_list_is_refused(self, listed: Registry) -> None:
        cursor = listed.trainings.page(Query(limit=2)).cursor
        assert cursor
        for other in ({"sort": "created"}, {"status": ("COMPLETE",)}, {"experiment": "digits"}, {"name": "Run"}):
            with pytest.raises(InvalidInputError, match="belongs to a list with other filters"):
                listed.trainings.page(Query(cursor=cursor, **other))
        assert len(names(listed, cursor=cursor, limit=7)) == 7

    @pytest.mark.parametrize(
        "broken",
        [
            "x",
            "\N{SNOWMAN}",
            "AAAA",
            "e30",
            *(
                base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
                for text in ("[]", '["", 1]', '["", "1", "trn-1"]', '["", true, "trn-1"]', '["", 1, null]')
            ),
            base64.urlsafe_b64encode(b'["", %d, "trn-1"]' % 2**63).decode(),
            base64.urlsafe_b64encode(b'["", 1, "trn\\u0000"]').decode(),
            base64.urlsafe_b64encode(b"[" * 10_000).decode(),
        ],
    )
    def test_a_broken_cursor_is_refused(self, listed: Registry, broken: str) -> None:
        with pytest.raises(InvalidInputError, match="cursor: it is broken"):
            listed.trainings.page(Query(cursor=broken))

    def test_a_cut_cursor_is_refused(self, listed: Registry) -> None:
        cursor = listed.trainings.page(Query(limit=2, sort="name")).cursor
        for length in range(1, len(cursor)):
            with pytest.raises(InvalidInputError):
                listed.trainings.page(Query(sort="name", cursor=cursor[:length]))

    @pytest.mark.parametrize(
        ("query", "message"),
        [
            ({"status": ("DONE",)}, "status 'DONE': no training has it. Use one of: .*COMPLETE"),
            ({"sort": "size"}, "order 'size': it is unknown. Sort by one of: created, changed, name, status"),
            ({"limit": 0}, "limit 0"),
            ({"limit": 1001}, "Ask for 1 to 1000"),
        ],
    )
    def test_a_query_that_makes_no_sense_is_refused(
        self, listed: Registry, query: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(InvalidInputError, match=message):
            listed.trainings.page(Query(**query))

    def test_an_unknown_experiment_is_said(self, listed: Registry) -> None:
        with pytest.raises(NotFoundError, match="no experiment 'nothing'"):
            listed.trainings.page(Query(experiment="nothing"))


class ChangingListContract(ListBase):
    """Lists that change."""

    @pytest.mark.usefixtures("any_plan")
    def test_a_tag_is_found_by_exactly_its_name_and_value(self, registry: Registry, experiment_id: str) -> None:
        tags = {"plain": {"a": "b"}, "tricky": {'x"a': "b", "c": 'x", "a": "b'}, "lines": {"y": '\n["a", "b"]\n'}}
        for name, given in tags.items():
            registry.trainings.create(spec_of(name, tags=given), experiment_id)
        assert names(registry, tags={"a": "b"}) == names(registry, tags={"a": None}) == ["plain"]
        assert names(registry, tags={'x"a': "b"}) == ["tricky"]
        assert names(registry, tags={"y": '\n["a", "b"]\n'}) == ["lines"]

    def test_what_comes_and_goes_between_pages_moves_nothing_else(self, registry: Registry) -> None:
        fill(registry)
        first = registry.trainings.page(Query(limit=4))
        registry.trainings.create(spec_of("newest"), first.items[0].experiment_id)
        registry.trainings.delete(first.items[1].id)
        registry.trainings.delete(first.items[3].id if first.items[3].status is T.CREATE_FAILED else first.items[0].id)
        second = registry.trainings.page(Query(limit=4, cursor=first.cursor))
        assert [row.name for row in second.items] == ["Run-5", "Run-4", "Run-3", "Run-2"]
