"""What every `LogStore` promises. A store inherits `LogStoreContract` and provides the fixture `site`."""

from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest

from blocks.domain.errors import ConcurrentUpdateError, InvalidInputError
from blocks.domain.log_records import LOG_TYPE, TRAINING_CATEGORY, LogEntry, LogLevel, LogSource
from blocks.logs.base import BEGINNING, LogCursor, LogStore, Reading

KEEP = 10**12
"""Bytes: no bound."""


def source(training: str = "trn-1", rank: int = 0, **fields: str) -> LogSource:
    return LogSource("app", TRAINING_CATEGORY, training_id=training, training_name="digits", rank=str(rank), **fields)


class LogStoreSite(ABC):
    """One store, as the suite needs it."""

    @abstractmethod
    def connect(self) -> LogStore:
        """A client of the store that knows nothing of what other clients did."""

    @abstractmethod
    def now(self) -> datetime:
        """The time of all clients."""

    @abstractmethod
    def pass_days(self, days: int) -> None:
        """From now on it is so many days later for all clients."""


def say(
    store: LogStore,
    *bodies: str,
    origin: LogSource | None = None,
    level: LogLevel = LogLevel.INFO,
    by_platform: bool = False,
) -> None:
    """Keep lines, whatever has been kept before."""
    origin = origin or source()
    key = f"{origin.training_id}/{origin.rank}"
    since = store.cursors(key).get(key, BEGINNING)
    until = LogCursor(since.offset + len(bodies))
    store.append(origin, Reading(key, since, until, [LogEntry(level, body) for body in bodies], by_platform))


def bodies(store: LogStore, query: str = "", limit: int = 100, **more: object) -> list[str]:
    return [record.body for record in store.search(query, limit=limit, **more).records]


def prune(store: LogStore, keep_days: int, keep_bytes: int) -> list[str]:
    """Remove what is to go; the days."""
    days = store.expired(keep_days, keep_bytes)
    for day in days:
        store.remove(day)
        store.remove(day)
    return days


