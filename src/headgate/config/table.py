"""The base of every table of the configuration, and the kinds of scalar that have no unit.

A table is a frozen pydantic model: an unknown key is an error, nothing is converted silently (`true` is no number,
`"5"` is no number), and a field's docstring is its documentation: `docs/configuration.md` and the JSON Schema are
generated from it.
"""

import types
from typing import Annotated, Final, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Strict, WithJsonSchema

Location = tuple[str | int, ...]
"""Where a value stands: keys and array indices from the top."""


class Expanded(str):
    """A string that environment variables went into. Only such a string may stand for a number or a boolean:
    `workers = "${WORKERS}"` works, `workers = "4"` is a mistake."""

    __slots__ = ()


class Table(BaseModel):
    """One table of the configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def _number(value: object) -> object:
    return int(value) if isinstance(value, Expanded) and value.isascii() and value.isdigit() else value


_FLAGS: Final = {"true": True, "false": False}


def _flag(value: object) -> object:
    return _FLAGS.get(value, value) if isinstance(value, Expanded) else value


Count = Annotated[int, BeforeValidator(_number), Strict(), WithJsonSchema({"type": "integer", "minimum": 0})]
"""A whole number."""
Flag = Annotated[bool, BeforeValidator(_flag), Strict(), WithJsonSchema({"type": "boolean"})]
"""`true` or `false`, nothing else."""


def table_at(root: type[Table], location: Location) -> type[Table] | None:
    """Return the model of the table at `location` below `root`, None when there is none."""
    annotation: object = root
    for step in location:
        if isinstance(annotation, type) and issubclass(annotation, Table):
            field = annotation.model_fields.get(step) if isinstance(step, str) else None
            inner: object = field.annotation if field is not None else None
        elif get_origin(annotation) is tuple:  # an element of an array
            inner = get_args(annotation)[0]
        elif get_origin(annotation) is dict:  # a named table
            inner = get_args(annotation)[1]
        else:
            return None
        annotation = bare(inner)
    return annotation if isinstance(annotation, type) and issubclass(annotation, Table) else None


def bare(annotation: object) -> object:
    """Return an annotation without `Annotated` and without `| None`."""
    if get_origin(annotation) is Annotated:
        return bare(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        inner = [a for a in get_args(annotation) if a is not type(None)]
        return bare(inner[0]) if len(inner) == 1 else annotation
    return annotation
