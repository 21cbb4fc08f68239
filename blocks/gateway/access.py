"""Who may enter: decisions from what a request says of itself, the secrets and the time, without I/O."""

import base64
import binascii
import hashlib
import hmac
import re
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from urllib.parse import parse_qsl, urlencode, urlsplit

from pydantic import SecretStr

from blocks.gateway.front_door import own_account
from blocks.gateway.routes import Access
from blocks.gateway.signing import Signer

SESSION_SECONDS = 24 * 3600.0
"""So long unused, a cookie opens nothing any more."""

TICKET_SECONDS = 60.0
"""So long an address may be opened that brings its own ticket, and once."""

_READING = ("GET", "HEAD")
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?", re.IGNORECASE)


@dataclass(frozen=True)
class Request:
    """What is asked for.

    Attributes:
        method: In capitals.
        target: Path and query, the path normalised as the front door does.
        headers: Names in small letters.
    """

    method: str
    target: str
    headers: Mapping[str, str]

    @property
    def is_navigation(self) -> bool:
        """Whether a person opens a page in the browser's window, not a script and not a frame."""
        mode, destination = self.headers.get("sec-fetch-mode"), self.headers.get("sec-fetch-dest")
        return self.method in _READING and mode == "navigate" and destination == "document" and not self.is_upgrade

    @property
    def is_cross_site(self) -> bool:
        """Whether another site led here."""
        return self.headers.get("sec-fetch-site", "none") not in ("same-origin", "none")

    @property
    def is_upgrade(self) -> bool:
        """Whether it is the handshake of a WebSocket."""
        return "upgrade" in self.headers

    @property
    def wants_page(self) -> bool:
        """Whether the answer is shown to a person."""
        return self.method in _READING and "text/html" in self.headers.get("accept", "")


class Verdict(Enum):
    """What becomes of a request."""

    ENTER = auto()
    FOREIGN = auto()  # it comes from a page of another site
    ANONYMOUS = auto()  # it brings nothing
    WRONG = auto()  # what it brings opens nothing
    SIGNED_IN = auto()  # its address holds a ticket: it is to be asked again with the cookie in the ticket's place
    AGAIN = auto()  # a link of another site led here: the browser kept the cookie back, and would send it now
    LATER = auto()  # too many wrong passwords are being answered; this one was not looked at


