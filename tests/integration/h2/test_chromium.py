"""Headless Chromium over HTTP/2: a page of 100 parallel requests, an upload, and a WebSocket by extended CONNECT."""

import base64
import contextlib
import hashlib
import json
import shutil
import subprocess
import threading

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.x509 import load_pem_x509_certificates
from tests.integration.gate import wait_for
from tests.integration.h2.calls import H1Origin, content
from tests.integration.h2.conftest import no_defect
from tests.integration.h2.pages import site as pages

pytestmark = pytest.mark.slow

NAME = "a.test"


def pin(leaf):
    """The hash of the key, as Chromium wants it of a site whose authority it does not know."""
    encoding, form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    key = load_pem_x509_certificates(leaf.chain_pem)[0].public_key()
    return base64.b64encode(hashlib.sha256(key.public_bytes(encoding, form)).digest()).decode()


class Visited:
    """The site, and what its page said in the end."""

    def __init__(self):
        self.said = None
        self.has_said = threading.Event()

    def __call__(self, call):
        if call.path != "/said":
            pages(call)
            return
        body = b""
        while piece := call.read():
            body += piece
        self.said = json.loads(body)
        call.respond(204)
        call.end()
        self.has_said.set()


@contextlib.contextmanager
def chromium(folder, leaf, url):
    """A browser that is at `url`, for as long as it is wanted there."""
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-quic"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    command += [f"--user-data-dir={folder / 'chromium'}", f"--host-resolver-rules=MAP {NAME} 127.0.0.1"]
    command += [f"--ignore-certificate-errors-spki-list={pin(leaf)}", "--remote-debugging-port=0", url]
    with (folder / "chromium.log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def test_a_page_of_chromium(site, tmp_path):
    if shutil.which("chromium") is None:
        pytest.skip("chromium is not installed")
    leaf, visited = site.certificate("a", NAME), Visited()
    with H1Origin(visited) as origin, site.before(origin) as gate:
        with chromium(tmp_path, leaf, f"https://{NAME}:{gate.https_ports[0]}/page"):
            assert visited.has_said.wait(45), (tmp_path / "chromium.log").read_text()[-2000:]
        said = visited.said
        assert (said["page"], said["how"]) == ("h2", ["h2"])
        sums = [hashlib.sha256(content(number * 1000)).hexdigest()[:8] for number in range(100)]
        assert said["sums"].split() == sums
        assert said["posted"] == 300_000
        assert said["talked"] == ",".join(f"WORD {number}" for number in range(5))

        def logged():
            lines = {line["target"]: line for line in gate.access_lines()}
            return lines if {"/page", "/ws", "/b99000-chromium"} <= set(lines) else None

        lines = wait_for("the log", logged)
        # The WebSocket, too, is a stream of the connection that the page came over (RFC 8441).
        assert {line["protocol"] for line in lines.values()} == {"HTTP/2.0"}
        no_defect(gate)
