"""What is wrong with a configuration, and where.

Every check of the loader ends in a `Problem`; `report.py` prints them. The errors of pydantic are turned into the
same words here, so that a reader never meets the name of a validator.
"""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, get_origin

from headgate.config.model import Config
from headgate.config.table import Location, Table, bare, table_at
from headgate.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. `line` and `column` count from 1 (0: no place in the file); `key` is a path such as
    `listener.tls.min_version`; `what` names the fault, `expected`, `got` and `hint` may be empty. What is not `fatal`
    is a warning."""

    file: str
    line: int
    column: int
    key: str
    what: str
    expected: str = ""
    got: str = ""
    hint: str = ""
    fatal: bool = True

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        if not self.fatal:
            place += ": warning"
        fault = self.what
        if self.expected:
            fault = f"{fault}, expected {self.expected}" if fault else f"expected {self.expected}"
        if self.got:
            fault = f"{fault}, got {self.got}"
        return ": ".join(part for part in (place, self.key, fault) if part) + (
            f"; {self.hint}" if self.hint else ""
        )


class ConfigProblems(ConfigError):
    """The configuration cannot be used; `problems` holds everything that was found, in the order of the file."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: list[Problem] = sorted(problems, key=lambda problem: (problem.line, problem.column))
        super().__init__("\n".join(str(problem) for problem in self.problems))


@dataclass(frozen=True, slots=True)
class Finding:
    """A `Problem` whose place is still a location in the tree."""

    location: Location
    what: str
    expected: str = ""
    got: str = ""
    hint: str = ""
    fatal: bool = True


# An empty list of these would match nothing; who wrote one may have meant the opposite.
_SHORT_HINTS: Final[Mapping[str | int, str]] = {
    "hosts": "leave `hosts` out for any host",
    "listeners": "leave `listeners` out for all of them",
}
_KINDS: Final = {
    "string_type": "text in quotes",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "tuple_type": "an array",
    "dict_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
}


def finding_of(error: Mapping[str, object], location: Location, value: object, absent: bool) -> Finding:
    """Return the finding for one error of pydantic at `location`, where the file has `value` (unless `absent`)."""
    kind = str(error["type"])
    context = error.get("ctx")
    context = context if isinstance(context, dict) else {}
    got = "" if absent else shown(value)
    if kind == "extra_forbidden":
        return unknown_key(location)
    if kind == "missing":
        return Finding(location, "missing", what_is(location))
    if kind == "headgate":
        return Finding(location, "", str(context["expected"]), got, str(context["hint"]))
    if kind == "literal_error":
        return _not_a_choice(location, str(context["expected"]), value, got)
    if kind == "too_short":
        return Finding(location, "", "at least one", got, _SHORT_HINTS.get(location[-1], ""))
    if kind in ("greater_than_equal", "less_than_equal"):
        bound = f"at least {context['ge']}" if "ge" in context else f"at most {context['le']}"
        return Finding(location, "", bound, got)
    if kind in _KINDS:
        return Finding(location, "", _KINDS[kind], got, _kind_hint(kind, location, value))
    return Finding(location, str(error["msg"]), "", got)


