"""The admin API: JSON over the admin socket.

| request | answer |
|---|---|
| `GET /status` | processes, listeners, problems |
| `GET /ocsp` | one row for each certificate |
| `GET /ocsp/NAME` | one row, with host names and the response as text |
| `POST /ocsp/refresh[?name=NAME][&wait=SECONDS]` | asks now; 202 with the names, 200 when all rounds ended in time |
| `GET /metrics` | the metrics as text |
| `GET /cache` | one row for each worker and one for all: objects, outcomes, hit ratio |
| `GET /cache/explain?url=[&method=][&fields=]` | what each worker would do with a request, and why |
| `POST /cache/purge?KIND=PATTERN[&soft=true]` | purges; 202 when some workers have not obeyed yet |
| `POST /qlog?on=true` or `false` | QUIC connections are written down from now on, or no more; with the folder |

KIND is url, prefix, host, tag or everything (`=true`); softly purged is what is confirmed before its next use.
NAME is percent-encoded: a certificate's file, a host name that it covers or its serial (`naming`).
Errors are `{"error": "…"}` with 404, 405 or 503. What is behind the requests is injected as `Control`.
"""

import asyncio
import re
from collections.abc import Sequence
from typing import Final, Protocol

import orjson

from headgate.admin.http import SmallRequest, SmallResponse, path_name

METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_OCSP: Final = "/ocsp/"
# Longer than one responder's whole timeout, shorter than the patience of whoever typed it.
MAX_WAIT: Final = 60.0
PURGE_KINDS: Final = ("url", "prefix", "host", "tag", "everything")
# Workers obey within milliseconds; one that does not is stuck.
PURGE_WAIT: Final = 5.0
METHOD: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}")
FIELD: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\xa0-\xff]*")


def wrong_part(method: str, fields: Sequence[str]) -> str:
    """Return what no request can have of a method and of fields `Name: value`; "": all of it is well."""
    wrong = [line for line in fields if FIELD.fullmatch(line) is None]
    if METHOD.fullmatch(method) is None:
        wrong.append(method)
    return f"{wrong[0]} is not part of a request" if wrong else ""


class Control(Protocol):
    """What the keeper can tell and do. Rows are JSON-ready; a method may raise `LookupError` for unknown
    names."""

    def status(self) -> dict[str, object]: ...

    def ocsp(self) -> Sequence[dict[str, object]]: ...

    def ocsp_text(self, name: str) -> dict[str, object]: ...

    def refresh(self, name: str | None) -> Sequence[str]: ...

    async def refreshed(self, names: Sequence[str]) -> None: ...

    def metrics(self) -> bytes: ...

    def switch_qlog(self, is_on: bool) -> str: ...

    def cache(self) -> Sequence[dict[str, object]]: ...

    async def explain(
        self, url: str, method: str, fields: Sequence[str], wait: float
    ) -> Sequence[dict[str, object]]: ...

    async def purge(self, kind: str, pattern: str, is_soft: bool, wait: float) -> dict[str, object]: ...


class AdminApi:
    """Routes requests to a `Control`."""

    def __init__(self, control: Control) -> None:
        self._control = control

    async def __call__(self, request: SmallRequest) -> SmallResponse:
        """Answer one request."""
        try:
            if request.path == "/ocsp/refresh":
                return await self._refresh(request)
            if request.path == "/qlog":
                return self._qlog(request)
            if request.path == "/cache/purge":
                return await self._purge(request)
            if request.path == "/cache/explain":
                return await self._explain(request)
            return self._route(request)
        except LookupError as exc:
            return _json({"error": str(exc.args[0]) if exc.args else "not found"}, 404)

    def _route(self, request: SmallRequest) -> SmallResponse:
        if request.path not in ("/status", "/ocsp", "/metrics", "/cache") and not request.path.startswith(
            _OCSP
        ):
            return _json({"error": f"there is no {request.path}"}, 404)
        if request.method not in ("GET", "HEAD"):
            return _not_allowed(b"GET, HEAD")
        if request.path == "/status":
            return _json(self._control.status())
        if request.path == "/ocsp":
            return _json({"certificates": list(self._control.ocsp())})
        if request.path == "/cache":
            return _json({"cache": list(self._control.cache())})
        if request.path == "/metrics":
            return SmallResponse(200, self._control.metrics(), METRICS_TYPE)
        return _json(self._control.ocsp_text(path_name(request.path, _OCSP)))

    def _qlog(self, request: SmallRequest) -> SmallResponse:
        if request.method != "POST":
            return _not_allowed(b"POST")
        word = request.query.get("on", "")
        if word not in ("true", "false"):
            raise ValueError("on is true or false")  # answered with 400
        return _json({"on": word == "true", "folder": self._control.switch_qlog(word == "true")})

    async def _purge(self, request: SmallRequest) -> SmallResponse:
        if request.method != "POST":
            return _not_allowed(b"POST")
        query = request.query
        kinds = [kind for kind in PURGE_KINDS if kind in query]
        soft = query.get("soft", "false")
        if len(kinds) != 1 or soft not in ("true", "false"):
            raise ValueError(f"name one of {', '.join(PURGE_KINDS)}, and soft as true or false")
        if kinds[0] == "everything" and query["everything"] != "true":
            raise ValueError("everything is true")
        answer = await self._control.purge(kinds[0], query[kinds[0]], soft == "true", PURGE_WAIT)
        return _json(answer, 200 if not answer["behind"] else 202)

    async def _explain(self, request: SmallRequest) -> SmallResponse:
        if request.method not in ("GET", "HEAD"):
            return _not_allowed(b"GET, HEAD")
        query = request.query
        method = query.get("method", "GET")
        fields = [line for line in query.get("fields", "").split("\n") if line]
        wrong = wrong_part(method, fields)
        if wrong:
            raise ValueError(wrong)
        rows = await self._control.explain(query.get("url", ""), method, fields, PURGE_WAIT)
        return _json({"workers": list(rows)})

    async def _refresh(self, request: SmallRequest) -> SmallResponse:
        if request.method != "POST":
            return _not_allowed(b"POST")
        wait = float(request.query.get("wait", "0"))  # a ValueError is answered with 400
        if not wait >= 0.0:  # not a number is refused too
            raise ValueError("wait is a number of seconds")
        names = list(self._control.refresh(request.query.get("name")))
        try:
            async with asyncio.timeout(min(wait, MAX_WAIT)):
                await self._control.refreshed(names)
        except TimeoutError:
            return _json({"refreshing": names, "ended": False}, 202)
        return _json({"refreshing": names, "ended": True})


class MetricsApi:
    """What the metrics port serves: `/metrics` and nothing else."""

    def __init__(self, control: Control) -> None:
        self._control = control

    async def __call__(self, request: SmallRequest) -> SmallResponse:
        """Answer one request."""
        if request.path != "/metrics":
            return SmallResponse(404, b"the metrics are at /metrics\n", "text/plain; charset=utf-8")
        if request.method not in ("GET", "HEAD"):
            return _not_allowed(b"GET, HEAD")
        return SmallResponse(200, self._control.metrics(), METRICS_TYPE)


def _json(value: object, status: int = 200) -> SmallResponse:
    return SmallResponse(status, orjson.dumps(value) + b"\n")


def _not_allowed(methods: bytes) -> SmallResponse:
    body = orjson.dumps({"error": f"use {methods.decode()}"}) + b"\n"
    return SmallResponse(405, body, headers=((b"allow", methods),))
