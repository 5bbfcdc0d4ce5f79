"""The command line: what it says and which exit code it ends with; nothing ends in a traceback."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from headgate.cli.commands import run_commands
from headgate.cli.main import is_plain
from headgate.testing.pki import Authority

ROOT = Authority.root()


@pytest.fixture
def good(tmp_path):
    leaf = ROOT.intermediate().leaf("a.test")
    (tmp_path / "a.pem").write_bytes(leaf.chain_pem + leaf.key_pem)
    path = tmp_path / "headgate.toml"
    path.write_text(
        f"""
        runtime_dir = "{tmp_path}/run"
        [[listener]]
        addresses = ["127.0.0.1:0"]
        [[certificate]]
        files = "a.pem"
        [[route]]
        respond = {{ status = 200 }}
        """
    )
    return path


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "empty"))


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--version"], 0),
        (["--help"], 0),
        (["ocsp", "--help"], 0),
        ([], 2),
        (["bogus"], 2),
        (["run", "absent.toml"], 2),
        (["run", "--bogus"], 2),
        (["serve"], 2),
        (["validate", "absent.toml"], 2),
        (["validate", "absent.toml", "--json"], 2),
        (["reload"], 1),
        (["top"], 1),
        (["status", "--runtime-dir", "nowhere"], 3),
        (["ocsp", "--runtime-dir", "nowhere"], 3),
        (["ocsp", "--json", "--runtime-dir", "nowhere"], 3),
        (["ocsp", "show", "a.pem", "--runtime-dir", "nowhere"], 3),
        (["ocsp", "--runtime-dir", "nowhere", "refresh"], 3),
        (["ocsp", "--config", "absent.toml"], 2),
        (["ocsp", "refresh", "--wait", "61", "--runtime-dir", "nowhere"], 2),
    ],
)
def test_exit_codes(capsys, arguments, code):
    assert run_commands(arguments) == code
    said = capsys.readouterr()
    assert "Traceback" not in said.out + said.err
    assert said.out + said.err


def test_validate(capsys, good):
    assert run_commands(["validate", str(good)]) == 0
    assert capsys.readouterr().out == f"{good} is fine: 1 listener, 1 certificate, 1 route, 0 upstreams\n"
    assert run_commands(["validate", str(good), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_validate_names_every_problem_with_its_line(capsys, good):
    good.write_text(good.read_text().replace("respond", "respnd").replace("addresses", "adresses"))
    assert run_commands(["validate", str(good)]) == 2
    error = capsys.readouterr().err
    assert f"{good}:" in error
    assert "respnd" in error
    assert "adresses" in error
    assert run_commands(["validate", str(good), "--json"]) == 2
    assert all(row["line"] for row in json.loads(capsys.readouterr().out))


def test_validate_looks_into_certificate_files(capsys, good):
    (good.parent / "a.pem").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    assert run_commands(["validate", str(good)]) == 2
    assert "a.pem" in capsys.readouterr().err
    assert run_commands(["validate", str(good), "--json"]) == 2
    assert json.loads(capsys.readouterr().out)[0]["fatal"] is True


def test_the_gate_is_found_by_option_by_the_file_here_and_by_default(capsys, good, monkeypatch):
    run_commands(["status", "--config", str(good)])
    assert f"{good.parent}/run/admin.sock" in capsys.readouterr().err
    monkeypatch.chdir(good.parent)
    run_commands(["status"])
    assert f"{good.parent}/run/admin.sock" in capsys.readouterr().err
    good.write_text("not toml")
    run_commands(["status"])
    assert f"{good.parent}/run/admin.sock" not in capsys.readouterr().err


def test_serve_refuses_what_is_no_origin(capsys, tmp_path):
    assert run_commands(["serve", "--to", "nonsense", "--state-dir", str(tmp_path / "state")]) == 2
    assert "--to nonsense" in capsys.readouterr().err


def run_python(code):
    path = os.pathsep.join(str(Path(p).resolve()) for p in sys.path if p)
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path})


def test_version_needs_no_heavy_import():
    code = "import sys; sys.argv[1:] = ['--version']\nfrom headgate.cli.main import main\ntry: main()\n"
    code += "finally: print({'typer', 'rich', 'pydantic', 'OpenSSL', 'asyncio'} & sys.modules.keys())"
    result = run_python(code)
    assert result.stdout.splitlines()[0].startswith("headgate 0.1.0, ")
    assert result.stdout.splitlines()[1] == "set()"


# What a gate's start must not pay for: the command line's libraries, and what only a keeper needs, which each keeper
# loads for itself.
NOT_FOR_RUN = {"typer", "rich", "prometheus_client", "http.server", "headgate.ocsp.stapler"}


def test_a_plain_run_needs_neither_a_parser_nor_what_only_keepers_need(tmp_path):
    code = (
        f"import sys; sys.argv[1:] = ['run', '{tmp_path}/absent.toml']\nfrom headgate.cli.main import main\n"
    )
    code += f"try: main()\nfinally: print({NOT_FOR_RUN} & sys.modules.keys(), 'headgate.app' in sys.modules)"
    result = run_python(code)
    assert result.returncode == 2
    assert "absent.toml: cannot be read" in result.stderr
    assert result.stdout == "set() True\n"


def test_a_plain_validate_needs_no_parser(good):
    code = f"import sys; sys.argv[1:] = ['validate', '{good}']\nfrom headgate.cli.main import main\n"
    code += "try: main()\nfinally: print({'typer', 'rich'} & sys.modules.keys())"
    result = run_python(code)
    assert result.stdout.splitlines()[0].startswith(f"{good} is fine")
    assert result.stdout.splitlines()[1] == "set()"


@pytest.mark.parametrize(
    ("arguments", "plain"),
    [
        (["run"], True),
        (["run", "a.toml"], True),
        (["validate", "a.toml"], True),
        (["run", "a.toml", "b.toml"], False),
        (["run", "--help"], False),
        (["run", "--", "-a.toml"], False),
        (["run", ""], False),
        (["status"], False),
        ([], False),
    ],
)
def test_what_needs_no_parser(arguments, plain):
    assert is_plain(arguments) is plain


def test_module_is_the_command():
    path = os.pathsep.join(str(Path(p).resolve()) for p in sys.path if p)
    result = subprocess.run(
        [sys.executable, "-m", "headgate", "reload"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert result.returncode == 1
    assert "later release" in result.stderr
