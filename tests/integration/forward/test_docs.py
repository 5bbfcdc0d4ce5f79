"""The example of docs/forward-proxy.md, as it stands there."""

import re
import subprocess
from pathlib import Path

from tests.integration.forward.conftest import Proxy
from tests.integration.gate import Gate, free_port

PAGE = (Path(__file__).parents[3] / "docs/forward-proxy.md").read_text()


def test_the_example_runs(tmp_path):
    text = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)[0]
    listener = text.partition("[[listener]]")[2]
    port = free_port()
    commands = re.findall(r"^printf .*> users", PAGE, re.MULTILINE)
    subprocess.run(["sh", "-c", commands[0]], cwd=tmp_path, check=True)
    # The folders and the logs are the test's; the rest is the page's.
    with Gate(tmp_path, "[[listener]]" + listener.replace("127.0.0.1:3128", f"127.0.0.1:{port}"), http=0):
        proxy = Proxy.__new__(Proxy)
        proxy.port = port
        assert proxy.curl("http://10.0.0.1/").status == 407
        answer = proxy.curl("http://10.0.0.1/", user="alice", password="secret")
        assert (answer.status, "address-not-allowed" in answer.text) == (403, True)
        assert proxy.curl("https://127.0.0.1/", user="alice", password="secret").connect == 403
