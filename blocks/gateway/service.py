"""The access service: what Envoy asks before it lets a request in, and the sign-in page. Only Envoy reaches it."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route as Endpoint

from blocks.domain.errors import NotFoundError
from blocks.gateway.access import (
    SESSION_SECONDS,
    Doorkeeper,
    Request,
    Verdict,
    local_target,
    without_ticket,
)
from blocks.gateway.board_kinds import BoardKind, dashboards, tensorboards
from blocks.gateway.boards import ROUTE_SECONDS, BoardFailedError, Boards
from blocks.gateway.envoy_listener import ACCESS_HEADER
from blocks.gateway.files import write_routes
from blocks.gateway.front_door import FrontDoor
from blocks.gateway.pages import POLICY, message_page, onward_page, sign_in_page
from blocks.gateway.routes import OWN_PREFIX, Access

CHECK_PREFIX = "/check"
SIGN_IN = f"{OWN_PREFIX}/sign-in"
WRONG_SECONDS = 1.0
"""A wrong secret is answered after so long ..."""
MOST_WRONG = 16
"""... and while so many wait for their answer, no further password is looked at."""
MOST_FORM_BYTES = 8192
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
_ASKING = "This address asks who you are."


class AccessService:
    """Answers the questions of one front door."""

    def __init__(self, front_door: FrontDoor, boards: Boards) -> None:
        self._boards = boards
        self.doorkeeper = Doorkeeper(front_door.token, front_door.access_string, origins=front_door.origins)
        self._wrong = 0

    async def check(self, http: HttpRequest) -> Response:
        """Say whether a request may enter: 200, or what its client gets instead."""
        request = _request(http)
        level = http.headers.get(ACCESS_HEADER, Access.TOKEN)
        known = Access(level) if level in list(Access) else Access.TOKEN
        verdict = self.doorkeeper.decide(request, known, patient=self._is_patient)
        if verdict is Verdict.ENTER:
            self._boards.mark_used(request.target)
        if verdict is Verdict.WRONG:
            await self._punish()
        return self._answer(verdict, request)

    async def sign_in(self, http: HttpRequest) -> Response:
        """Take the secret of the sign-in page's form, and give the cookie for it."""
        if http.method in ("GET", "HEAD"):
            return _sign_in(_ASKING, "/", 200)
        if self.doorkeeper.is_foreign(_request(http)):
            return _refused(Verdict.FOREIGN)
        fields = parse_qs((await _limited_body(http)).decode(errors="replace"))
        secret, target = fields.get("secret", [""])[0], local_target(fields.get("next", ["/"])[0])
        if not self._is_patient:
            return _refused(Verdict.LATER)
        if not self.doorkeeper.opens(secret):
            await self._punish()
            return _sign_in("That opens nothing here. Try again.", target, 401)
        return self._with_cookie(RedirectResponse(target, 303))

    def opening(self, kind: BoardKind) -> Callable[[HttpRequest], Awaitable[Response]]:
        """What starts a board of this kind, and sends whoever asked for it there: Envoy knows the way then."""

        async def open_board(http: HttpRequest) -> Response:
            id = http.path_params["id"]
            try:
                await self._boards.ensure(kind, id)
            except NotFoundError:
                return _message(404, f"No such {kind.title}", f"There is no {kind.shows} {id}, or it was deleted.")
            except BoardFailedError as error:
                return _message(503, f"The {kind.title} does not start", f"The reason: {error}. Reload to try again.")
            await asyncio.sleep(ROUTE_SECONDS)
            return RedirectResponse(_request(http).target, 307, {"cache-control": "no-store"})

        return open_board

    @property
    def _is_patient(self) -> bool:
        return self._wrong < MOST_WRONG

    async def _punish(self) -> None:
        self._wrong += 1
        try:
            await asyncio.sleep(WRONG_SECONDS)
        finally:
            self._wrong -= 1

    def _answer(self, verdict: Verdict, request: Request) -> Response:
        if verdict is Verdict.ENTER:
            return self._with_cookie(Response()) if self.doorkeeper.is_renewal_due(request) else Response()
        target = without_ticket(request.target)
        if verdict is Verdict.SIGNED_IN:
            sent = _bounced(target) if request.is_cross_site else RedirectResponse(target, 302)
            return self._with_cookie(sent)
        if verdict is Verdict.AGAIN:
            return _bounced(target)
        if verdict in (Verdict.ANONYMOUS, Verdict.WRONG) and request.wants_page:
            message = _ASKING if verdict is Verdict.ANONYMOUS else "What was given opens nothing, or no longer."
            return _sign_in(message, target, 401)
        return _refused(verdict)

    def _with_cookie(self, response: Response) -> Response:
        session = self.doorkeeper.new_session()
        lifetime = int(SESSION_SECONDS)
        response.set_cookie(self.doorkeeper.cookie, session, max_age=lifetime, httponly=True, samesite="strict")
        response.headers["cache-control"] = "no-store"
        return response


