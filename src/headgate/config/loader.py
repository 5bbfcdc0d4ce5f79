"""Text to settings: reads TOML, expands variables, checks everything, and reports everything at once.

A syntax error ends the reading, for nothing behind it can be trusted. Everything else is collected. The tree that
`tomllib` returns goes through stages, and each stage takes out of it what it refuses, so that the next ones can
still judge the rest:

1. `${NAME}` in strings   2. words that are not built yet   3. pydantic: keys, kinds, bounds
4. checks across tables, on the settings that are left      5. files that are named

A table that loses a required key goes as a whole, silently: the reason was reported already. Arrays lose elements on
that way; `Draft` remembers where each one stood, so that every problem carries the line of the file.
"""

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, final

from pydantic import ValidationError

from headgate.config.checks import Source, check
from headgate.config.defaults import default_runtime_dir, default_state_dir
from headgate.config.environment import ExpansionError, expand
from headgate.config.files import check_files
from headgate.config.model import Config
from headgate.config.positions import position_of, scan
from headgate.config.problems import ConfigProblems, Finding, Problem, finding_of, key_path, shown
from headgate.config.table import Location
from headgate.config.unbuilt import unbuilt

Tree = dict[str, object]
_PART: Final = r"""(?:"[^"]*"|'[^']*'|[A-Za-z0-9_-]+)"""
_KEYS: Final = rf"{_PART}(?:[ \t]*\.[ \t]*{_PART})*"
_KEY_OR_HEADER: Final = re.compile(rf"[ \t]*({_KEYS}(?=[ \t]*=)|\[\[?[ \t]*{_KEYS}[ \t]*\]\]?)")
# Each round removes at least one value of at most this many levels; a tree that is still refused then is a defect.
_MAX_ROUNDS: Final = 16
_SYNTAX_PLACE: Final = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


def load(
    path: str | os.PathLike[str], environ: Mapping[str, str] | None = None, *, files: bool = True
) -> Config:
    """Read a configuration file. File names in it are relative to its folder; `files` False does not look at them.

    Raises `ConfigProblems` with everything that is wrong.
    """
    return read_file(path, environ, files=files).config


def read_file(
    path: str | os.PathLike[str], environ: Mapping[str, str] | None = None, *, files: bool = True
) -> "Loaded":
    """Do what `load` does, for who wants to say more about the file than its settings."""
    name = os.fspath(path)
    try:
        data = Path(name).read_bytes()
    except OSError as error:
        raise ConfigProblems(
            [Problem(name, 0, 0, "", f"cannot be read: {error.strerror} (errno {error.errno})")]
        ) from None
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigProblems(
            [Problem(name, line, 0, "", f"byte {data[error.start]:#04x} is not UTF-8")]
        ) from None
    return read_text(text, name, environ, base=Path(os.path.abspath(name)).parent, files=files)


def loads(
    text: str,
    filename: str = "headgate.toml",
    environ: Mapping[str, str] | None = None,
    *,
    base: Path | None = None,
    files: bool = True,
) -> Config:
    """Return the settings of a TOML text; `filename` is for messages, `base` the folder that file names start from
    (default: the current one), `environ` the variables (default: the process's).

    Raises `ConfigProblems` with everything that is wrong.
    """
    return read_text(text, filename, environ, base=base, files=files).config


def read_text(
    text: str,
    filename: str = "headgate.toml",
    environ: Mapping[str, str] | None = None,
    *,
    base: Path | None = None,
    files: bool = True,
) -> "Loaded":
    """Do what `loads` does, for who wants to say more about the text than its settings."""
    environ = os.environ if environ is None else environ
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    tree = _parse(text, filename)
    draft = _Draft(tree, text, filename)
    _expand(draft, environ)
    _refuse_unbuilt(draft)
    listeners = draft.listener_names()
    draft.tree.setdefault("state_dir", str(default_state_dir(environ, os.geteuid())))
    draft.tree.setdefault("runtime_dir", str(default_runtime_dir(environ, os.geteuid())))
    config = _validate(draft, Path.cwd() if base is None else base)
    if config is not None:
        for finding in check(config, Source(tree, draft.routes(), listeners)):
            draft.report(finding)
        if files:
            for finding in check_files(config):
                draft.report(finding)
    if draft.problems or config is None:
        raise ConfigProblems(draft.problems)
    return Loaded(config, draft)


