"""When a run is settled."""

import time
from typing import Any, cast

from blocks.cluster.kubernetes.settling import Settling


def test_what_is_to_be_looked_at_much_later_is_settled_soon_when_there_is_news():
    nobody: Any = None
    settling = Settling(nobody, nobody, nobody)
    settling._settle_by("mf-run", time.monotonic() + 1000)  # as for places that are given back by then
    settling.tell("mf-run", ("life", 1, 0), cast("dict[str, Any]", {"kind": "usage"}))
    assert settling._patience() < 1
    settling._settle_by("mf-run", 0.0)
    assert settling._due() == {"mf-run"}