class LogStoreContract:
    """The promises, as tests. They use nothing but the interface and the site."""

    @pytest.fixture
    def store(self, site: LogStoreSite) -> LogStore:
        return site.connect()

    def test_a_store_that_nothing_was_kept_in_is_empty(self, store):
        assert bodies(store) == []
        assert store.cursors("") == {}
        assert store.tail("", 10) == []
        assert store.usage().records == 0
        assert prune(store, 1, 0) == []

    @pytest.mark.req("LOG-02")
    def test_a_record_has_all_fields_of_its_source_and_the_time(self, site, store):
        before = site.now()
        say(store, "loss=0.3", level=LogLevel.WARNING)
        [record] = site.connect().search("", limit=10).records
        document = record.document()
        assert before <= datetime.fromisoformat(document.pop("time")) <= site.now() + timedelta(seconds=1)
        assert document == {
            "easymakerAppKey": "app",
            "category": "easymaker.training",
            "logLevel": "WARNING",
            "logType": "NHNCloud-AIEasyMaker",
            "trainingId": "trn-1",
            "trainingName": "digits",
            "rank": "0",
            "body": "loss=0.3",
        }

    @pytest.mark.req("LOG-02")
    def test_fields_of_endpoints_and_tunings_are_kept_and_found(self, store):
        fields = {
            "tuning_id": "tun-1", "trial": "7", "endpoint_id": "end-1", "endpoint_stage_id": "stage-1",
            "inference_id": "inf-1", "action": "Endpoint.Model", "model_name": "digits",
        }  # fmt: skip
        say(store, "answered", origin=LogSource("app", "easymaker.inference", **fields))
        for query in ("tuningId:tun-1", "trial:7", "endpointId:end*", "action:Endpoint.Model AND modelName:digits",
                      "inferenceId:inf-1", "endpointStageId:stage-1", 'category:"easymaker.inference"'):  # fmt: skip
            assert bodies(store, query) == ["answered"]

    @pytest.mark.req("LOG-01")
    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ("", "cba"),
            ("*", "cba"),
            ('category:"easymaker.training" AND trainingId:trn-1 AND logLevel:ERROR', "b"),
            (f"logType:{LOG_TYPE}", "cba"),
            (r'logType:"NHNCloud\-AIEasyMaker"', "cba"),
            (r"logType:NHNCloud\-AIEasyMaker", "cba"),
            ("logType:NHNCloud*", "cba"),
            ("logLevel:error", "b"),
            ("trainingId:trn-2", "c"),
            ("NOT trainingId:trn-2", "ba"),
            ("trainingId:(trn-1 OR trn-2) AND NOT logLevel:ERROR", "ca"),
            ("disk", "b"),
            ("DISK", "b"),
            ("full disk", "b"),
            ('"full disk"', ""),
            ('"disk is full"', "b"),
            ("body:dis*", "b"),
            ("ful* OR started", "ba"),
            ("NOT disk", "ca"),
            ("logLevel:ERROR OR loss", "cb"),
            ("(disk OR loss) AND trainingId:trn-1", "b"),
            ('"loss=0.25"', "c"),
            ("trainingName:*", "cba"),
            ("modelName:*", ""),
            ("trainingId:trn", ""),
            ("time:[2026-01-01 TO *]", "cba"),
            ("time:[* TO 2026-01-01}", ""),
            ("time:{* TO 2026-01-01] OR disk", "b"),
        ],
    )
    def test_a_query_finds_what_it_says_the_newest_first(self, store, query, expected):
        lines = {"a": "started", "b": "the disk is full", "c": "step=7 loss=0.25"}
        say(store, lines["a"])
        say(store, lines["b"], level=LogLevel.ERROR)
        say(store, lines["c"], origin=source("trn-2"))
        assert bodies(store, query) == [lines[letter] for letter in expected]

    @pytest.mark.req("LOG-01")
    @pytest.mark.parametrize(
        "query", ["*a", "a?b", "/a/", "a~", "a^2", "(a", "nofield:a", "logLevel:LOUD", "a || b", "x" * 1025]
    )
    def test_a_query_that_is_not_understood_is_refused(self, store, query):
        say(store, "a")
        with pytest.raises(InvalidInputError, match="Allowed are AND, OR, NOT"):
            store.search(query, limit=10)

    def test_a_cursor_that_no_search_gave_is_refused(self, store):
        for cursor in ("x", "2026-11-23/1'; DROP TABLE lines", "2026-11-23/" + "9" * 30):
            with pytest.raises(InvalidInputError, match="cursor"):
                store.search("", limit=1, cursor=cursor)

    @pytest.mark.req("LOG-01")
    def test_pages_go_back_to_the_oldest_record_over_all_days(self, site, store):
        for day in range(3):
            say(store, *(f"day {day} line {n}" for n in range(5)))
            site.pass_days(1)
        found, cursor = [], ""
        while True:
            page = store.search("line", limit=4, cursor=cursor)
            found += [record.body for record in page.records]
            cursor = page.cursor
            if not cursor:
                break
        assert found == [f"day {day} line {n}" for day in (2, 1, 0) for n in (4, 3, 2, 1, 0)]

    @pytest.mark.req("LOG-01")
    @pytest.mark.parametrize("query", ["", "day"])
    def test_times_choose_among_days(self, site, store, query):
        moments = []
        for day in range(3):
            moments.append(site.now())
            say(store, f"day {day}")
            site.pass_days(1)
        assert bodies(store, query, since=moments[1]) == ["day 2", "day 1"]
        assert bodies(store, query, until=moments[1]) == ["day 0"]
        assert bodies(store, query, since=moments[1], until=moments[2]) == ["day 1"]
        assert bodies(store, f"time:[{moments[1]:%Y-%m-%d} TO {moments[1]:%Y-%m-%d}]") == ["day 1"]

    def test_a_page_that_ends_with_the_last_record_leads_nowhere(self, store):
        say(store, "a", "b")
        assert store.search("", limit=2).cursor == ""

    def test_times_bound_what_is_found(self, store):
        say(store, "early")
        [early] = store.search("", limit=1).records
        say(store, "late")
        [late] = store.search("late", limit=1).records
        assert early.time < late.time
        assert bodies(store, since=late.time) == ["late"]
        assert bodies(store, until=late.time) == ["early"]
        assert bodies(store, f'time:[* TO "{early.time.isoformat()}"]') == ["early"]

    @pytest.mark.req("COM-04")
    def test_what_was_kept_is_not_kept_again(self, site, store):
        reading = Reading("run/0", BEGINNING, LogCursor(10, "traceback"), [LogEntry(LogLevel.INFO, "once")])
        store.append(source(), reading)
        with pytest.raises(ConcurrentUpdateError):
            site.connect().append(source(), reading)
        assert bodies(store) == ["once"]
        assert site.connect().cursors("run/") == {"run/0": LogCursor(10, "traceback")}

    @pytest.mark.req("COM-04")
    def test_a_cursor_outlives_its_day_and_the_day_s_removal(self, site, store):
        say(store, "yesterday")
        site.pass_days(1)
        with pytest.raises(ConcurrentUpdateError):
            store.append(source(), Reading("trn-1/0", LogCursor(7), LogCursor(8), []))
        site.pass_days(40)
        assert prune(store, 30, KEEP)
        assert site.connect().cursors("trn-1") == {"trn-1/0": LogCursor(1)}
        say(site.connect(), "today")
        assert bodies(store) == ["today"]

    def test_the_removal_of_a_day_brings_no_old_cursor_back(self, site, store):
        for body in ("first", "second", "third"):
            say(store, body)
            site.pass_days(1)
        prune(store, 2, KEEP)
        assert store.cursors("trn-1") == {"trn-1/0": LogCursor(3)}
        prune(store, 1, KEEP)
        assert store.cursors("trn-1") == {"trn-1/0": LogCursor(3)}

    def test_a_cursor_moves_also_when_nothing_was_said(self, store):
        store.append(source(), Reading("run/0", BEGINNING, LogCursor(5), []))
        assert (store.cursors("run/0"), bodies(store)) == ({"run/0": LogCursor(5)}, [])

    @pytest.mark.parametrize("body", ["", "\\u0000", "%s ' \" ; --", "\N{EURO SIGN}" * 1000, "x" * 65536, "\ufffd"])
    def test_every_line_is_kept_as_it_is(self, store, body):
        say(store, body)
        assert bodies(store) == [body]

    def test_characters_that_are_none_are_shown_and_do_no_harm(self, store):
        say(store, "a\x00b", "broken \ud800 half")
        assert bodies(store) == ["broken ? half", "a\N{SYMBOL FOR NULL}b"]

    def test_the_tail_tells_all_in_order_from_any_position_on(self, site, store):
        say(store, "a", "b")
        site.pass_days(1)
        say(store, "c", origin=source("trn-2"))
        records = store.tail("", 100)
        assert [record.body for record in records] == ["a", "b", "c"]
        for number, record in enumerate(records):
            assert list(store.tail(record.position, 100)) == records[number + 1 :]
        assert store.tail("", 2) == records[:2]

    @pytest.mark.req("LOG-01")
    def test_old_days_go_by_age_and_by_size_and_today_stays(self, site, store):
        for day in range(4):
            say(store, f"day {day}")
            site.pass_days(1)
        say(store, "today")
        assert len(prune(store, 3, KEEP)) == 1
        assert bodies(store) == ["today", "day 3", "day 2", "day 1"]
        one_day = store.usage().bytes // 4
        assert len(prune(store, 30, 3 * one_day + one_day // 2)) == 1
        assert bodies(store) == ["today", "day 3", "day 2"]
        assert len(prune(store, 30, 0)) == 2
        assert bodies(site.connect()) == ["today"]
        assert store.usage().records == 1

    def test_many_threads_and_clients_lose_nothing_and_order_their_own_lines(self, site):
        def tell(number: int) -> None:
            client = site.connect()
            for step in range(10):
                say(client, *(f"w{number} s{step} l{line}" for line in range(20)), origin=source("trn-1", number))
            client.close()

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(tell, range(8)))
        for number in range(8):
            found = bodies(site.connect(), f"rank:{number}", limit=1000)
            assert found[::-1] == [f"w{number} s{step} l{line}" for step in range(10) for line in range(20)]
