"""optuna-dashboard for one tuning, below a path, for looking only: a WSGI application.

optuna-dashboard knows no path but the root: its page, and the addresses in its scripts, are rewritten as they are
served. Whatever would change something is refused, so that a visitor leaves nothing behind, not even in memory.
"""

import gzip
import hashlib
import json
import logging
import threading
import time
from collections.abc import Callable, Container, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, cast

import optuna_dashboard
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState
from werkzeug.utils import redirect
from werkzeug.wrappers import Request, Response

from blocks.domain.errors import InvalidInputError, NotFoundError, TransientError
from blocks.domain.tunings import ObjectiveType
from blocks.registry.database import Registry
from blocks.search.study import STATUS
from blocks.studies.study import TrialReader, empty_study

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

FRESH_SECONDS = 1.0
"""So long what was read of the trials is shown without reading them again."""

STUDY = 0
"""The id of the one study in a storage of its own."""

_PAGES = Path(optuna_dashboard.__file__).parent
_IN_PAGE = {'src="/static/': 'src="{prefix}/static/'}
_IN_SCRIPTS = {
    'url_prefix:"/dashboard"': 'url_prefix:"{prefix}/dashboard"',
    "${this.baseURL}/api/": "{prefix}/api/",
    "`/csv/": "`{prefix}/csv/",
}
"""Every address of the root that its pages use; artifacts, which no trial has here, excepted."""

_READ_ONLY = (
    "This dashboard shows the trials of a tuning and changes nothing: use `makerflow tuning ...`, or the study that "
    "`as_study` gives you."
)

logger = logging.getLogger("makerflow")


class LiveTrials(InMemoryStorage):
    """The study of a tuning whose trials are the registry's, under their numbers there.

    Args:
        registry: Where the tuning is.
        id: Its id.

    Raises:
        NotFoundError: There is no such tuning.
    """

    def __init__(self, registry: Registry, id: str) -> None:
        super().__init__()
        self._registry = registry
        self._tuning = registry.tunings.get(id)
        self._reader = TrialReader(registry, self._tuning)
        self._reading = threading.Lock()
        empty_study(self._tuning, self)
        self._shown = self._reader.read()
        self._read_at = time.monotonic()

    def refresh(self) -> None:
        """Read what has changed, when that was not done just now; while the registry cannot be read, all stays.

        Raises:
            NotFoundError: The tuning was deleted.
        """
        with self._reading:
            if time.monotonic() - self._read_at < FRESH_SECONDS:
                return
            try:
                status = self._registry.tunings.get(self._tuning.id).status.value
                self._shown = self._reader.read()
                self.set_study_user_attr(STUDY, STATUS, status)
            except TransientError as error:
                logger.warning("%s", error)
            self._read_at = time.monotonic()

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """As promised; nobody changes what is given, so it is not copied."""
        return [trial for trial in self._shown if states is None or trial.state in states]

    def get_best_trial(self, study_id: int) -> FrozenTrial:
        """As promised."""
        completed = self.get_all_trials(study_id, states=[TrialState.COMPLETE])
        if not completed:
            raise ValueError("No trials are completed yet.")
        least = self._tuning.spec.objective.type is ObjectiveType.MINIMIZE
        return min(completed, key=lambda trial: (trial.value or 0.0) * (1 if least else -1))


class Dashboard:
    """What a visitor sees.

    Args:
        trials: Of the tuning.
        prefix: The path below which it is served.
        end: Called when the tuning was deleted.

    Raises:
        InvalidInputError: The pages of this version of optuna-dashboard cannot be moved below a path.
    """

    def __init__(self, trials: LiveTrials, prefix: str, end: Callable[[], None]) -> None:
        self._trials = trials
        self._prefix = prefix
        self._end = end
        self._page = moved((_PAGES / "index.html").read_text(encoding="utf-8"), _IN_PAGE, prefix)
        self._scripts = moved((_PAGES / "public" / "bundle.js").read_text(encoding="utf-8"), _IN_SCRIPTS, prefix)
        self._api = optuna_dashboard.wsgi(trials)

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer a request, as WSGI describes it."""
        return self._answer(Request(environ))(environ, start_response)

    def _answer(self, request: Request) -> "WSGIApplication":
        path = request.path.removeprefix(self._prefix).rstrip("/")
        if request.method not in ("GET", "HEAD"):
            return Response(json.dumps({"reason": _READ_ONLY}), 405, mimetype="application/json")
        if path == "":
            return redirect(f"{self._prefix}/dashboard/studies/{STUDY}")
        if path == "/static/bundle.js":
            return self._bundle(request)
        if f"{path}/".startswith("/dashboard/"):
            return Response(self._page, mimetype="text/html")
        if path.startswith(("/api/", "/csv/")):
            return self._of_optuna(path)
        return Response("There is nothing here.\n", 404)

    def _of_optuna(self, path: str) -> "WSGIApplication":
        try:
            self._trials.refresh()
        except NotFoundError as error:
            gone = Response(json.dumps({"reason": str(error)}), 404, mimetype="application/json")
            # Once it is written: who ends waits for the server, which waits for nobody, this answer's reader included.
            gone.call_on_close(threading.Thread(target=self._end).start)
            return gone

        def answer(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
            inner = environ | {"SCRIPT_NAME": self._prefix, "PATH_INFO": path}
            return cast("Iterable[bytes]", self._api(inner, start_response))

        return answer

    def _bundle(self, request: Request) -> Response:
        """The scripts: compressed, for they are 6 MB, and asked for once, for a browser that has them asks anew."""
        response = Response(self._compressed, mimetype="text/javascript", headers={"content-encoding": "gzip"})
        if not request.accept_encodings.quality("gzip"):
            response = Response(self._scripts, mimetype="text/javascript")
        response.set_etag(self._digest + response.headers.get("content-encoding", ""))
        response.headers["cache-control"] = "no-cache"
        return response.make_conditional(request)

    @cached_property
    def _compressed(self) -> bytes:
        return gzip.compress(self._scripts, compresslevel=5)

    @cached_property
    def _digest(self) -> str:
        return hashlib.sha256(self._scripts).hexdigest()[:16]


def moved(text: str, addresses: Mapping[str, str], prefix: str) -> bytes:
    """A page of optuna-dashboard's whose addresses are below `prefix`.

    Raises:
        InvalidInputError: An address is not in it: this is another version than those that are known.
    """
    for address, other in addresses.items():
        if address not in text:
            what = f"optuna-dashboard {optuna_dashboard.__version__}"
            raise InvalidInputError(what, f"its pages have no {address!r}", "Install the version in constraints.txt.")
        text = text.replace(address, other.replace("{prefix}", prefix))
    return text.encode()
