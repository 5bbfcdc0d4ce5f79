"""Workers of an earlier start, which finish while later ones serve with another configuration."""

import socket

from tests.integration.cache.story import Story
from tests.integration.cache.test_herd import LIVES, WORKERS
from tests.integration.gate import Gate, wait_for

from headgate.testing.origin import Wire, ask

CACHE = "[cache]\nenabled = true\n"
ROUTE = '[[route]]\nhosts = ["{0}"]\nupstream = "{0}"\n'
UPSTREAM = '[upstream.{}]\nendpoints = ["{}"]\n'


def test_a_worker_of_another_configuration_is_not_asked(tmp_path):
    with Story() as left, Story() as right:
        upstreams = UPSTREAM.format("left", left.url) + UPSTREAM.format("right", right.url)
        routes = [ROUTE.format("left"), ROUTE.format("right")]
        with Gate(tmp_path, CACHE + "".join(routes) + upstreams, workers=WORKERS) as gate:
            port = gate.http_ports[0]
            # Half a head each: workers that end let them finish.
            wires = [Wire(socket.create_connection(("127.0.0.1", port), 10)) for _ in range(16)]
            for number, wire in enumerate(wires):
                for story, words in ((left, b"left"), (right, b"right")):
                    story.tell(f"/{number}", words, LIVES)
                wire.send(f"GET /{number} HTTP/1.1\r\nHost: left\r\n".encode())
            gate.process.kill()
            gate.process.wait()
            wait_for("the workers to see it", lambda: len(gate.events("supervisor-gone")) >= WORKERS)
            text = gate.config.read_text()
            gate.config.write_text(text.replace("".join(routes), "".join(reversed(routes))))
            gate.start()
            for wire in wires:
                wire.send(b"\r\n")
            assert {wire.read_response()[1] for wire in wires} == {b"left"}
            for wire in wires:
                wire.close()
            assert {ask(port, f"/{number}", host="left")[1] for number in range(len(wires))} == {b"left"}
