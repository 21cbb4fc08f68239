"""Texts that open something until they expire, and that nobody has to remember."""

import hmac
import math
import secrets
import time
from collections.abc import Callable


class Signer:
    """Signs texts and knows them again.

    Args:
        key: Whoever has it can sign.
        clock: Seconds since the epoch.
    """

    def __init__(self, key: bytes, clock: Callable[[], float] = time.time) -> None:
        self._key = key
        self._clock = clock

    def sign(self, purpose: str, seconds: float) -> str:
        """A text of letters, digits and dots that is valid for so long, for that purpose alone; each time another."""
        body = f"{math.ceil(self._clock() + seconds)}.{secrets.token_hex(8)}"
        return f"{body}.{self._signature(purpose, body)}"

    def seconds_left(self, purpose: str, text: str) -> float:
        """How long the text is still valid; 0 for one that has expired or was not signed with this key."""
        body, _, signature = text.rpartition(".")
        expected = self._signature(purpose, body)
        if not hmac.compare_digest(signature.encode(errors="replace"), expected.encode()):
            return 0.0
        return max(0.0, int(body.partition(".")[0]) - self._clock())

    def _signature(self, purpose: str, body: str) -> str:
        return hmac.digest(self._key, f"{purpose} {body}".encode(errors="replace"), "sha256").hex()
