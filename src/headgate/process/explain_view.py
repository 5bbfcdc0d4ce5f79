"""What a worker answers to `headgate explain`: listener and route of a request, and what its cache would do."""

import time
from typing import cast

from headgate.engine.events import Request
from headgate.errors import HeadgateError
from headgate.http.fields import Fields
from headgate.http.target import parse_authority, parse_target
from headgate.pipeline.route import MISDIRECTED
from headgate.process.channel import Json, Message
from headgate.process.data_plane import DataPlane
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
    method = message.text("method").encode()
    target = parse_target(b"GET", message.text("url").encode())
    secure = target.scheme == b"https"
    host = parse_authority(target.authority)[0]
    fields = Fields([], [])
    fields.add(b"host", target.authority, b"Host")
    lines = message.item("fields")
    for line in lines if isinstance(lines, list) else []:
        name, _, value = str(line).partition(":")
        wire = name.strip().encode("latin-1")
        fields.add(wire.lower(), value.strip().encode("latin-1"), wire)
    request = Request(method, target.origin, 11, fields)
    request.host = target.authority
    mode = "https" if secure else "http"
    tables = list(enumerate(plane.config.listener))
    for index, table in [pair for pair in tables if pair[1].mode == mode] or tables:
        route = plane.router_of(index).match(host, target.normal)
        if route is None or route is MISDIRECTED:
            continue
        found: dict[str, object] = {"listener": table.label, "route": route.name, "cached": False}
        route.request_edits.apply(fields)
        handler = route.handler
        if isinstance(handler, SliceHandler):
            found["slices"] = handler.size  # what is stored of it has keys of its own
            handler = handler.inner
        if isinstance(handler, CacheHandler):
            found |= {"cached": True, **explain(handler, request, secure, time.time())}
        return found
    return {"listener": None, "route": None, "cached": False}
