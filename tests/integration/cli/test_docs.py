"""docs/getting-started.md, done: every TOML block is validated, every shell line is run, in the order of the page.

Ports are replaced by free ones, and folders of a gate lie in the test's own. Commands that stay in the foreground are
started, waited for, and interrupted before the next one of their kind.
"""

import re
import shutil
from functools import partial
from pathlib import Path

import pytest

from headgate.demo.authority import make_authority
from headgate.demo.helper import Helper, listen
from headgate.demo.responder import run_responder
from headgate.testing.relay import free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

PAGE = Path(__file__).parents[3] / "docs" / "getting-started.md"
PORTS = ("443", "80", "8080", "8443", "9180")
FOREGROUND = ("headgate run", "headgate serve")
# What each line must show; a line without an entry need only succeed.
SHOWS = {
    "headgate validate": "is fine",
    "headgate status": "listening",
    "curl -si http://localhost:80/": "308 Permanent Redirect",
    "openssl s_client": "Cert Status: good",
    "headgate ocsp": "fresh",
    "headgate ocsp show": "good",
    "headgate ocsp refresh": "fresh",
    "curl -s http://127.0.0.1:9180/metrics": "headgate_stapled_total",
}


def blocks():
    """Yield (kind, text) of every fenced block."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


class Reader:
    """Somebody who follows the page."""

    def __init__(self, shell, origin):
        self.shell = shell
        self.ports = {"3000": str(origin), **dict(zip(PORTS, [str(free_port()) for _ in PORTS], strict=True))}
        self.config = ""
        self.running = None
        self.typed = []

    def own(self, text):
        return re.sub(r"(?<=:)(\d+)\b", lambda found: self.ports.get(found[1], found[1]), text)

    def toml(self, text):
        if not self.config:
            self.config = (
                f'state_dir = "{self.shell.folder}/state"\nruntime_dir = "{self.shell.folder}/run"\n'
            )
        self.config += self.own(text)
        (self.shell.folder / "headgate.toml").write_text(self.config)
        self.shell.run("headgate validate")

    def sh(self, text):
        for line in text.splitlines():
            self.typed.append(line)
            if line.startswith(FOREGROUND):
                self.start(line)
                continue
            shown = self.shell.run(self.own(line))
            expected = max((start for start in SHOWS if line.startswith(start)), key=len, default=None)
            assert expected is None or SHOWS[expected] in shown, (line, shown)

    def start(self, line):
        self.stop()
        if line.startswith("headgate serve"):
            http, https = self.ports["8080"], self.ports["8443"]
            line += f" --http-port {http} --https-port {https} --state-dir s --runtime-dir r"
        self.running, log = self.shell.start(self.own(line), '"event":"listening"')
        if " serve " in line:
            found = re.search(r"try +(curl .*)", log.read_text())
            assert '"target": "/"' in self.shell.run(found[1] + " -sS")

    def stop(self):
        if self.running is not None:
            assert self.shell.interrupt(self.running)[0] == 0
            self.running = None


@pytest.mark.skipif(not shutil.which("openssl") or not shutil.which("curl"), reason="openssl and curl")
def test_getting_started(shell, origin, tmp_path):
    sock = listen()
    authority = make_authority(tmp_path, f"http://127.0.0.1:{sock.getsockname()[1]}/")
    responder = Helper(
        "responder", sock, partial(run_responder, authority=authority, revoked=tmp_path / "none")
    )
    (shell.folder / "certs").mkdir()
    shutil.copy(authority.certificates / "must-staple.pem", shell.folder / "certs" / "www.pem")
    reader = Reader(shell, origin)
    try:
        for kind, text in blocks():
            {"toml": reader.toml, "sh": reader.sh}[kind](text)
        reader.stop()
    finally:
        responder.close()
    for start in (*SHOWS, *FOREGROUND):
        assert any(line.startswith(start) for line in reader.typed), f"the page no longer has {start}"


@pytest.mark.parametrize("link", re.findall(r"\]\((\S+?)\)", PAGE.read_text()))
def test_links_lead_somewhere(link):
    assert (PAGE.parent / link).is_file()
