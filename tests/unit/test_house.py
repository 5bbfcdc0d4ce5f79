"""The rules of the house, read off the sources: who imports whom, what engines may touch, what is compiled, how long
files are, which module has tests. docs/architecture.md states them; this holds them.
"""

import ast
import functools
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from headgate import build_info, counters
from headgate.engine.h2 import budgets

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "headgate"
LONGEST = 800

# Lowest first. A module imports from a lower rank or from its own room; within one rank a later room may use an
# earlier one (net asks http what an address is), never the other way round.
RANKS = (
    ("errors", "clock", "tasks", "counters", "build_info"),
    ("http", "net"),
    ("engine", "telemetry"),
    ("tls",),
    ("ocsp",),
    ("connection", "cache", "pipeline"),
    ("upstream",),
    ("server", "proxy", "asgi"),
    ("config", "admin"),
    ("process",),
    ("app",),
    ("demo", "cli"),
    ("__main__",),
)
ORDER = {room: index for index, room in enumerate(room for rank in RANKS for room in rank)}
ENGINE_ORDER = ("varint", "huffman", "events", "tls13", "h1", "message", "h2", "quic", "h3")

IMPURE = frozenset(
    [
        "OpenSSL",
        "asyncio",
        "datetime",
        "logging",
        "os",
        "random",
        "secrets",
        "select",
        "selectors",
        "signal",
        "socket",
        "ssl",
        "subprocess",
        "threading",
        "time",
        "uvloop",
    ]
)

# Modules whose tests have another name, and why.
TESTED_ELSEWHERE = {
    "http.fetch": "declares shapes; upstream/test_fetch.py drives them",
    "ocsp.report": "driven by test_stapler and admin/test_ocsp_text",
    "ocsp.sources": "driven by test_stapler_sources",
    "tls.handshake": "a record, in test_context and test_transport",
    "config.upstream_asgi": "a table, in test_upstream_checks",
    "config.upstream_pool": "a table, in test_model and test_loader",
    "config.forwarding": "in test_listener_forward",
    "config.upstream_tls": "a table, in test_checks and test_files",
    "config.upstream_retries": "a table, in test_model and test_loader",
}
MIRRORED = ("engine", "http", "ocsp", "tls", "cache", "config")


def modules():
    """Yield (dotted name without "headgate.", path) for every module."""
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if name:
            yield name, path


MODULES = dict(modules())


