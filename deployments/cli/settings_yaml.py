"""YAML and JSON as people write settings: a name that stands twice in a mapping is a mistake, not a replacement."""

from collections.abc import Hashable
from typing import Any

import yaml

from blocks.domain.errors import InvalidInputError

_MERGE = "tag:yaml.org,2002:merge"


def parse(text: str) -> Any:
    """What a text holds; JSON is YAML too.

    Raises:
        yaml.YAMLError: It is neither.
        InvalidInputError: A name is given twice.
    """
    return yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader


class _Loader(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """A name that is given twice is refused, where YAML would take the last."""
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if key.tag == _MERGE or not isinstance(key, yaml.ScalarNode):
                continue
            line = key.start_mark.line + 1
            if key.value in lines:
                where = f"in line {lines[key.value]} and in line {line}"
                raise InvalidInputError(f"{key.value!r}", f"it is given twice, {where}", "Give it once.")
            lines[key.value] = line
        return super().construct_mapping(node, deep)
