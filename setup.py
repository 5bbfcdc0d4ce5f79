"""Compiles the hot modules with mypyc; everything else about the package is in pyproject.toml.

HEADGATE_PURE=1 skips compiling, HEADGATE_REQUIRE_COMPILED=1 makes a missing compiler an error.
A compiler that is there and fails is always an error: a quiet fallback would ship the slow proxy as the fast one.
"""

import os
import shutil
import sys
import sysconfig
import tomllib
from pathlib import Path

from setuptools import setup
from setuptools.extension import Extension

HERE = Path(__file__).parent
HOT = tomllib.loads((HERE / "pyproject.toml").read_text())["tool"]["headgate"]["compiled"]


def missing_tool() -> str | None:
    """Name what this machine lacks to compile, or None."""
    compiler = os.environ.get("CC") or (sysconfig.get_config_var("CC") or "cc").split()[0]
    if shutil.which(compiler) is None and shutil.which("cc") is None:
        return f"no C compiler ({compiler}; Debian: apt install gcc)"
    header = Path(sysconfig.get_paths()["include"]) / "Python.h"
    if not header.exists():
        return f"no Python headers ({header}; Debian: apt install python3-dev)"
    return None


def extensions() -> list[Extension]:
    """Build the list of compiled modules, empty in pure mode."""
    pure = os.environ.get("HEADGATE_PURE") == "1"
    required = os.environ.get("HEADGATE_REQUIRE_COMPILED") == "1"
    if pure and required:
        raise SystemExit("HEADGATE_PURE=1 and HEADGATE_REQUIRE_COMPILED=1 contradict each other")
    if pure or not HOT:
        return []
    missing = missing_tool()
    if missing is not None:
        if required:
            raise SystemExit(f"headgate: {missing}, and HEADGATE_REQUIRE_COMPILED=1")
        print(f"headgate: PURE MODE, several times slower: {missing}", file=sys.stderr)
        return []
    from mypyc.build import mypycify

    paths = [str(Path("src") / (name.replace(".", "/") + ".py")) for name in HOT]
    return mypycify(
        ["--strict", "--config-file=pyproject.toml", *paths],
        opt_level="3",
        debug_level="0",
        group_name="headgate",
    )


setup(ext_modules=extensions())