def _parse(text: str, filename: str) -> Tree:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        found = _SYNTAX_PLACE.search(message)
        line, column = text.count("\n") + 1, 0
        if found is not None:
            message = message[: found.start()]
            if found[1]:
                line, column = int(found[1]), int(found[2])
        message = _taken(message, text.split("\n")[line - 1]) or message
        raise ConfigProblems([Problem(filename, line, column, "", f"syntax error: {message}")]) from None
    except RecursionError:
        raise ConfigProblems([Problem(filename, 1, 0, "", "syntax error: nested too deeply")]) from None


def _taken(message: str, line: str) -> str:
    """Return in our words that a key or table stands twice, with its name, which the parser keeps to itself; "" when
    that is not what is wrong, or when the line does not begin with what is."""
    name = _KEY_OR_HEADER.match(line)
    if name is None or not message.startswith(("Cannot overwrite", "Cannot declare", "Cannot mutate")):
        return ""
    return f"{name[1]} is there already" + (", or what it is in was written whole" if "." in name[1] else "")


@final
class Loaded:
    """Settings that are in order, and where each of them stands in the file."""

    __slots__ = ("_draft", "config")

    def __init__(self, config: Config, draft: "_Draft") -> None:
        self.config = config
        self._draft = draft

    def problem_of(self, finding: Finding) -> Problem:
        """Return a finding about these settings with its line."""
        return self._draft.problem_of(finding)


class _Draft:
    """The tree while it is being checked: what is left of it, where that stood, and what was wrong."""

    def __init__(self, tree: Tree, text: str, filename: str) -> None:
        self.problems: list[Problem] = []
        self._filename = filename
        self._found = scan(text)
        self._source = tree
        self._rows: dict[int, list[int]] = {}  # id of an array: where each of its elements stood in the file
        self._lengths: dict[Location, int] = {}
        copy = self._copy(tree, ())
        assert isinstance(copy, dict)
        self.tree: Tree = copy

    def _copy(self, node: object, location: Location) -> object:
        if isinstance(node, dict):
            return {key: self._copy(value, (*location, key)) for key, value in node.items()}
        if isinstance(node, list):
            self._lengths[location] = len(node)
            array = [self._copy(value, (*location, index)) for index, value in enumerate(node)]
            self._rows[id(array)] = list(range(len(array)))
            return array
        return node

    def leaves(self) -> list[tuple[Location, object]]:
        """Return every value that is left, tables and arrays too, parents first."""
        return list(_walk(self.tree, ()))

    def parent(self, location: Location) -> object:
        """Return the table or array that holds `location`, which must exist."""
        node: object = self.tree
        for step in location[:-1]:
            node = node[step]  # type: ignore[index]  # a location of this tree leads through tables and arrays
        return node

    def existing(self, location: Location) -> Location:
        """Return the longest part of `location` that the tree has."""
        node: object = self.tree
        for depth, step in enumerate(location):
            has = (
                step in node
                if isinstance(node, dict)
                else isinstance(node, list) and step in range(len(node))
            )
            if not has:
                return location[:depth]
            node = node[step]  # type: ignore[index]  # a table or an array, as `has` has just found
        return location

    def replace(self, location: Location, value: object) -> None:
        """Put another value at `location`."""
        self.parent(location)[location[-1]] = value  # type: ignore[index]  # as above

    def remove(self, location: Location) -> None:
        """Take a value out; an array that is empty then goes too, so that its default is used."""
        parent = self.parent(location)
        step = location[-1]
        if isinstance(parent, list) and isinstance(step, int):
            del parent[step], self._rows[id(parent)][step]
            if not parent:
                self.remove(location[:-1])
        elif isinstance(parent, dict):
            del parent[step]

    def remove_all(self, locations: set[Location]) -> None:
        """Take several values out, the last ones first, so that indices stay true."""
        for location in sorted(locations, reverse=True):
            if location and self.existing(location) == location:
                self.remove(location)

    def origin(self, location: Location) -> Location:
        """Return where `location` stands in the file."""
        node: object = self.tree
        result: Location = ()
        for step in location:
            if isinstance(node, list) and isinstance(step, int):
                result = (*result, self._rows[id(node)][step] if step < len(node) else step)
                node = node[step] if step < len(node) else None
            else:
                result = (*result, step)
                node = node.get(str(step)) if isinstance(node, dict) else None
        return result

    def written(self, location: Location) -> object:
        """Return what the file has where `location` (of the tree) stood, before any variable was expanded."""
        node: object = self._source
        for step in self.origin(location):
            node = node[step]  # type: ignore[index]  # as above
        return node

    def was_written(self, location: Location) -> bool:
        """Tell whether the file has the key `location`, which the tree may have lost."""
        table = self.written(location[:-1])
        return isinstance(table, dict) and location[-1] in table

    def routes(self) -> list[Mapping[str, object]]:
        """Return the routes that are left, as the file has them."""
        routes = self.tree.get("route")
        count = len(routes) if isinstance(routes, list) else 0
        found = [self.written(("route", index)) for index in range(count)]
        return [route for route in found if isinstance(route, dict)]

    def listener_names(self) -> list[str]:
        """Return what the listeners are called that the tree has, whatever else is wrong with them."""
        listeners = self.tree.get("listener")
        names: list[str] = []
        for table in listeners if isinstance(listeners, list) else ():
            if not isinstance(table, dict):
                continue
            addresses = table.get("addresses")
            name = table.get("name", addresses[0] if isinstance(addresses, list) and addresses else None)
            if isinstance(name, str):
                names.append(name)
        return names

    def report(self, finding: Finding) -> None:
        """Keep a finding as a problem with a line."""
        self.problems.append(self.problem_of(finding))

    def problem_of(self, finding: Finding) -> Problem:
        """Turn a finding about this tree into a problem with a line."""
        place = self.origin(finding.location)
        line, column = position_of(self._found, place)
        if len(place) == 1 and place not in self._found:
            line = column = 0  # the file lacks it: no line is to blame
        key = key_path(place, self._lengths)
        said = (finding.what, finding.expected, finding.got, finding.hint, finding.fatal)
        return Problem(self._filename, line, column, key, *said)


