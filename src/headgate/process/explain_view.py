"""What a worker answers to `headgate explain`: listener and route of a request, and what its cache would do.

Where workers ask one another, also which of them sees to its key now, or has its response.
"""

import time
from typing import cast

from headgate.errors import HeadgateError
from headgate.process.channel import Json, Message
from headgate.process.data_plane import DataPlane
from headgate.process.explaining import find_route, question_of
from headgate.proxy.cached import CacheHandler
from headgate.proxy.explain import explain
from headgate.proxy.slices import SliceHandler


def explain_request(plane: DataPlane, message: Message) -> Json:
    """Return what this worker has to say to one EXPLAIN message."""
    answer: dict[str, object] = {"id": message.integer("id")}
    try:
        answer |= _explained(plane, message)
    except HeadgateError as exc:
        answer["error"] = str(exc)
    return cast(Json, answer)


def _explained(plane: DataPlane, message: Message) -> dict[str, object]:
    lines = message.item("fields")
    told = [str(line) for line in lines] if isinstance(lines, list) else []
    asked = question_of(message.text("url"), message.text("method"), told)
    found, route, hop = find_route(plane.config, plane.routers, asked)
    handler = route.handler if route is not None else None
    if isinstance(handler, SliceHandler):
        found["slices"] = handler.size  # what is stored of it has keys of its own
        handler = handler.inner
    if isinstance(handler, CacheHandler):
        found |= explain(handler, asked.request, asked.secure, time.time(), hop)
        if plane.peers is not None and found["key"]:
            key = str(found["key"]).encode("latin-1")
            home = plane.peers.home(key, handler.number, asked.request)
            if home is not None:
                found["home"] = home
    return found
