"""Times as queries and options write them."""

import re
from datetime import UTC, datetime, timedelta

from blocks.domain.moments import to_microseconds

TIME_FORMS = "times are UTC unless they say otherwise: 2026-11-23, 2026-11-23T16:00, 2026-11-23T16:00:01.5Z"

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_MINUTE = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(?:Z|[+-]\d{2}:?\d{2})?", re.ASCII)
_SECOND = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(?:Z|[+-]\d{2}:?\d{2})?", re.ASCII)
_EXACT = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}[.,]\d{1,6}(?:Z|[+-]\d{2}:?\d{2})?", re.ASCII)
_LENGTHS = {
    _DATE: timedelta(days=1),
    _MINUTE: timedelta(minutes=1),
    _SECOND: timedelta(seconds=1),
    _EXACT: timedelta(microseconds=1),
}


def time_span(text: str) -> tuple[int, int] | None:
    """What a time as it is written covers: a date all of its day, `16:00` a minute; None when it is no time.

    Returns:
        Its first microsecond since 1970, and the first one behind it.
    """
    for form, length in _LENGTHS.items():
        if form.fullmatch(text):
            try:
                moment = datetime.fromisoformat(text.replace(",", "."))
                first = to_microseconds((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC))
            except (ValueError, OverflowError):
                return None
            return first, first + length // timedelta(microseconds=1)
    return None