class Doorkeeper:
    """Knows the secrets, and compares in constant time.

    Args:
        token: What opens everything.
        access_string: `user:password` that opens everything too; empty for none.
        clock: Seconds since the epoch.
        origins: Of pages that are ours whatever Host comes with their requests.
    """

    def __init__(
        self,
        token: SecretStr,
        access_string: SecretStr,
        clock: Callable[[], float] = time.time,
        origins: Collection[str] = (),
    ) -> None:
        self._token = token.get_secret_value().encode()
        self._accounts = [own_account(token).encode()]
        self._account = access_string.get_secret_value().encode()
        self._origins = origins
        key = self._token + b"\0" + self._account
        self._signer = Signer(key, clock)
        self._used_tickets: set[str] = set()
        # Cookies do not tell ports apart: two front doors of a machine need two names.
        self.cookie = "makerflow-" + hashlib.sha256(key).hexdigest()[:8]

    def new_session(self) -> str:
        """A value of the cookie: it opens what the token opens, for a time, and does not give it away."""
        return self._signer.sign("session", SESSION_SECONDS)

    def new_ticket(self) -> str:
        """What an address may bring to be opened without a question, once and soon."""
        return self._signer.sign("ticket", TICKET_SECONDS)

    def is_renewal_due(self, request: Request) -> bool:
        """Whether the request's cookie is valid, and for less than half of its time."""
        return 0 < self._session_seconds(request) < SESSION_SECONDS / 2

    def decide(self, request: Request, level: Access, *, patient: bool = True) -> Verdict:
        """Whether a request may enter a route of that level.

        Args:
            request: What is asked for.
            level: What the route asks for.
            patient: Whether a password may be tried now. The token and the cookie, which nobody can guess, always may.
        """
        if self.is_foreign(request):
            return Verdict.FOREIGN
        given = query_ticket(request.target) if request.method in _READING and not request.is_upgrade else ""
        if given and self._take(given):
            return Verdict.SIGNED_IN
        if level is Access.OPEN or (level is Access.ACCOUNT and not self._account):
            return Verdict.ENTER
        if self._session_seconds(request):
            return Verdict.ENTER
        authorization = request.headers.get("authorization", "")
        if not authorization and request.is_cross_site:
            return Verdict.AGAIN
        if not authorization:
            return Verdict.WRONG if given else Verdict.ANONYMOUS
        return self._check(authorization, patient)

    def is_foreign(self, request: Request) -> bool:
        """Whether a page of another site causes the request."""
        return is_foreign(request, self._origins)

    def opens(self, secret: str) -> bool:
        """Whether `secret` is the token or the access string."""
        given = secret.encode(errors="replace")
        return _any_same(given, [self._token, *([self._account] if self._account else [])])

    def _session_seconds(self, request: Request) -> float:
        # Not by http.cookies: it drops all of them for one that another program of this machine has set oddly.
        pairs = (cookie.strip().partition("=") for cookie in request.headers.get("cookie", "").split(";"))
        left = (self._signer.seconds_left("session", value) for name, _, value in pairs if name == self.cookie)
        return max(left, default=0.0)

    def _take(self, ticket: str) -> bool:
        """Whether a ticket is valid; from now on it is not."""
        if ticket in self._used_tickets or not self._signer.seconds_left("ticket", ticket):
            return False
        self._used_tickets = {used for used in self._used_tickets if self._signer.seconds_left("ticket", used)}
        self._used_tickets.add(ticket)
        return True

    def _check(self, authorization: str, patient: bool) -> Verdict:
        scheme, _, rest = authorization.partition(" ")
        if scheme.lower() == "bearer":
            return Verdict.ENTER if _any_same(rest.strip().encode(errors="replace"), [self._token]) else Verdict.WRONG
        account = _decoded(rest) if scheme.lower() == "basic" else b""
        if _any_same(account, self._accounts):
            return Verdict.ENTER
        if not patient:
            return Verdict.LATER
        return Verdict.ENTER if self._account and _any_same(account, [self._account]) else Verdict.WRONG


def is_foreign(request: Request, origins: Collection[str] = ()) -> bool:
    """Whether a request was caused by a page of another site, or of another port of this machine.

    A link there may lead here; nothing else may. Pages of `origins` are ours though a proxy has rewritten the Host.
    """
    if not _HOST.fullmatch(request.headers.get("host", "")):
        return True  # Envoy compares what is before the port and does not look at what is after it
    if request.is_cross_site and not request.is_navigation:
        return True
    origin = request.headers.get("origin")
    if origin is None or origin.lower() in origins:
        return False
    parts = urlsplit(origin)
    return parts.scheme not in ("http", "https") or parts.netloc.lower() != request.headers.get("host", "").lower()


def query_ticket(target: str) -> str:
    """The ticket in an address; empty when there is none."""
    return dict(parse_qsl(urlsplit(target).query)).get("ticket", "")


def without_ticket(target: str) -> str:
    """The address without its ticket."""
    parts = urlsplit(target)
    kept = [(name, value) for name, value in parse_qsl(parts.query, keep_blank_values=True) if name != "ticket"]
    return local_target(parts._replace(query=urlencode(kept)).geturl())


def local_target(target: str) -> str:
    """`target` when it is a path of the front door, else `/`: nobody is sent elsewhere."""
    is_local = target.startswith("/") and not target.startswith("//") and "\\" not in target and target.isprintable()
    return target if is_local else "/"


def _any_same(given: bytes, known: list[bytes]) -> bool:
    return bool(sum(hmac.compare_digest(given, secret) for secret in known))  # each is looked at


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        return b""
