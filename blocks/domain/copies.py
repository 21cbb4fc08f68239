"""What a copy does not take over from its original, as texts: a form has no field that can be left out."""

import json
from collections.abc import Iterable
from typing import Any

from blocks.domain.errors import InvalidInputError
from blocks.domain.spec_values import NamedValue

_LISTS = ("hyperparameters", "datasets", "metric_expressions", "tags")


def settings_of_texts(texts: Iterable[NamedValue]) -> dict[str, Any]:
    """Settings by their flat names, as `TrainingSpec.changed` takes them; lists are JSON.

    Raises:
        InvalidInputError: A list is no JSON.
    """
    return {text.name: _value(text) for text in texts}


def _value(text: NamedValue) -> object:
    if text.name not in _LISTS:
        return text.value
    try:
        return json.loads(text.value)
    except ValueError as error:
        remedy = f'Write it as in {text.name} = {{"name": "value"}}, or ["one", "two"].'
        raise InvalidInputError(f"{text.name} = {text.value}"[:200], f"it is no JSON ({error})", remedy) from error