def _walk(node: object, location: Location) -> Iterator[tuple[Location, object]]:
    if location:
        yield location, node
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _walk(value, (*location, key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _walk(value, (*location, index))


def _expand(draft: _Draft, environ: Mapping[str, str]) -> None:
    refused: set[Location] = set()
    for location, value in draft.leaves():
        if not isinstance(value, str):
            continue
        try:
            draft.replace(location, expand(value, environ))
        except ExpansionError as error:
            draft.report(Finding(location, str(error), got=shown(value), hint=error.hint))
            refused.add(location)
    draft.remove_all(refused)


def _refuse_unbuilt(draft: _Draft) -> None:
    refused: set[Location] = set()
    for location, value in draft.leaves():
        if what := unbuilt(location, value):
            got = shown(value) if not isinstance(value, dict | list) else ""
            draft.report(Finding(location, f"not built yet: {what}", got=got))
            refused.add(location)
    draft.remove_all(refused)


def _validate(draft: _Draft, base: Path) -> Config | None:
    """Return what is valid of the draft; None when not even that can be told."""
    for turn in range(_MAX_ROUNDS):
        try:
            return Config.model_validate(draft.tree, context={"base": str(base)})
        except ValidationError as refusal:
            errors = refusal.errors(include_url=False)
        refused: set[Location] = set()
        for error in errors:
            location = draft.existing(error["loc"])
            missing = error["type"] == "missing"
            absent = missing or not location
            # Later turns are echoes of what was taken out. So is a key that is missing here and not in the file, and
            # an array that is empty because its elements are wrong.
            echo = turn > 0 or (
                draft.was_written(error["loc"])
                if missing
                else error["type"] == "too_short" and bool(draft.written(location))
            )
            if not echo:
                value = None if absent else draft.written(location)
                if (*location, "[key]") == error["loc"]:  # the key itself is refused, not what it is set to
                    value = location[-1]
                draft.report(finding_of(error, error["loc"] if missing else location, value, absent))
            refused.add(location)
        draft.remove_all(refused)
    return None
