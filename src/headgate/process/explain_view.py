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
from headgate.proxy.slice_requests import first_slice, slice_request
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
    request, piece = asked.request, -1
    if isinstance(handler, SliceHandler):
        size = handler.size
        if handler.slices(request, request.host, asked.secure):  # the first one that it needs is told of
            piece = first_slice(request, size)
            request = slice_request(request, piece, size)
            found |= {"slices": size, "slice": piece}
        handler = handler.inner
    if isinstance(handler, CacheHandler):
        found |= explain(handler, request, asked.secure, time.time(), hop, piece)
        if plane.peers is not None and found["key"]:
            key = str(found["key"]).encode("latin-1")
            home = plane.peers.home(key, handler.number, request)
            if home is not None:
                found["home"] = home
    return found
