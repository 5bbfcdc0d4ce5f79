"""HTTP/3 from the client to the gate and from the gate to the origin: nothing of HTTP/1.1 in between."""

import json

from tests.integration.origins.h3_origin import H3Origin

from headgate.testing.pki import Authority


def test_requests_content_trailers_and_ends(site, tmp_path, helpers):
    site.certificate("a", "a.test")
    root = Authority.root("Origins")
    leaf = root.leaf("localhost")
    (tmp_path / "ca.pem").write_bytes(root.pem)
    with H3Origin(leaf.chain_pem, leaf.key_pem) as origin:
        text = f'[[route]]\nupstream = "u"\n[upstream.u]\nendpoints = ["https://localhost:{origin.port}"]\n'
        text += f'protocols = ["h3"]\n[upstream.u.tls]\nca = "{tmp_path / "ca.pem"}"\n'
        with site.gate(text) as gate:
            with site.h3(gate) as client:
                reply = client.get("/hello")
                assert reply.status == 200
                assert json.loads(reply.body)["head"][":authority"] == "a.test"
                reply = client.get("/big/4194304")
                assert reply.body == bytes(range(256)) * (1 << 14)
                assert client.get("/interim/3").status == 204
                assert client.get("/reset/102").status == 502
                assert client.get("/hello").status == 200
            found = site.aioquic(gate, *(f"/many/{number}" for number in range(50)))
            assert [status for status, _, _ in found] == [200] * 50
            lines = helpers.wait_for("the log", lambda: (all := gate.access_lines())[54:] and all)
            assert {(line["protocol"], line["upstream_protocol"]) for line in lines} == {
                ("HTTP/3.0", "HTTP/3.0")
            }
            assert gate.events("defect") == []
            assert len(origin.connections) == 1