def is_typing_only(node):
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def imports(tree):
    """Yield (line, dotted module) of every import, lazy ones and those for types only too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in line {node.lineno}"
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


def target(dotted):
    """Return the module of ours that an imported name lies in, without "headgate.", or None."""
    if not dotted.startswith("headgate."):
        return None
    parts = dotted.split(".")[1:]
    while parts and ".".join(parts) not in MODULES:
        parts.pop()
    return ".".join(parts) or None


@functools.cache
def imports_of(path):
    """Return (line, dotted module, whether for types only) of each import of a file; most are asked for often."""
    tree = parsed(path)
    types = {line for node in tree.body if is_typing_only(node) for line, _ in imports(node)}
    return [(line, dotted, line in types) for line, dotted in imports(tree)]


def breaches(name, imported):
    """Return what a module imports against the ranks, one line each."""
    room = name.split(".")[0]
    found = []
    for line, dotted in imported:
        other = target(dotted)
        if other is None:
            continue
        theirs = other.split(".")[0]
        if theirs == "testing" and room != "testing":
            found.append(f"{name}:{line} imports {other}: `testing` is for tests")
        elif room != "testing" and theirs != room and ORDER[theirs] > ORDER[room]:
            found.append(f"{name}:{line} imports {other}: {theirs} ranks above {room}")
        elif room == theirs == "engine":
            mine, its = name.split(".")[1:2], other.split(".")[1:2]
            if mine and its and ENGINE_ORDER.index(its[0]) > ENGINE_ORDER.index(mine[0]):
                found.append(f"{name}:{line} imports {other}: {its[0]} ranks above {mine[0]} inside engine")
    return found


def parsed(path):
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def test_every_room_has_a_rank():
    assert {name.split(".")[0] for name in MODULES} - set(ORDER) <= {"testing"}


def test_imports_follow_the_ranks():
    found = {name: [(line, dotted) for line, dotted, _ in imports_of(path)] for name, path in MODULES.items()}
    assert [line for name, imported in found.items() for line in breaches(name, imported)] == []


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("net.tcp", "from headgate.upstream.endpoint import Endpoint"),
        ("http.fields", "from headgate.net import tcp"),
        ("tls.context", "def late():\n    import headgate.config.model"),
        ("proxy.reverse", "from headgate.testing.clock import FakeClock"),
        ("engine.events", "from headgate.engine.h1.server import ServerEngine"),
    ],
)
def test_a_breach_is_found(name, source):
    assert len(breaches(name, imports(ast.parse(source)))) == 1


def test_no_cyclic_imports():
    """Modules, not rooms: a cycle within a room is one too. What is imported for types only does not count."""
    graph = {}
    for name, path in MODULES.items():
        names = {target(dotted) for _, dotted, for_types in imports_of(path) if not for_types}
        graph[name] = sorted(names - {None, name})
    # Depth first: a module met again while it is still being visited closes a circle.
    done, path_now = set(), []

    def visit(name):
        assert name not in path_now, "cycle: " + " -> ".join([*path_now[path_now.index(name) :], name])
        if name in done:
            return
        path_now.append(name)
        for other in graph[name]:
            visit(other)
        path_now.pop()
        done.add(name)

    for name in graph:
        visit(name)


def test_engines_are_pure():
    found = [
        f"{name}:{line} imports {dotted}"
        for name, path in MODULES.items()
        if name.split(".")[0] == "engine"
        for line, dotted, _ in imports_of(path)
        if dotted.split(".")[0] in IMPURE
    ]
    assert found == []


def test_the_lint_rule_for_engines_bans_the_same():
    table = tomllib.loads((SOURCE / "engine" / "ruff.toml").read_text())
    banned = set(table["lint"]["flake8-tidy-imports"]["banned-api"])
    assert banned <= IMPURE
    assert {"asyncio", "socket", "ssl", "time", "random", "os", "secrets", "logging"} <= banned


def test_engines_never_assert():
    """What a peer sends is never checked by `assert`: -O would take the check away."""
    found = [
        f"{name}:{node.lineno}"
        for name, path in MODULES.items()
        if name.split(".")[0] == "engine"
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Assert)
    ]
    assert found == []


def test_compiled_modules():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["headgate"]["compiled"]
    assert list(build_info.COMPILED) == listed
    assert len(set(listed)) == len(listed)
    assert [name for name in listed if name.removeprefix("headgate.") not in MODULES] == []


def test_no_compiled_file_stands_in_the_sources():
    """It would be imported instead of the file beside it, in a run that calls itself pure."""
    assert list((ROOT / "src").rglob("*.so")) == []


def test_no_file_is_too_long():
    found = {
        str(path.relative_to(ROOT)): length
        for folder in ("src", "bench", "fuzz", "tools")
        for path in (ROOT / folder).rglob("*.py")
        if (length := len(path.read_text(encoding="utf-8").splitlines())) > LONGEST
    }
    assert found == {}


@functools.cache
def untested():
    """Return the modules of the mirrored rooms without tests.

    a/b.py has test_b*.py in the folder a of some kind of test, or tests there, or property and
    conformance tests or their drivers, that import it.
    """
    stems, imported = set(), set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        folder = path.parent.relative_to(ROOT / "tests").parts[1:]
        stems.add((folder, path.stem))
        imported |= {(folder[:1], target(dotted)) for _, dotted, _ in imports_of(path)}
    for kind in ("tests/property", "tests/conformance", "tests/parity", "fuzz"):
        for path in (ROOT / kind).rglob("*.py"):
            for other in {target(dotted) for _, dotted, _ in imports_of(path)} - {None}:
                imported.add((other.split(".")[0], other))
    missing = []
    for name, path in MODULES.items():
        *folder, leaf = name.split(".")
        if not folder or folder[0] not in MIRRORED or path.stem == "__init__":
            continue
        named = any(where == tuple(folder) and stem.startswith(f"test_{leaf}") for where, stem in stems)
        if not named and not {((folder[0],), name), (folder[0], name)} & imported:
            missing.append(name)
    return missing


def test_modules_have_tests():
    assert [name for name in untested() if name not in TESTED_ELSEWHERE] == []


def test_the_list_of_exceptions_is_no_longer_than_needed():
    assert sorted(set(TESTED_ELSEWHERE) - set(untested())) == []


# The project is built and read anywhere: nothing in it names the machine it was written on, or where it downloads.
FOREIGN = re.compile(
    r"(?<![\w.])/(?:work|root|home/(?!x/)[a-z]+|Users/[a-z]+)/[a-z]|pypi\.org/simple|index-url|(?:[0-9]{1,3}\.){3}[0-9]{1,3}:3141"
)


def tracked_texts():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode == 0:
        paths = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    else:  # a tree without git: an unpacked archive
        paths = [path for folder in ("src", "tests", "docs", "tools") for path in (ROOT / folder).rglob("*")]
    for path in paths:
        if path.is_file() and path.suffix not in (".png", ".der", ".pyc") and path != Path(__file__):
            yield path, path.read_text(encoding="utf-8", errors="replace")


def test_the_tree_names_no_machine():
    found = [
        f"{path.relative_to(ROOT)}:{text.count(chr(10), 0, match.start()) + 1}: {match.group()}"
        for path, text in tracked_texts()
        for match in FOREIGN.finditer(text)
    ]
    assert found == []


LIMIT_NAME = re.compile(r"^(MAX_[A-Z_]+|[A-Z_]+_LIMIT|HIGH_WATER|READ_MAX): Final", re.MULTILINE)
LIMITS_PAGE = ROOT / "docs" / "limits.md"


def test_every_limit_stands_in_the_documentation():
    page = LIMITS_PAGE.read_text(encoding="utf-8")
    found = {
        (name, match.group(1))
        for name, path in MODULES.items()
        if name.split(".")[0] not in ("testing", "demo")  # neither meets a stranger
        for match in LIMIT_NAME.finditer(path.read_text(encoding="utf-8"))
    }
    assert sorted((name, limit) for name, limit in found if f"`{limit}`" not in page) == []


def test_each_limit_stands_in_one_row():
    rows = [line.split(" | ")[0] for line in LIMITS_PAGE.read_text(encoding="utf-8").splitlines()]
    names = [
        (module, name)
        for row in rows
        if row.startswith("| ")
        for module in re.findall(r"`([a-z0-9_]+/[a-z0-9_/]+)`", row)
        for name in re.findall(r"`([A-Z_]{4,})`", row)
    ]
    assert len(names) > 100
    assert sorted({name for name in names if names.count(name) > 1}) == []


def test_the_tests_that_the_documentation_names_exist():
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")]
    missing = []
    for page in sorted((ROOT / "docs").glob("*.md")):
        words = page.read_text(encoding="utf-8")
        names = set(re.findall(r"`(test_[a-z0-9_]+)`", words))
        missing += [
            f"{page.name}: {name}" for name in names if not any(f"def {name}(" in text for text in texts)
        ]
        paths = set(re.findall(r"`(tests/[a-z0-9_/]+\.py)`", words))
        missing += [f"{page.name}: {name}" for name in paths if not (ROOT / name).exists()]
    assert sorted(missing) == []


CONFORMANCE = sorted((ROOT / "tests" / "conformance").glob("test_*.py"))
NAMED = re.compile(r"(here|[a-z0-9_/]+\.py): ((?:`test_[a-z0-9_]+`(?:, )?)+)")


@functools.cache
def functions(path):
    return {node.name for node in ast.walk(parsed(path)) if isinstance(node, ast.FunctionDef)}


def rules_and_tests(page):
    """Yield (rule, what its rows say under "tested in") of the tables that a conformance module opens with.

    A row without a section goes on with the rule of the row above.
    """
    rule, cells, inside = "", [], False
    for line in [*page.splitlines(), ""]:
        row = [cell.strip() for cell in line.split("|")[1:-1]]
        if not row:
            if cells:
                yield rule, cells
            rule, cells, inside = "", [], False
        elif row[-1] == "tested in":
            inside = True
        elif inside and not row[0].startswith("--"):
            if row[0] and cells:
                yield rule, cells
            if row[0]:
                rule, cells = " ".join(row[:-1]), []
            cells.append(row[-1])


def unnamed(path, page):
    """Return the rules of a module's tables that no test is named for, and the tests that are not there."""
    found = []
    for rule, cells in rules_and_tests(page):
        cells = [cell for cell in cells if cell]
        if not cells:
            found.append(f"{rule}: no test")
        for cell in cells:
            said = NAMED.fullmatch(cell)
            if said is None:
                found.append(f"{rule}: {cell}")
                continue
            where = path if said[1] == "here" else ROOT / "tests" / said[1]
            there = functions(where) if where.exists() else set()
            found += [f"{rule}: {name}" for name in re.findall(r"test_\w+", said[2]) if name not in there]
    return found


