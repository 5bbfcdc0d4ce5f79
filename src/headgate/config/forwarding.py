"""What may be wrong with a forward listener beyond its single values."""

from collections.abc import Iterator

from headgate.config.listener import Listener
from headgate.config.listener_forward import ListenerForward
from headgate.config.problems import Finding
from headgate.config.table import Location

# What a listener has for requests that are routed, or for TLS.
_OF_OTHERS = ("allow_in_path",)
# Keys that say something about parents, and need some.
_OF_PARENTS = ("parent_credentials", "bypass", "direct")


def check_forward(location: Location, listener: Listener) -> Iterator[Finding]:
    """Yield every fault of one listener as far as it is, or should be, a forward proxy."""
    here: Location = (*location, "forward")
    if listener.mode != "forward":
        if "forward" in listener.model_fields_set:
            yield Finding(here, f"has no effect with mode {listener.mode}", hint='set mode = "forward"')
        return
    for name in _OF_OTHERS:
        if name in listener.model_fields_set:
            yield Finding((*location, name), "has no effect with mode forward: paths are sent on as they are")
    table = listener.forward
    if not table.clients:
        yield Finding((*here, "clients"), "nobody could use it", "at least one network")
    for name in ("connect_ports", "plain_ports", "parents"):
        yield from _check_twice((*here, name), getattr(table, name))
    yield from _check_parents(here, table)


def _check_twice(location: Location, values: tuple[str, ...]) -> Iterator[Finding]:
    for place, value in enumerate(values):
        if value in values[:place]:
            yield Finding((*location, place), f"{value} stands there twice")


def _check_parents(here: Location, table: ListenerForward) -> Iterator[Finding]:
    if table.parents:
        return
    for name in _OF_PARENTS:
        if name in table.model_fields_set:
            yield Finding((*here, name), "has no effect without parents")
