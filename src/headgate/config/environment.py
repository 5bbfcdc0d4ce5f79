"""`${NAME}` in the strings of the configuration.

`${NAME}` is the variable's value, `${NAME:-text}` is `text` when the variable is unset or empty, and `$${` is a
plain `${`. Nothing else is special: a lone `$` stays, and what comes out of a variable is not expanded again. Keys
are not expanded. An error about such a string shows it as it stands in the file: the variable may hold a secret.
"""

import re
from collections.abc import Mapping, MutableMapping
from typing import Final

from headgate.config.table import Expanded

_ITEM: Final = re.compile(r"\$\$\{|\$\{([^}]*)(\}?)")
# What programs cannot do without, and what is no secret.
_COMMON: Final = frozenset(("HOME", "LANG", "LOGNAME", "PATH", "PWD", "SHELL", "TMPDIR", "TZ", "USER"))
# The variables whose values this process has taken, for `hide_expanded` in its children.
_expanded: Final[set[str]] = set()
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class ExpansionError(ValueError):
    """A variable could not be filled in; `hint` says what to do."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def expand(text: str, environ: Mapping[str, str]) -> str:
    """Return `text` with its variables filled in, as `Expanded` if there were any. Raises `ExpansionError` that
    names the variable."""
    if "${" not in text:
        return text
    # Only what came from a variable may stand for a number, so an escape alone does not make a text "expanded".
    result = _ITEM.sub(lambda match: _replacement(match, environ), text)
    return Expanded(result) if re.search(r"(?<!\$)\$\{", text) else result


def _replacement(match: re.Match[str], environ: Mapping[str, str]) -> str:
    if match[0] == "$${":
        return "${"
    inner, closed = match[1], match[2]
    name, dash, default = inner.partition(":-")
    if not closed or not _NAME.fullmatch(name):
        message = f"{match[0]} is no variable such as ${{NAME}} or ${{NAME:-default}}"
        raise ExpansionError(message, 'write "$${" for a plain "${"')
    value = environ.get(name)
    if dash and not value:
        return default
    if value is None:
        hint = f"a default would be ${{{name}:-…}}"
        raise ExpansionError(f"the environment variable {name} is not set", hint)
    _expanded.add(name)
    return value


def hide_expanded(environ: MutableMapping[str, str]) -> None:
    """Take out what the configuration was filled with: an application and its programs have no use for it."""
    for name in _expanded - _COMMON:
        environ.pop(name, None)