def test_the_tables_of_conformance_name_tests_that_exist():
    found = {path.name: unnamed(path, ast.get_docstring(parsed(path))) for path in CONFORMANCE}
    assert {name: rules for name, rules in found.items() if rules} == {}
    assert sum(len(list(rules_and_tests(ast.get_docstring(parsed(path))))) for path in CONFORMANCE) >= 30


def test_the_pages_of_rules_name_tests_that_exist():
    pages = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("conformance-*.md")}
    found = {name: unnamed(ROOT / "docs", page) for name, page in pages.items()}
    assert {name: rules for name, rules in found.items() if rules} == {}
    rules = {name: len(list(rules_and_tests(page))) for name, page in pages.items()}
    assert rules["conformance-cache.md"] >= 170
    assert rules["conformance-h2.md"] >= 150


@pytest.mark.parametrize(
    "row",
    [
        "| 1 | all | a rule | |",
        "| 1 | all | a rule | proxy/reverse.py |",
        "| 1 | all | a rule | proxy/reverse.py: `_may_repeat` |",
        "| 1 | all | a rule | here: `test_that_nobody_has_written` |",
        "| 1 | all | a rule | unit/test_house.py: `test_engines_are_pure`, `test_that_nobody_has_written` |",
        "| 1 | all | a rule | unit/test_gone.py: `test_engines_are_pure` |",
        "| 1 | all | a rule | unit/test_house.py: `test_engines_are_pure` |\n| | | | the same |",
        "| 1 | all | a rule | |\n| 2 | all | a rule | unit/test_house.py: `test_engines_are_pure` |",
    ],
)
def test_a_rule_without_a_test_is_found(row):
    page = f"| section | who | rule | tested in |\n|---|---|---|---|\n{row}\n\nProse."
    assert len(unnamed(Path(__file__), page)) == 1


