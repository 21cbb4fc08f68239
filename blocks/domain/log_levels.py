"""How bad a line of output is, as far as the line itself says so.

A level counts only where loggers put it: in front (`ERROR: ...`, `[WARN] ...`, `E1123 16:00:01 ...`), behind the time
and the name (`2026-11-23 16:00:01,123 - loader - ERROR - ...`), or in a field of its own (`"level": "error"`,
`level=error`). A line that says nothing is INFO: "no error was found" is no error.
"""

import re
from collections.abc import Iterable, Iterator

from blocks.domain.log_records import LogEntry, LogLevel

_WORDS = {
    "trace": LogLevel.INFO,
    "debug": LogLevel.INFO,
    "info": LogLevel.INFO,
    "notice": LogLevel.INFO,
    "warn": LogLevel.WARNING,
    "warning": LogLevel.WARNING,
    "err": LogLevel.ERROR,
    "error": LogLevel.ERROR,
    "critical": LogLevel.ERROR,
    "fatal": LogLevel.ERROR,
    "panic": LogLevel.ERROR,
    "emergency": LogLevel.ERROR,
}
_LETTERS = {"W": LogLevel.WARNING, "E": LogLevel.ERROR, "F": LogLevel.ERROR}
_HINTS = ("warn", "err", "critical", "fatal", "panic", "emergency")
"""A line without any of these, in lower case, can only be INFO, a traceback or one of glog's."""

_LOOKED_AT = 300
"""Characters from the beginning of a line: no logger puts its level further back."""

_WORD = "|".join(sorted(_WORDS, key=len, reverse=True))
_TIME = r"\[?\(?\d{2,4}[-/:.]\d{2}[-/:.]\d{2}[^\s\])]*(?:[ T]\d{2}:\d{2}(?::\d{2})?[^\s\])]*)?[\])]?"
_LEADING = re.compile(
    rf"\s*(?:{_TIME}[\s|:;-]*)?"  # a time, a name in front of the level as `logging` writes it, or neither
    rf"(?:[\w.$/<>-]+(?:\[\w+\])?\s+-\s+|\[[\w.$/: -]+\]:?\s*)?"
    rf"(?:[\[(<]\s*(?P<bracketed>{_WORD})\s*[\])>]|(?P<bare>{_WORD})(?=\s*[:|\]]|\s+-\s|\s*$)"
    rf"|(?P<upper>(?-i:{_WORD.upper()}))(?=\s))",
    re.IGNORECASE,
)
_FIELD = re.compile(
    rf"(?:[{{,]\s*\"(?:level|levelname|severity|log_?level|lvl)\"\s*:\s*\"(?P<quoted>{_WORD})\""
    rf"|(?:^|\s)(?:level|severity|lvl)=\"?(?P<plain>{_WORD})\b)",
    re.IGNORECASE,
)
_GLOG = re.compile(r"([WEF])\d{4} \d\d:\d\d:\d\d")
_TRACEBACK = "Traceback (most recent call last):"
_CHAINED = (
    "",
    "The above exception was the direct cause of the following exception:",
    "During handling of the above exception, another exception occurred:",
)
"""What may stand between the exception that ends one traceback and the next one."""

_LAUNCHER = re.compile(r"\[[\w ./-]{1,40}\]: ?")
"""What launchers of several processes put in front of each line."""

_FRAMES, _RAISED = "frames", "raised"
"""Within a traceback; behind the exception that ends it."""


def level_of(line: str) -> LogLevel:
    """The level of a line that stands alone."""
    if line[:1] in _LETTERS and (letter := _GLOG.match(line)):
        return _LETTERS[letter[1]]
    beginning = line[:_LOOKED_AT]
    lowered = beginning.lower()
    if not any(hint in lowered for hint in _HINTS):
        return LogLevel.INFO
    found = _LEADING.match(beginning) or _FIELD.search(beginning)
    return _WORDS[found[found.lastgroup].lower()] if found and found.lastgroup else LogLevel.INFO


class LevelReader:
    """Gives each line of one worker its level, in order; all lines of a traceback are ERROR.

    Args:
        state: `state` of the reader that read the lines before.

    Attributes:
        state: What the next lines' levels depend on.
    """

    def __init__(self, state: str = "") -> None:
        self.state = state

    def read(self, lines: Iterable[str]) -> Iterator[LogEntry]:
        """The lines with their levels."""
        for line in lines:
            yield LogEntry(self._level(line), line)

    def _level(self, line: str) -> LogLevel:
        text = _LAUNCHER.sub("", line, count=1) if line.startswith("[") else line
        if text.rstrip().endswith(_TRACEBACK):
            self.state = _FRAMES
        elif self.state == _FRAMES:
            if text and not text[0].isspace() and text[0] not in "|+":
                self.state = _RAISED
        elif self.state == _RAISED and text not in _CHAINED:
            self.state = ""
        return LogLevel.ERROR if self.state and text else level_of(text)
