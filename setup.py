"""Compiles the hot modules with mypyc; everything else about the package is in pyproject.toml.

HEADGATE_PURE=1 skips compiling, HEADGATE_REQUIRE_COMPILED=1 makes a missing compiler an error.
A compiler that is there and fails is always an error: a quiet fallback would ship the slow proxy as the fast one.

All hot modules become one shared library (`headgate__mypyc`), so that calls between them are C calls, beside one
small extension per module. mypyc sees real types only when the libraries that hot modules import are installed:
`make setup` installs them first and builds without isolation.
"""

import os
import shutil
import sys
import sysconfig
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import setup
from setuptools.command.build_ext import build_ext
from setuptools.extension import Extension

HERE = Path(__file__).parent
HOT = tomllib.loads((HERE / "pyproject.toml").read_text())["tool"]["headgate"]["compiled"]


def missing_tool() -> str | None:
    """Name what this machine lacks to compile, or None."""
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    if shutil.which(compiler) is None:
        if "CC" in os.environ or shutil.which("cc") is None:
            return f"no C compiler ({compiler}; Debian: apt install gcc libc6-dev)"
        # This interpreter was built by a compiler that is not here: the machine's own is as good.
        os.environ["CC"] = "cc"
    header = Path(sysconfig.get_paths()["include"]) / "Python.h"
    if not header.exists():
        return f"no Python headers ({header}; Debian: apt install python3-dev)"
    return None


def extensions() -> list[Extension]:
    """Build the list of compiled modules, empty in pure mode."""
    pure = os.environ.get("HEADGATE_PURE") == "1"
    required = os.environ.get("HEADGATE_REQUIRE_COMPILED") == "1"
    if pure and required:
        raise SystemExit("headgate: HEADGATE_PURE=1 and HEADGATE_REQUIRE_COMPILED=1 contradict each other")
    if pure or not HOT:
        return []
    missing = missing_tool()
    if missing is not None:
        if required:
            raise SystemExit(f"headgate: {missing}, and HEADGATE_REQUIRE_COMPILED=1")
        print(f"headgate: PURE MODE, several times slower: {missing}", file=sys.stderr)
        return []
    from mypyc.build import mypycify

    paths = [source_of(name) for name in HOT]
    return mypycify(
        ["--strict", "--config-file=pyproject.toml", *paths],
        opt_level="3",
        debug_level="0",  # -g0: debug information makes the library seven times as large
        # One C file for each module instead of one of 15 MB: half the compiler's time, a fifth of its memory, and
        # all cores work. Calls between modules are still C calls; inlining across files gave 3 % of a request.
        multi_file=True,
        group_name="headgate",
    )


def source_of(name: str) -> str:
    """Return the path of a hot module's source, relative to this folder as setuptools wants it."""
    path = Path("src") / (name.replace(".", "/") + ".py")
    if not (HERE / path).exists():
        raise SystemExit(
            f"headgate: [tool.headgate] compiled in pyproject.toml lists {name}, but there is no {path}"
        )
    return str(path)


class CheckedBuild(build_ext):
    """`build_ext` that compiles the files of the library side by side, and does not believe itself: each listed
    module must have become a file."""

    def build_extensions(self) -> None:
        """Give each core a file: setuptools knows extensions side by side, and ours are all in one."""
        compile_one = self.compiler.compile
        cores = len(os.sched_getaffinity(0))

        def compile_all(sources: list[str], *args: object, **options: object) -> list[str]:
            with ThreadPoolExecutor(cores) as pool:
                objects = pool.map(lambda source: compile_one([source], *args, **options), sources)
                return [path for each in objects for path in each]

        self.compiler.compile = compile_all
        super().build_extensions()

    def run(self) -> None:
        """Compile, then look."""
        super().run()
        for extension in self.extensions:
            built = Path(self.get_ext_fullpath(extension.name))
            if not built.exists():
                raise SystemExit(f"headgate: the compiler reported no error, but {built} was not built")


# Commands such as `sdist` or `egg_info` need no compiler and should not wait minutes for mypyc.
NEEDS_EXTENSIONS = {"bdist_wheel", "build", "build_ext", "install", "develop", "editable_wheel"}
setup(
    ext_modules=extensions() if NEEDS_EXTENSIONS & set(sys.argv) else [],
    cmdclass={"build_ext": CheckedBuild},
)