def test_every_counter_has_a_writer():
    """A counter that nobody writes shows 0 for ever, and that looks like good news."""
    # Who only reads them: the page of metrics, and `headgate status`.
    others = [
        MODULES[name]
        for name in MODULES
        if name not in ("telemetry.metrics", "process.quic_view", "process.h2_view")
    ]
    used = {
        node.id if isinstance(node, ast.Name) else node.attr
        for path in others
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load)
    }
    slots = [name for name, value in vars(counters).items() if name.isupper() and isinstance(value, int)]
    # One addition for all of them: `count_exchange`.
    by_class = {"REQUESTS_2XX", "REQUESTS_3XX", "REQUESTS_4XX", "REQUESTS_5XX"}
    assert [name for name in slots if name not in used | by_class] == []
    text = "".join(path.read_text(encoding="utf-8") for path in others)
    assert [word for word in counters.QUIC_DROPS if f'QUIC_DROPS.index("{word}")' not in text] == []


def test_the_counters_that_the_limits_name_exist():
    """`name{value}`, and `{value}` behind it for another value of the same counter."""
    values = {}
    for metric in counters.TABLE:
        values.setdefault(metric.name, set()).update(value for _, value in metric.labels)
    missing = []
    for line in LIMITS_PAGE.read_text(encoding="utf-8").splitlines():
        if not line.startswith("| "):
            continue
        name = ""
        for said, value in re.findall(r"`([a-z0-9_]*)\{([a-z0-9-]+)\}`", line):
            name = said or name
            if value not in values.get("refused_total" if name == "refused" else name, ()):
                missing.append(f"{name}{{{value}}}")
    assert missing == []


def test_every_limit_of_quic_has_a_counter_or_says_why_not():
    page = LIMITS_PAGE.read_text(encoding="utf-8").split("\n## QUIC", 1)[1].split("\n## ", 1)[0]
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| ")]
    assert len(rows) > 90
    assert [row[0] for row in rows if row[4] == "—"] == []


def test_every_end_of_http2_has_a_counter_and_the_limits_name_each_flood():
    """The words of `H2ConnectionError` are the labels of h2_closed_total, and each leaky count has its row."""
    found = {
        node.args[1].value
        for name, path in MODULES.items()
        if name.startswith("engine.h2.")
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "H2ConnectionError" and len(node.args) > 1
        if isinstance(node.args[1], ast.Constant)
    }
    floods = [kind[0] for kind in budgets.KINDS]
    assert len(found) >= 2
    texts = [
        path.read_text(encoding="utf-8") for name, path in MODULES.items() if name.split(".")[0] != "counters"
    ]
    unset = [word for word in counters.H2_REASONS if not any(f'"{word}"' in text for text in texts)]
    assert unset == []
    assert sorted((found | set(floods)) - set(counters.H2_REASONS)) == []
    page = LIMITS_PAGE.read_text(encoding="utf-8").split("\n## HTTP/2", 1)[1].split("\n## ", 1)[0]
    assert [word for word in floods if f"{{{word}}}`" not in page] == []
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| `")]
    assert [row[0] for row in rows if row[4] == "—"] == []
