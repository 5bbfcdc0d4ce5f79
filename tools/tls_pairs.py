"""Runs the tests of TLS with the oldest and the newest pair of cryptography and pyOpenSSL that pyproject.toml allows.

A pair brings its own OpenSSL, and TLS is where another one hurts. The suite itself runs with what `make setup` found,
the newest pair on a fresh clone. So the floor of both ranges is installed into a folder of its own, in front of the
environment on the path, and the newest too where the environment's is another. Pure, since the compiled package is
of the environment. Which tests: `TESTS`; they are those that touch OpenSSL, and none that are slow for other reasons.
"""

import os
import re
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Final

from tools.suite import run_steadily, tell_unsteady

ROOT: Final = Path(__file__).resolve().parents[1]
FOLDER: Final = Path(sys.prefix) / "tls-pairs"
NAMES: Final = ("cryptography", "pyOpenSSL")
# Rows of the fault table that are OpenSSL's to find.
FAULTS: Final = (
    "certificate-expired",
    "certificate-of-another-name",
    "certificate-of-an-unknown-authority",
    "client-certificate-wanted",
    "staple-required-and-missing",
    "staple-says-revoked",
    "tls-ends-inside-a-length",
    "tls-ends-where-the-end-is-the-close",
    "tls-too-old",
)
TESTS: Final = (
    "tests/unit/tls",
    "tests/unit/upstream",
    "tests/integration/origins",
    "tests/integration/tls",
    "tests/integration/net/test_fast_open.py",
    *(f"tests/integration/outbound/test_table.py::test_row[{row}]" for row in FAULTS),
)
ABOUT: Final = (
    "import cryptography, OpenSSL; from OpenSSL import SSL;"
    "print(cryptography.__version__, OpenSSL.__version__, SSL.OpenSSL_version(SSL.OPENSSL_VERSION).decode())"
)


def ranges() -> dict[str, str]:
    """Return what pyproject.toml allows of each of the pair, such as ">=46,<52"."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        listed = tomllib.load(file)["project"]["dependencies"]
    found = {}
    for name in NAMES:
        (line,) = [line for line in listed if re.match(rf"{name}\b", line)]
        found[name] = line[len(name) :]
    return found


def floor(allowed: str) -> str:
    """Return the lower end of a range as a requirement: the very first release that it allows."""
    match = re.search(r">=([0-9.]+)", allowed)
    if match is None:
        raise SystemExit(f"tls-pairs: no lower end in {allowed!r}")
    return f"=={match[1]}"


def install(kind: str, requirements: list[str]) -> Path:
    """Install a pair into its folder, unless it is there already."""
    target = FOLDER / kind
    mark = target / "requirements"
    wanted = " ".join(requirements)
    if kind == "newest" or not mark.exists() or mark.read_text() != wanted:
        command = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--upgrade"]
        done = subprocess.run([*command, "--target", str(target), *requirements], check=False)
        if done.returncode:
            raise SystemExit(f"tls-pairs: the {kind} pair cannot be installed: {wanted}")
        mark.write_text(wanted)
    return target


def environment(target: Path | None) -> dict[str, str]:
    """Return the environment of a run: the pair, then our sources, then what is installed."""
    paths = [str(target)] if target is not None else []
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([*paths, str(ROOT / "src")]),
        "HEADGATE_EXPECT": "pure",
    }


def about(target: Path | None) -> str:
    """Return the versions that a run would have."""
    done = subprocess.run(
        [sys.executable, "-c", ABOUT], env=environment(target), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"tls-pairs: the pair in {target} cannot be imported:\n{done.stderr}")
    return done.stdout.strip()


def run(kind: str, target: Path) -> tuple[int, list[str]]:
    """Run the tests with one pair; return pytest's code, and what failed once and passed alone."""
    versions = about(target)
    print(f"== headgate: TLS with the {kind} pair: {versions} ==", flush=True)
    began = time.monotonic()
    code, unsteady = run_steadily(["-p", "no:cacheprovider", *TESTS], ROOT, environment(target))
    words = "passed" if code == 0 else f"FAILED with code {code}"
    print(f"== headgate: TLS with {versions}: {words} in {time.monotonic() - began:.0f} s ==", flush=True)
    return code, unsteady


def main() -> int:
    """Run both ends; return the worst code."""
    allowed = ranges()
    oldest = install("oldest", [name + floor(text) for name, text in allowed.items()])
    newest = install("newest", [name + text for name, text in allowed.items()])
    ended = [run("oldest", oldest)]
    if about(newest) != about(None):
        ended.append(run("newest", newest))
    else:
        print(f"== headgate: the newest pair is that of the suite: {about(None)} ==", flush=True)
    tell_unsteady([test for _, unsteady in ended for test in unsteady])
    return max(code for code, _ in ended)


if __name__ == "__main__":
    sys.exit(main())
