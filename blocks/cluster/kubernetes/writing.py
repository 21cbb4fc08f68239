"""Writes a run's record down, in place of the version that was read."""

import json
from typing import Any

from blocks.cluster.kubernetes.api import Api
from blocks.cluster.kubernetes.names import Object, name_of
from blocks.cluster.kubernetes.record import RunRecord
from blocks.cluster.kubernetes.view import RECORDS, View


def write(api: Api, view: View, object: Object, record: RunRecord) -> Object | None:
    """Put the record in place of the version that was read; None, and the new version known, when it was not."""
    written = api.replace(_with_record(object, record))
    if written is not None:
        view.put(RECORDS, written)
        return written
    fresh = api.get(RECORDS, name_of(object))
    if fresh is None:
        view.drop(RECORDS, name_of(object))
    else:
        view.put(RECORDS, fresh)
    return None


def _with_record(object: Object, record: RunRecord) -> dict[str, Any]:
    """The ConfigMap with another record; what a later version wrote into the record beside stays in it."""
    old, text = json.loads(object["data"]["record"]), record.to_json()
    if others := {name: old[name] for name in old.keys() - RunRecord.model_fields.keys()}:
        text = json.dumps(json.loads(text) | others, ensure_ascii=False)
    return {**object, "apiVersion": "v1", "kind": "ConfigMap", "data": {"record": text}}
