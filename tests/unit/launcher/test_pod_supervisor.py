import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.domain.plan import ExitRecord
from blocks.launcher.pod_supervisor import MESSAGE_BYTES, short

RECORD = {
    "attempt": 1,
    "rank": 0,
    "began": "2030-01-01T00:00:00.000000+00:00",
    "ended": "2030-01-01T00:00:01.000000+00:00",
    "code": 1,
    "signal": None,
    "cause": "user_error",
    "message": "",
    "tail": "",
}
KUBERNETES_BYTES = 12 * 1024
CONTAINERS = 4


def test_every_container_of_a_pod_has_room_for_what_it_says():
    assert (CONTAINERS + 1) * MESSAGE_BYTES <= KUBERNETES_BYTES


def test_a_record_that_fits_is_told_as_it_is():
    record = {**RECORD, "message": "It exited.", "tail": "the last line\n"}
    assert json.loads(short(record)) == record


@pytest.mark.parametrize("character", ["x", "\n", "\N{EURO SIGN}", "\N{GRINNING FACE}", "\udcff"])
def test_of_a_long_tail_the_end_is_kept(character):
    found = json.loads(short({**RECORD, "message": "It exited.", "tail": character * 4096 + "the end"}))
    assert found["message"] == "It exited."
    assert found["tail"].endswith(character * 100 + "the end")


def test_of_a_long_message_the_beginning_is_kept():
    found = json.loads(short({**RECORD, "message": "It said: " + "\N{GRINNING FACE}" * 500, "tail": "lost"}))
    assert found["message"].startswith("It said: " + "\N{GRINNING FACE}" * 100)
    assert found["tail"] == ""


@given(st.text(max_size=600), st.text(max_size=4096))
def test_whatever_it_says_it_fits_and_is_a_record(message, tail):
    told = short({**RECORD, "message": message, "tail": tail})
    assert len(told.encode()) <= MESSAGE_BYTES
    found = ExitRecord.model_validate(json.loads(told))
    assert message.startswith(found.message)
    assert tail.endswith(found.tail)