def shown(value: object) -> str:
    """Return a value as TOML would have it, cut to 60 characters; tables and arrays by kind only."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        text = value.encode("unicode_escape").decode("ascii") if not value.isprintable() else value
        return f'"{text[:60]}…"' if len(text) > 60 else f'"{text}"'
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "an array" if value else "[]"
    return str(value)


# What others call the versions of HTTP.
_OTHER_NAMES: Final = {
    "http1": "h1",
    "http1.1": "h1",
    "http2": "h2",
    "http2.0": "h2",
    "h2c": "h2",
    "http3": "h3",
    "quic": "h3",
}


def _not_a_choice(location: Location, choices: str, value: object, got: str) -> Finding:
    words = choices.replace("'", '"').replace(" or ", ", ")
    hint = ""
    if isinstance(value, str) and any(c.isalpha() for c in value):  # "1.1" is no misspelling of "1.2"
        known = words.replace('"', "").split(", ")
        other = _OTHER_NAMES.get(value.lower().replace("/", ""), "")
        near = [other] if other in known else difflib.get_close_matches(value.lower(), known, n=1)
        hint = f'did you mean "{near[0]}"?' if near else ""
    return Finding(location, "", words if "," not in words else f"one of {words}", got, hint)


def _kind_hint(kind: str, location: Location, value: object) -> str:
    name = location[-1]
    if kind == "tuple_type" and isinstance(value, dict):
        return f"write [[{name}]], with double brackets"
    if kind == "tuple_type" and isinstance(value, str):
        return f"put brackets around it: [{shown(value)}]"
    if kind in ("dict_type", "model_type") and isinstance(value, list):
        return f"write [{key_path(location, {})}], with single brackets"
    if kind == "bool_type" and isinstance(value, str) and value in ("true", "false"):
        return f"write {value} without quotes"
    if kind == "int_type" and isinstance(value, str) and value.isdecimal():
        return f"write {value} without quotes"
    if kind == "string_type" and isinstance(value, int | float) and not isinstance(value, bool):
        return f'write "{value}"'
    return ""


def unknown_key(location: Location) -> Finding:
    """Return the finding for a key that its table does not have, with the most likely place or spelling."""
    key = str(location[-1])
    table = table_at(Config, location[:-1])
    keys = list(table.model_fields) if table is not None else []
    near = difflib.get_close_matches(key.lower().replace("-", "_"), keys, n=1)
    homes = homes_of(key)
    if len(location) > 1 and "" in homes and _is_scalar(key):
        hint = f"`{key}` is a key of the top level: move it above the first [table]"
        return Finding(location, "unknown key", hint=hint)
    if near:
        return Finding(location, "unknown key", hint=f'did you mean "{near[0]}"?')
    if "" in homes and len(location) > 1:
        homes = [f"[[{key}]]" if key in _ARRAYS else f"[{key}]"]
    if homes and homes != [""]:
        return Finding(
            location, "unknown key", hint=f"`{key}` belongs to {' or '.join(h for h in homes if h)}"
        )
    return Finding(location, "unknown key", expected=f"one of {', '.join(keys)}" if keys else "")


_ARRAYS: Final = frozenset({"listener", "certificate", "route"})


def _is_scalar(key: str) -> bool:
    """Tell whether a key of the top level is a plain value, which a header above it has swallowed."""
    return table_at(Config, (key,)) is None and key not in _ARRAYS and key != "upstream"


def homes_of(key: str) -> list[str]:
    """Return the headers of all tables that have `key`; "" is the top level."""
    return [header for header, table in all_tables() if key in table.model_fields]


def all_tables() -> list[tuple[str, type[Table]]]:
    """Return (header, model) of every table, parents first; the top level has the header ""."""
    result: list[tuple[str, type[Table]]] = []
    _collect("", Config, result)
    return result


def _collect(header: str, table: type[Table], result: list[tuple[str, type[Table]]]) -> None:
    result.append((header, table))
    path = header.strip("[]")
    for name, field in table.model_fields.items():
        steps: Location = (name,)
        dotted = f"{path}.{name}" if path else name
        kind = get_origin(bare(field.annotation))
        if kind is dict:
            steps, dotted = (name, "*"), f"{dotted}.NAME"
        elif kind is tuple:
            steps = (name, 0)
        child = table_at(table, steps)
        if child is not None:
            _collect(f"[[{dotted}]]" if kind is tuple else f"[{dotted}]", child, result)


def what_is(location: Location) -> str:
    """Return what a required key holds, from the first sentence of its documentation."""
    table = table_at(Config, location[:-1])
    field = table.model_fields.get(str(location[-1])) if table is not None else None
    text = " ".join((field.description or "").split()) if field is not None else ""
    sentence = text.split(". ")[0].rstrip(".")
    return sentence[:1].lower() + sentence[1:] if sentence[:2] != sentence[:2].upper() else sentence


def key_path(location: Location, lengths: Mapping[Location, int]) -> str:
    """Return `listener.tls.min_version`, or `listener[1].tls…` where `lengths` says that the array has several."""
    text = ""
    for depth, step in enumerate(location):
        if isinstance(step, int):
            text += f"[{step}]" if lengths.get(location[:depth], 1) > 1 else ""
        else:
            name = step if step and all(c.isalnum() or c in "_-" for c in step) else f'"{step}"'
            text += f".{name}" if text else name
    return text
