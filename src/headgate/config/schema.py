"""The JSON Schema and the reference page, both generated from the models.

`python -m headgate.config.schema --write` writes `docs/headgate.schema.json` and the generated part of
`docs/configuration.md`; without `--write` it only says whether they are up to date, as a test does.
"""

import json
import sys
from pathlib import Path
from typing import Final

from headgate.config.model import Config
from headgate.config.problems import all_tables
from headgate.config.reference import render_reference
from headgate.config.table import Table

SCHEMA_FILE: Final = "headgate.schema.json"
REFERENCE_FILE: Final = "configuration.md"
MARK: Final = (
    "<!-- generated from src/headgate/config by `python -m headgate.config.schema --write`; edit above -->\n"
)

_BOUNDS: Final = {"ge": "minimum", "le": "maximum"}

Json = dict[str, object]


def json_schema() -> Json:
    """Return the JSON Schema (2020-12) of `headgate.toml`, for editors that complete and check TOML."""
    schema: Json = Config.model_json_schema()
    definitions = schema["$defs"]
    assert isinstance(definitions, dict)
    for name, table in {table.__name__: table for _, table in all_tables()}.items():
        _tidy(schema if table is Config else definitions[name], table)
    endpoint = definitions["Endpoint"]
    definitions["Endpoint"] = {"anyOf": [endpoint["properties"]["url"], endpoint]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "headgate.toml"}


def _tidy(schema: Json, table: type[Table]) -> None:
    """Say defaults as one writes them, leave out `null`, which TOML does not have, and titles that say nothing."""
    schema["description"] = _one_line(str(schema.get("description", "")))
    properties = schema["properties"]
    assert isinstance(properties, dict)
    for name, value in properties.items():
        field = table.model_fields[name]
        options = value.pop("anyOf", [])
        value.update(next((option for option in options if option.get("type") != "null"), {}))
        for key in ("default", "title"):
            value.pop(key, None)
        for bound in field.metadata:  # pydantic leaves them out for a kind that brings its own schema
            value.update(
                {word: getattr(bound, name) for name, word in _BOUNDS.items() if hasattr(bound, name)}
            )
        default = default_of(table, name)
        if default is not None and not isinstance(field.default, Table):
            value["default"] = default
        if field.description:
            value["description"] = _one_line(field.description)


def default_of(table: type[Table], name: str) -> object:
    """Return the default of a field as it stands in JSON; None when there is none, or one that depends on the
    machine."""
    field = table.model_fields[name]
    if field.is_required() or name in ("state_dir", "runtime_dir"):
        return None
    blank = table.model_construct(**{name: field.get_default(call_default_factory=True)})
    values: dict[str, object] = blank.model_dump(mode="json", include={name})
    return values[name]


def _one_line(text: str) -> str:
    return " ".join(text.split())


def schema_text() -> str:
    """Return the content of `docs/headgate.schema.json`."""
    return json.dumps(json_schema(), indent=1, ensure_ascii=False) + "\n"


def reference_text(current: str) -> str:
    """Return `docs/configuration.md` with its generated part renewed; what stands above the mark is kept."""
    head, mark, _ = current.partition(MARK)
    return head + (mark or MARK) + "\n" + render_reference(default_of)


def stale(docs: Path) -> list[tuple[Path, str]]:
    """Return (file, wanted content) of each generated file in the folder `docs` that is not up to date."""
    schema, reference = docs / SCHEMA_FILE, docs / REFERENCE_FILE
    wanted = [(schema, schema_text()), (reference, reference_text(_read(reference)))]
    return [(path, text) for path, text in wanted if _read(path) != text]


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def main(arguments: list[str]) -> int:
    """Write the files (`--write`) or say which are not up to date; an optional argument is the folder of the docs."""
    write = "--write" in arguments
    folders = [argument for argument in arguments if not argument.startswith("-")]
    docs = Path(folders[0]) if folders else Path(__file__).parents[3] / "docs"
    behind = stale(docs)
    for path, text in behind:
        if write:
            path.write_text(text, encoding="utf-8")
        sys.stdout.write(f"{path}: {'written' if write else 'not up to date'}\n")
    return 0 if write or not behind else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
