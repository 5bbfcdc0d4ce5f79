"""Random TOML documents, in random spellings: headers, dotted keys, inline tables, every kind of string, comments."""

import re

from hypothesis import strategies as st

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    [
        '"',
        '""',
        '"""',
        "'",
        "''",
        "'''",
        "\\",
        'x"',
        "# no comment",
        "[a]",
        "a = 1",
        "}",
        "]",
        "\n",
        'a\n"b"\n',
        "é€😀",
    ]
)
SCALARS = _TEXT | st.integers(-(2**63), 2**63 - 1) | st.booleans() | st.floats(allow_nan=False)


def trees(keys=None, scalars=SCALARS):
    """Return a strategy of tables: plain dicts, lists and scalars."""
    keys = keys if keys is not None else st.from_regex(_BARE, fullmatch=True) | _TEXT
    values = st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
        max_leaves=8,
    )
    return st.dictionaries(keys, values, max_size=6)


class Writer:
    """Writes a tree as TOML; `draw` decides on the spelling of each part."""

    def __init__(self, draw):
        self.draw = draw
        self.lines = []

    def choose(self, *options):
        return self.draw(st.sampled_from(options))

    def table(self, path, table):
        for key, value in table.items():
            if not self.by_header(value):
                self.lines.append(self.blank() + self.pair(key, value, inline=False) + self.comment())
        for key, value in table.items():
            if not self.by_header(value):
                continue
            below = [*path, key]
            for element in value if isinstance(value, list) else [value]:
                brackets = "[[{}]]" if isinstance(value, list) else "[{}]"
                self.lines.append(self.blank() + brackets.format(self.dotted(below)) + self.comment())
                self.table(below, element)

    def by_header(self, value):
        """Tables, and arrays of nothing but tables, get headers. Some of each do; which ones is fixed by their size,
        because both loops must agree."""
        if isinstance(value, list):
            return bool(value) and all(isinstance(element, dict) for element in value) and len(value) != 2
        return isinstance(value, dict) and len(value) != 1

    def pair(self, key, value, inline):
        if isinstance(value, dict) and len(value) == 1 and self.choose(True, False):
            ((inner, deep),) = value.items()
            equals = self.choose("=", " = ", "\t=")
            return f"{self.dotted([key, inner])}{equals}{self.value(deep, inline)}"
        return f"{self.dotted([key])}{self.choose('=', ' = ')}{self.value(value, inline)}"

    def value(self, value, inline):
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, str):
            return self.string(value)
        if isinstance(value, list):
            gap = "" if inline else self.choose("", " ", "\n", "\n # ], } \n")
            parts = [gap + self.value(element, inline) + gap for element in value]
            end = "," if parts and self.choose(True, False) else ""
            return "[" + ",".join(parts) + end + gap + "]"
        if isinstance(value, dict):
            return "{ " + " , ".join(self.pair(k, v, inline=True) for k, v in value.items()) + " }"
        if isinstance(value, float):
            return (
                repr(value)
                if value == value and abs(value) != float("inf")
                else ("inf" if value > 0 else "-inf")
            )
        return str(value)

    def string(self, text):
        body = "".join(c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08X}" for c in text)
        options = [f'"{body}"']
        printable = all(c.isprintable() for c in text)
        if printable and "'" not in text:
            options.append(f"'{text}'")
        if printable and "'''" not in text and not text.endswith("'"):
            options.append(f"'''\n{text}'''")
        lines = text.replace("\\", "\\\\")
        if all(c.isprintable() or c == "\n" for c in text):
            options.append(
                '"""' + ("\n" if lines.startswith("\n") else "") + lines.replace('"""', '""\\"') + '"""'
            )
        return self.choose(*options)

    def dotted(self, keys):
        return self.choose(".", " . ").join(self.key(key) for key in keys)

    def key(self, key):
        options = [
            '"' + "".join(c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08X}" for c in key) + '"'
        ]
        if _BARE.fullmatch(key):
            options.append(key)
        if all(c.isprintable() for c in key) and "'" not in key:
            options.append(f"'{key}'")
        return self.choose(*options)

    def blank(self):
        return self.choose("", "", "\n", "# [x] = {\n", "  ")

    def comment(self):
        return self.choose("", "", " # ] } = '", "\t")


@st.composite
def documents(draw, keys=None, scalars=SCALARS):
    """Return (text, tree)."""
    tree = draw(trees(keys, scalars))
    writer = Writer(draw)
    writer.table([], tree)
    return "\n".join(writer.lines) + draw(st.sampled_from(["", "\n", "\n# end"])), tree
