"""What `--version` says about compiled code."""

import tomllib
from pathlib import Path

from headgate import build_info

ROOT = Path(__file__).parents[2]


def test_the_list_is_that_of_pyproject():
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["headgate"]
    assert list(build_info.COMPILED) == table["compiled"]


def test_words():
    count = sum(map(build_info.is_compiled, build_info.COMPILED))
    wanted = f"compiled {count}/{len(build_info.COMPILED)}" if count else "pure"
    assert build_info.version_line() == f"headgate {build_info.__version__}, {wanted}"


def test_compiled_modules_are_told_from_plain_ones():
    assert not build_info.is_compiled("headgate.clock")
    assert not build_info.is_compiled("headgate.no_such_module")
    assert build_info.is_compiled("orjson.orjson")
