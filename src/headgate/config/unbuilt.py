"""Words that are known and not built yet.

Someone who asks for ACME must not read "unknown key" and look for a typing error, nor be served without it: each
word of the plan that this version does not do is an error that says so. A row leaves this table when its feature
lands.
"""

from dataclasses import dataclass
from typing import Final

from headgate.config.table import Location


@dataclass(frozen=True, slots=True)
class Unbuilt:
    """A key ("*" is any name or index), the values of it that are meant (none: all), and what it would be."""

    key: tuple[str, ...]
    values: tuple[object, ...]
    what: str


TABLE: Final = (
    Unbuilt(("acme",), (), "ACME"),
    Unbuilt(("cluster",), (), "clustering"),
)


# A file may have tens of thousands of values, and hardly any has a row: table and depth tell at once.
_ROWS: Final = {
    place: [row for row in TABLE if (row.key[0], len(row.key)) == place]
    for place in {(row.key[0], len(row.key)) for row in TABLE}
}


def unbuilt(location: Location, value: object) -> str:
    """Return what is not built yet about `value` at `location`; empty when nothing is."""
    for row in _ROWS.get((str(location[0]), len(location)), ()):
        if any(want not in ("*", step) for want, step in zip(row.key, location, strict=True)):
            continue
        if not row.values or any(
            value is want or (value == want and isinstance(value, str)) for want in row.values
        ):
            return row.what
    return ""
