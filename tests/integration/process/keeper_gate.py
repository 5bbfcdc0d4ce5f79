"""A gate with the real supervisor, keeper and configuration, fake workers, and responders that are files.

A certificate whose responder is http://ocsp.test/NAME gets the content of NAME.der, or a refused connection.
"""

import asyncio
import errno
import sys
from pathlib import Path
from urllib.parse import urlsplit

from fake_gate import OPTIONS, worker

from headgate.app import run_gate
from headgate.config.loader import load
from headgate.http.fetch import DialAttempt, FetchError, FetchResponse
from headgate.process.keeper import FetchParts, keeper_main


def make_fetch(config, counters):
    async def fetch(request):
        name = urlsplit(request.url).path.split("/")[1]
        path = Path(OPTIONS["responses"]) / f"{name}.der"
        if path.with_suffix(".silent").exists():
            await asyncio.Event().wait()
        if not path.exists():
            attempt = DialAttempt("192.0.2.7:80", errno.ECONNREFUSED, "Connection refused", 1.5)
            raise FetchError("connect", "refused", "192.0.2.7:80", errno.ECONNREFUSED, 1.5, (attempt,))
        headers = {"content-type": "application/ocsp-response"}
        return FetchResponse(200, headers, path.read_bytes(), "192.0.2.7:80", 2.0)

    async def close():
        pass

    return FetchParts(fetch, close)


if __name__ == "__main__":
    sys.exit(
        run_gate(
            load(OPTIONS["config"]),
            worker_main=lambda start: asyncio.run(worker(start)),
            keeper_main=lambda start: keeper_main(start, make_fetch),
        )
    )
