"""Ids, moments and text as the registry keeps them."""

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.domain.errors import InvalidInputError
from blocks.domain.moments import from_microseconds, to_microseconds
from blocks.registry.identity import check_id, new_id, now_us, storable


@pytest.mark.req("COM-01")
def test_ids_are_short_plain_and_never_the_same() -> None:
    ids = [new_id("trn") for _ in range(10_000)]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"trn-[a-z0-9]{26}", id) for id in ids)
    assert all(check_id(id, "trn") == id for id in ids[:10])


def test_later_ids_sort_after_earlier_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    milliseconds = [0, 1, 31, 32, 1_700_000_000_000, 1_700_000_000_001, 2**48 - 1]
    ids = []
    for moment in milliseconds:
        monkeypatch.setattr("time.time_ns", lambda moment=moment: moment * 1_000_000)
        ids.append(new_id("trn"))
    assert ids == sorted(ids)


@pytest.mark.parametrize("id", ["", "trn-", "trn", "exp-1", "trn-A", "trn-a/b", "trn-" + "a" * 37, "trn-1\n"])
def test_what_has_not_the_form_of_an_id_is_refused(id: str) -> None:
    with pytest.raises(InvalidInputError):
        check_id(id, "trn")


@given(st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-9, minutes=30))])))
def test_a_moment_is_kept_to_the_microsecond(moment: datetime) -> None:
    assert from_microseconds(to_microseconds(moment)) == moment


def test_now_is_now() -> None:
    assert abs(from_microseconds(now_us()) - datetime.now(UTC)) < timedelta(minutes=1)


@given(st.text(st.characters(), max_size=20))
def test_any_text_can_be_kept_and_most_stays_as_it_is(text: str) -> None:
    kept = storable(text)
    assert "\0" not in kept
    assert kept.encode().decode() == kept == storable(kept)
    assert len(kept) == len(text)
