"""Moments as databases keep them: microseconds since 1970, UTC, exact, which `timestamp()` is not; spans for people."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_microseconds(moment: datetime) -> int:
    """Of a moment that knows its time zone."""
    return (moment - _EPOCH) // _MICROSECOND


def from_microseconds(microseconds: int) -> datetime:
    """The moment, in UTC."""
    return _EPOCH + microseconds * _MICROSECOND


def minutes_text(minutes: float) -> str:
    """Minutes for people: `5 seconds`, `1 minute`, `90 minutes`."""
    amount, unit = (minutes, "minute") if minutes >= 1 else (minutes * 60, "second")
    return f"{amount:g} {unit}{'' if f'{amount:g}' == '1' else 's'}"
