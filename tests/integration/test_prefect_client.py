import asyncio
import logging
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from prefect.events import Event, Resource
from prefect.events.clients import NullEventsClient
from prefect.events.worker import EventsWorker
from prefect.settings import PREFECT_API_URL, temporary_settings

from blocks.connections import client


@pytest.fixture(autouse=True)
def _address() -> Iterator[None]:
    """Where nobody listens: without any, a sender starts a server of Prefect's own, which outlives the tests."""
    with temporary_settings(updates={PREFECT_API_URL: "http://127.0.0.1:1/api"}):
        yield


class SlowClient(NullEventsClient):
    async def _emit(self, event: Event) -> None:
        await asyncio.sleep(0.05)


class OtherClient(NullEventsClient):
    pass


def test_nobody_is_warned_that_a_process_sends_its_last_events_before_it_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with client.sending_events_by(SlowClient):
        worker = EventsWorker.instance()
        for number in range(5):
            worker.send(Event(event="test", resource=Resource({"prefect.resource.id": f"test.{number}"})))
        worker.drain()
    assert caplog.messages == []


@pytest.mark.parametrize("sender", client.SENDERS)
def test_what_gets_lost_is_still_told(sender: str, caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger(sender).warning("Service %r queue is full (%d items), dropping item", sender, 3)
    assert len(caplog.messages) == 1


def test_uses_of_servers_that_overlap_end_in_any_order() -> None:
    first, second, again = ExitStack(), ExitStack(), ExitStack()
    with client.sending_events_by(NullEventsClient):
        first.enter_context(client.sending_events_by(SlowClient))
        second.enter_context(client.sending_events_by(OtherClient))
        again.enter_context(client.sending_events_by(SlowClient))
        again.close()
        assert EventsWorker.instance().client_type is OtherClient
        first.close()
        assert EventsWorker.instance().client_type is OtherClient
        second.close()
        assert EventsWorker.instance().client_type is NullEventsClient
