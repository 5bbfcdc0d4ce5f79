"""The JSON Schema and the reference page are generated, up to date, and true."""

import re
import tomllib
from pathlib import Path

import pytest
from gate_text import GATE, edited

from headgate.config.listener import ListenerLimits, ListenerTimeouts
from headgate.config.other import Limits
from headgate.config.problems import all_tables
from headgate.config.reference import render_reference
from headgate.config.schema import default_of, json_schema, main, reference_text, stale
from headgate.config.table import bare, table_at

ROOT = Path(__file__).parents[3]
EXAMPLES = sorted((ROOT / "examples").glob("*.toml"))


def faults(schema, value, root, at="$"):
    """Check `value` against the part of JSON Schema that the generator uses."""
    if "$ref" in schema:
        return faults(root["$defs"][schema["$ref"].rsplit("/", 1)[1]], value, root, at)
    if "anyOf" in schema:
        tried = [faults(option, value, root, at) for option in schema["anyOf"]]
        return [] if [] in tried else tried[0]
    kinds = {"string": str, "integer": int, "boolean": bool, "array": list, "object": dict}
    kind = kinds[schema["type"]]
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        return [f"{at}: not {schema['type']}"]
    found = []
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{at}: not in enum")
    if "pattern" in schema and not re.search(schema["pattern"], value):
        found.append(f"{at}: pattern")
    if value in range(-(10**9), schema.get("minimum", -(10**9))) or (
        kind is int and value > schema.get("maximum", value)
    ):
        found.append(f"{at}: out of bounds")
    if kind is list:
        found += [] if len(value) >= schema.get("minItems", 0) else [f"{at}: too short"]
        for index, item in enumerate(value):
            found += faults(schema["items"], item, root, f"{at}[{index}]")
    if kind is dict:
        properties, more = schema.get("properties", {}), schema.get("additionalProperties", True)
        found += [f"{at}: {name} missing" for name in schema.get("required", []) if name not in value]
        for name, item in value.items():
            below = properties.get(name, more)
            if below is False:
                found.append(f"{at}: {name} unknown")
            elif below is not True:
                found += faults(below, item, root, f"{at}.{name}")
    return found


def test_the_files_in_docs_are_up_to_date():
    names = [path.name for path, _ in stale(ROOT / "docs")]
    assert not names, "run: python -m headgate.config.schema --write"


def test_a_stale_file_is_seen_and_written(tmp_path, capsys):
    assert main([str(tmp_path)]) == 1
    assert "not up to date" in capsys.readouterr().out
    (tmp_path / "configuration.md").write_text("# By hand\n\n")
    assert main(["--write", str(tmp_path)]) == 0
    assert main([str(tmp_path)]) == 0
    assert (tmp_path / "configuration.md").read_text().startswith("# By hand\n\n<!-- generated")


def test_what_stands_above_the_mark_is_kept():
    once = reference_text("# Title\n")
    assert reference_text(once) == once
    assert reference_text(once.replace("`workers`", "`helpers`")) == once


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_fit_the_schema(path):
    tree = tomllib.loads(path.read_text())
    schema = json_schema()
    if path.name == "behind-balancer.toml":
        tree["workers"] = 0  # a variable: only an editor's schema minds
    assert faults(schema, tree, schema) == []


@pytest.mark.parametrize(
    "change",
    [
        ("workers = 2", "workers = true"),
        ("workers = 2", "worker = 2"),
        ("workers = 2", "workers = 2000"),
        ('mode = "https"', 'mode = "backward"'),
        ('head = "10s"', 'head = "10"'),
        ('head = "64KiB"', "head = 3"),
        ('addresses = ["0.0.0.0:443"]', "addresses = []"),
        ('files = "site.pem"\n', ""),
        ('endpoints = ["http://10.0.0.1:8080"]', "endpoints = [3]"),
        ('endpoints = ["http://10.0.0.1:8080"]', "endpoints = [{ weight = 3 }]"),
    ],
)
def test_what_the_loader_refuses_the_schema_refuses(change):
    schema = json_schema()
    assert faults(schema, tomllib.loads(GATE), schema) == []
    assert faults(schema, tomllib.loads(edited(change)), schema)


def test_the_schema_knows_no_null_and_no_machine():
    text = (ROOT / "docs/headgate.schema.json").read_text()
    assert '"null"' not in text
    assert str(Path.home()) + "/" not in text


@pytest.mark.parametrize(
    ("header", "table"), all_tables(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_everything_has_a_description(header, table):
    assert table.__doc__
    for name, field in table.model_fields.items():
        is_table = "[" in str(bare(field.annotation)) or table_at(table, (name,)) is not None
        assert field.description or is_table, f"{header}.{name}"


@pytest.mark.parametrize("table", [ListenerLimits, ListenerTimeouts, Limits])
def test_every_limit_gives_its_reason(table):
    for key, field in table.model_fields.items():
        assert "Reason: " in field.description, key


def test_the_reference_has_every_key_once_in_its_section():
    page = render_reference(default_of)
    for header, table in all_tables():
        section = page.split(f"## `{header}`\n" if header else "## The top level\n", 1)[1].split("\n## ")[0]
        keys = re.findall(r"^\| `(\w+)`", section, re.MULTILINE)
        assert set(keys) <= set(table.model_fields)
        scalars = {name for name in table.model_fields if table_at(table, (name,)) is None}
        assert set(keys) >= scalars - {"listener", "certificate", "route", "upstream"}


def test_defaults_are_written_as_one_writes_them():
    page = render_reference(default_of)
    assert '| `head` | duration | `"10s"` |' in page
    assert '| `body` | size | `"0"` |' in page
    assert "| `addresses` | array of address | required |" in page