def access_app(front_door: FrontDoor) -> Starlette:
    """The service as an ASGI application."""
    boards = Boards(front_door, partial(write_routes, front_door))
    service = AccessService(front_door, boards)
    return Starlette(
        lifespan=lambda _: boards.kept(),
        routes=[
            Endpoint(f"{CHECK_PREFIX}/{{target:path}}", service.check, methods=_METHODS),
            Endpoint(SIGN_IN, service.sign_in, methods=["GET", "POST"]),
            Endpoint(f"{OWN_PREFIX}/health", _health),
            *_board_endpoints(service, tensorboards(front_door)),
            *_board_endpoints(service, dashboards(front_door)),
        ],
    )


def _board_endpoints(service: AccessService, kind: BoardKind) -> list[Endpoint]:
    paths, answer = (kind.path("{id}"), kind.path("{id}/{rest:path}")), service.opening(kind)
    return [Endpoint(path, answer, methods=_METHODS) for path in paths]


def _request(http: HttpRequest) -> Request:
    raw = http.scope["raw_path"].decode("ascii", errors="replace").removeprefix(CHECK_PREFIX)
    query = http.scope["query_string"].decode("ascii", errors="replace")
    return Request(http.method, f"{raw}?{query}" if query else raw, dict(http.headers))


async def _limited_body(http: HttpRequest) -> bytes:
    body = b""
    async for part in http.stream():
        body += part
        if len(body) > MOST_FORM_BYTES:
            return b""
    return body


def _sign_in(message: str, target: str, status: int) -> Response:
    headers = {"content-security-policy": POLICY, "cache-control": "no-store"}
    if status == 401:
        headers["www-authenticate"] = 'Bearer realm="makerflow"'
    return HTMLResponse(sign_in_page(SIGN_IN, target, message), status, headers)


def _bounced(target: str) -> Response:
    """Have the browser ask again of its own accord: only then does it send a cookie that is for this site alone."""
    return HTMLResponse(onward_page(target), 401, {"content-security-policy": POLICY, "cache-control": "no-store"})


def _message(status: int, title: str, text: str) -> Response:
    return HTMLResponse(message_page(title, text), status, {"content-security-policy": POLICY})


def _refused(verdict: Verdict) -> Response:
    status, why = {
        Verdict.FOREIGN: (403, "Refused: a page of another site sent it (a proxy's own is named in MAKERFLOW_HOSTS)."),
        Verdict.ANONYMOUS: (401, "Refused: send the access string or the token (Authorization: Basic or Bearer)."),
        Verdict.WRONG: (401, "Refused: what was sent opens nothing here; see up/token below MAKERFLOW_HOME."),
        Verdict.LATER: (429, "Refused: too many wrong passwords. Try again in a few seconds."),
    }[verdict]
    headers = {"cache-control": "no-store"}
    if status == 401:
        headers["www-authenticate"] = 'Bearer realm="makerflow"'
    if status == 429:
        headers["retry-after"] = "2"
    return JSONResponse({"detail": why}, status, headers)


async def _health(http: HttpRequest) -> Response:
    return PlainTextResponse("ok\n")
