"""The other end of the admin socket, for the command line: synchronous, standard library only."""

import http.client
import os
import socket
from pathlib import Path
from typing import Final
from urllib.parse import quote

import orjson

from headgate.errors import HeadgateError

TIMEOUT: Final = 10.0


class NoGateError(HeadgateError):
    """No running gate answers at the socket."""


class AdminError(HeadgateError):
    """The gate answered with an error: `status` is its HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(os.fspath(self._path))


class AdminClient:
    """Asks the gate whose admin socket is at `path`. All methods raise `NoGateError` and `AdminError`."""

    def __init__(self, path: Path, timeout: float = TIMEOUT) -> None:
        self.path = path
        self._timeout = timeout

    def status(self) -> dict[str, object]:
        """Return what `GET /status` says."""
        return self._object(self._ask("GET", "/status"))

    def ocsp(self) -> list[dict[str, object]]:
        """Return a row for each certificate."""
        rows = self._object(self._ask("GET", "/ocsp")).get("certificates")
        return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []

    def ocsp_text(self, name: str) -> dict[str, object]:
        """Return one row with the response as text."""
        return self._object(self._ask("GET", "/ocsp/" + quote(name, safe="")))

    def refresh(self, name: str | None = None, wait: float = 0.0) -> tuple[list[str], bool]:
        """Have one staple, or all of them, fetched now, and wait up to `wait` seconds for the outcome.

        Returns the names, and whether all have an outcome.
        """
        query = f"?wait={wait:g}" + ("" if name is None else "&name=" + quote(name, safe=""))
        answer = self._object(self._ask("POST", "/ocsp/refresh" + query, wait))
        names = answer.get("refreshing")
        return [str(item) for item in names] if isinstance(names, list) else [], answer.get("ended") is True

    def switch_qlog(self, is_on: bool) -> str:
        """Have QUIC connections written down, or no more; return the folder."""
        answer = self._object(self._ask("POST", f"/qlog?on={'true' if is_on else 'false'}"))
        return str(answer.get("folder", ""))

    def cache(self) -> list[dict[str, object]]:
        """Return a row of the cache for each worker, and one for all."""
        rows = self._object(self._ask("GET", "/cache")).get("cache")
        return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []

    def explain(self, url: str, method: str, fields: list[str]) -> list[dict[str, object]]:
        """Return what each worker's cache would do with a request; a field is `Name: value`."""
        query = f"url={quote(url, safe='')}&method={quote(method, safe='')}"
        query += f"&fields={quote(chr(10).join(fields), safe='')}"
        rows = self._object(self._ask("GET", f"/cache/explain?{query}")).get("workers")
        return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []

    def purge(self, kind: str, pattern: str, *, is_soft: bool) -> dict[str, object]:
        """Purge by one of the kinds of `admin/api`; return what was purged and who has obeyed."""
        query = f"{kind}={quote(pattern, safe='')}&soft={'true' if is_soft else 'false'}"
        return self._object(self._ask("POST", f"/cache/purge?{query}"))

    def metrics(self) -> str:
        """Return the metrics as text."""
        return self._ask("GET", "/metrics").decode()

    def _ask(self, method: str, target: str, wait: float = 0.0) -> bytes:
        connection = _UnixConnection(self.path, self._timeout + wait)
        try:
            connection.request(method, target)
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as exc:
            reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc) or repr(exc)
            raise NoGateError(f"no gate answers at {self.path}: {reason}") from exc
        finally:
            connection.close()
        if response.status >= 400:
            raise AdminError(response.status, _message(body))
        return body

    @staticmethod
    def _object(body: bytes) -> dict[str, object]:
        try:
            value = orjson.loads(body)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise AdminError(502, "the gate's answer is no JSON object")
        return value


def _message(body: bytes) -> str:
    try:
        value = orjson.loads(body)
    except ValueError:
        return body.decode("utf-8", "replace").strip()
    return str(value.get("error", value)) if isinstance(value, dict) else str(value)
