"""docs/cache-recipes.md, typed: its configuration runs, its commands work, its answers are those that it shows."""

import contextlib
import io
import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from tests.integration.cache.test_gate_cache import ask
from tests.integration.gate import wait_for

from headgate.cli.commands import run_commands

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/cache-recipes.md").read_text()
EXAMPLE = (ROOT / "examples/cache.toml").read_text()
# Addresses and folders are the tests' own.
TEXT = "[cache]" + EXAMPLE.partition("[cache]")[2].replace("{", "{{").replace("}", "}}").replace(
    "http://127.0.0.1:3000", "{url}"
)
FILM = os.urandom(3_000_000)


@pytest.fixture(scope="module")
def site(gate, story):
    lives = "Cache-Control: max-age=60"
    story.tell("/news/1", b"news", lives, "Cache-Tag: front, news")
    for query in ("", "?v=1", "?v=2"):
        story.tell(f"/static/site.css{query}", b"css")
    story.tell("/videos/film.mp4", FILM, lives, 'ETag: "1"').ranges = True
    story.tell("/account", b"mine", lives)
    story.tell("/none", b"", status=404)
    story.tell("/private", b"mine", "Cache-Control: private")
    return story


def commands():
    """Every line of the page that is to be typed."""
    return [line for block in PAGE.split("```sh\n")[1:] for line in block.partition("```")[0].splitlines()]


def typed(gate, line):
    """Run a line as the page has it, at this gate; return what it prints."""
    line = line.replace("http://localhost", f"http://127.0.0.1:{gate.http_ports[0]}")
    line = line.replace("/run/headgate/admin.sock", str(gate.runtime / "admin.sock"))
    line = line.replace("access.log", str(gate.access))
    if line.startswith("headgate "):
        return printed([*shlex.split(line)[1:], "--config", str(gate.config)])
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, (line, done.stdout, done.stderr)
    return done.stdout


def printed(arguments):
    """What the command line prints for these, in this process: a new one takes half a second to start."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert run_commands(arguments) == 0, arguments
    return out.getvalue()


def test_the_first_is_a_miss_and_the_second_a_hit(gate, site):
    (line,) = [line for line in commands() if "-D -" in line]
    first, second = (cache_status(typed(gate, line)) for _ in range(2))
    assert first == "headgate; fwd=uri-miss; fwd-status=200; ttl=N; stored; detail=not-stored"
    assert second == "headgate; hit; ttl=N"
    assert {first, second} <= set(re.findall(r"`Cache-Status: (.*?)`", re.sub(r"ttl=\d+", "ttl=N", PAGE)))


def cache_status(head):
    (value,) = re.findall(r"(?im)^cache-status: (.*?)\r?$", head)
    return re.sub(r"ttl=\d+", "ttl=N", value)


def test_what_the_example_says_of_each_route(gate, site):
    ask(gate, "/static/site.css?v=1")
    assert "hit" in ask(gate, "/static/site.css?v=2").cache
    ask(gate, "/news/1")
    assert "hit" in ask(gate, "/news/1?utm_source=x&fbclid=1").cache
    assert "fwd=bypass" in ask(gate, "/news/1", Cookie="session=1").cache
    assert ask(gate, "/none").status == 404
    assert "hit" in ask(gate, "/none").cache
    assert ask(gate, "/account").cache == ""
    film = ask(gate, "/videos/film.mp4", Range="bytes=1500000-1500009")
    assert (film.status, film.body) == (206, FILM[1_500_000:1_500_010])
    assert {head.get("range") for head in site.asked("/videos/film.mp4")} == {"bytes=1048576-2097151"}


def test_each_command_works(gate, site):
    for path in ("/news/1", "/private"):
        ask(gate, path)
    wait_for("the access log", lambda: "cache_stored" in gate.access.read_text())
    said = {line: typed(gate, line) for line in commands()}
    for line, answer in said.items():
        if "purge?" in line or "url=" in line:
            told = json.loads(answer)
            assert (told["workers"], told["behind"]) == (1, [])
            assert told["soft"] is ("soft=true" in line)
    patterns = [
        json.loads(answer)["pattern"]
        for line, answer in said.items()
        if "--unix-socket" in line and "purge" in line
    ]
    base = f"http://127.0.0.1:{gate.http_ports[0]}"
    assert patterns == ["news", f"{base}/videos/", f"{base}/news?page=2&sort=date"]
    (reasons,) = [answer for line, answer in said.items() if line.startswith("grep")]
    assert '1 "cache_stored":"private"' in reasons
    assert "fwd=uri-miss" in ask(gate, "/news/1").cache


def test_the_metrics_of_the_page_are_there(gate):
    names = {name.partition("{")[0] for name in gate.metrics()}
    asked = set(re.findall(r"headgate_cache_[a-z_]+", PAGE))
    assert len(asked) >= 6
    assert asked <= names
