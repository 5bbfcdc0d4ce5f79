"""The reference part of `docs/configuration.md`: one section for each table, one row for each key."""

import inspect
import json
from collections.abc import Callable, Iterator
from typing import Annotated, Literal, get_args, get_origin

from pydantic import WithJsonSchema
from pydantic.fields import FieldInfo

from headgate.config.problems import all_tables
from headgate.config.table import Table, bare
from headgate.config.unbuilt import TABLE

DefaultOf = Callable[[type[Table], str], object]


def render_reference(default_of: DefaultOf) -> str:
    """Return the sections of all tables and the list of what is not built yet, as Markdown."""
    sections = ["\n".join(_section(header, table, default_of)) for header, table in all_tables()]
    return "\n".join([*sections, *_unbuilt()])


def _section(header: str, table: type[Table], default_of: DefaultOf) -> Iterator[str]:
    yield f"## `{header}`" if header else "## The top level"
    yield ""
    yield inspect.cleandoc(table.__doc__ or "")
    yield ""
    rows = [(name, field) for name, field in table.model_fields.items() if _child(field) is None]
    if rows:
        yield "| key | value | default | meaning |"
        yield "|---|---|---|---|"
    for name, field in rows:
        cells = (
            f"`{name}`",
            kind_of(field),
            _default(table, name, default_of),
            _one_line(field.description or ""),
        )
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
    if rows:
        yield ""


def _child(field: FieldInfo) -> type[Table] | None:
    """Return the table that a field holds, or holds many of."""
    annotation = bare(field.annotation)
    if get_origin(annotation) in (tuple, dict):
        annotation = bare(get_args(annotation)[0 if get_origin(annotation) is tuple else 1])
        # An endpoint may be a plain URL, so its array is a key as well as a table.
        if isinstance(annotation, type) and annotation.__name__ == "Endpoint":
            return None
    return annotation if isinstance(annotation, type) and issubclass(annotation, Table) else None


def kind_of(field: FieldInfo) -> str:
    """Return what a field takes, in a word or as its choices."""
    bounds = {name: getattr(m, name) for m in field.metadata for name in ("ge", "le") if hasattr(m, name)}
    kind = _kind(field.annotation, tuple(field.metadata))
    return f"{kind}, {bounds['ge']} to {bounds['le']}" if len(bounds) == 2 else kind


def _kind(annotation: object, metadata: tuple[object, ...] = ()) -> str:
    for item in metadata:
        if isinstance(item, WithJsonSchema) and item.json_schema is not None:
            return str(item.json_schema.get("title", item.json_schema.get("type")))
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(arguments[0], arguments[1:])
    if origin is Literal:
        return ", ".join(f"`{json.dumps(choice)}`" for choice in arguments)
    if origin is tuple:
        return f"array of {_kind(arguments[0])}"
    if origin is dict:
        return "table of text"
    if len(arguments) == 2 and arguments[1] is type(None):
        return _kind(arguments[0])
    return "URLs or tables" if annotation is not str else "text"


def _default(table: type[Table], name: str, default_of: DefaultOf) -> str:
    if table.model_fields[name].is_required():
        return "required"
    default = default_of(table, name)
    if default is None:
        return ""
    return f"`{json.dumps(default, ensure_ascii=False)}`"


def _unbuilt() -> Iterator[str]:
    yield "## Known and not built yet"
    yield ""
    yield "To ask for one of these is an error that says so; none is quietly ignored."
    yield ""
    yield "| key | value | what it will be |"
    yield "|---|---|---|"
    for row in TABLE:
        key = ".".join(step for step in row.key if step != "*")
        values = ", ".join(f"`{json.dumps(value)}`" for value in row.values)
        yield f"| `{key}` | {values} | {row.what} |"
    yield ""


def _one_line(text: str) -> str:
    return " ".join(text.split())
