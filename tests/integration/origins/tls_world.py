"""Origins of TLS that others have written, in a network namespace with one setting of TCP Fast Open, and a gate in
front of them: python -m tests.integration.origins.tls_world FOLDER SYSCTL FAST_OPEN, which prints what came of it.

Each origin has a port for TLS 1.2 and one for 1.3. No connection is kept, so that every request dials."""

import json
import subprocess
import sys
import time
from pathlib import Path

from tests.integration.gate import Gate, free_port, wait_for
from tests.integration.tcp.peers import answers

from headgate.testing.origin import ask
from headgate.testing.pki import Authority

REQUESTS = 4
OUR_CERTIFICATE = 'certificate = "our.pem"\nkey = "our.key"\n'
ASKS = "ssl_client_certificate clients.pem; ssl_verify_client on;"
ANSWER = "http-request return status 200 content-type text/plain lf-string"
ROOT = Authority.root("Origins")
LEAF = ROOT.leaf("app.example", "127.0.0.1")
CLIENTS = Authority.root("Gates")
OURS = CLIENTS.leaf("gate", client=True)


def staple(status):
    now = time.time()
    return ROOT.ocsp(LEAF, status, this_update=now - 60, next_update=now + 3600)


class World:
    """The origins: `ports` by name, `extra` what an upstream's TLS has beside the authority."""

    def __init__(self, folder):
        self.folder = folder
        self.ports = {}
        self.extra = {}
        self.processes = []
        for name, data in {
            "ca.pem": ROOT.pem,
            "leaf.pem": LEAF.chain_pem + LEAF.key_pem,
            "clients.pem": CLIENTS.pem,
            "our.pem": OURS.chain_pem,
            "our.key": OURS.key_pem,
            "good.ocsp": staple("good"),
            "revoked.ocsp": staple("revoked"),
        }.items():
            (folder / name).write_bytes(data)

    def add(self, name, extra=""):
        self.ports[name] = free_port()
        self.extra[name] = extra
        return self.ports[name]

    def start(self, *command):
        with (self.folder / f"{Path(command[0]).name}.log").open("ab") as log:
            self.processes.append(
                subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=log, stderr=log, cwd=self.folder, bufsize=0
                )
            )

    def nginx(self):
        servers = []
        for name, extra, own in (
            ("nginx-1.2", "", "ssl_protocols TLSv1.2;"),
            ("nginx-1.3", "", "ssl_protocols TLSv1.3;"),
            ("mutual", OUR_CERTIFICATE, ASKS),
            ("stranger", "", ASKS),
            ("good", 'staple = "require"\n', "ssl_stapling on; ssl_stapling_file good.ocsp;"),
            ("revoked", 'staple = "check"\n', "ssl_stapling on; ssl_stapling_file revoked.ocsp;"),
            ("without", 'staple = "require"\n', ""),
            ("old", 'min_version = "1.3"\n', "ssl_protocols TLSv1.2;"),
        ):
            port = self.add(name, extra)
            servers.append(
                f"server {{ listen 127.0.0.1:{port} ssl fastopen=64; ssl_certificate leaf.pem;"
                f" ssl_certificate_key leaf.pem; {own} ssl_trusted_certificate ca.pem;"
                ' location / { return 200 "nginx $ssl_protocol $ssl_client_s_dn $ssl_session_reused"; } }'
            )
        (self.folder / "nginx.conf").write_text(
            f"daemon off; user root; pid {self.folder}/nginx.pid; error_log stderr;\nevents {{}}\n"
            f"http {{ access_log off; client_body_temp_path {self.folder}/b; proxy_temp_path {self.folder}/p;"
            f" fastcgi_temp_path {self.folder}/f; uwsgi_temp_path {self.folder}/u; scgi_temp_path {self.folder}/s;\n"
            + "\n".join(servers)
            + "\n}\n"
        )
        self.start("nginx", "-p", str(self.folder), "-c", "nginx.conf")

    def haproxy(self):
        binds = []
        for version in ("1.2", "1.3"):
            port = self.add(f"haproxy-{version}")
            binds.append(
                f"frontend f{version}\n mode http\n timeout client 9s\n"
                f" bind 127.0.0.1:{port} ssl crt leaf.pem ssl-min-ver TLSv{version} ssl-max-ver TLSv{version} tfo\n"
                f' {ANSWER} "haproxy %sslv %[ssl_fc_is_resumed]"\n'
            )
        (self.folder / "haproxy.cfg").write_text("global\n tune.ssl.default-dh-param 2048\n" + "".join(binds))
        self.start("haproxy", "-db", "-f", "haproxy.cfg")

    def s_server(self):
        for version, flag in (("1.2", "-tls1_2"), ("1.3", "-tls1_3")):
            port = self.add(f"s_server-{version}")
            self.start("openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", "leaf.pem", "-key",
                       "leaf.pem", flag, "-www")  # fmt: skip

    def __enter__(self):
        self.nginx()
        self.haproxy()
        self.s_server()
        for name, port in self.ports.items():
            wait_for(name, lambda port=port: answers(port))
        return self

    def __exit__(self, *exc):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait(10)

    def gate_text(self, fast_open):
        text = ""
        for name, port in self.ports.items():
            label = name.replace(".", "-")
            extra = self.extra[name].replace('"our.', f'"{self.folder}/our.')
            text += f'[[route]]\nhosts = ["{label}.test"]\nupstream = "{label}"\n[upstream.{label}]\n'
            text += f'endpoints = ["https://127.0.0.1:{port}"]\ntcp_fast_open = {fast_open}\n'
            text += f'[upstream.{label}.tls]\nca = "{self.folder}/ca.pem"\n{extra}'
            text += f"[upstream.{label}.pool]\nmax_idle = 0\n"
        return text


def counted(gate, dials):
    """Return what was counted of the connections to origins, once all of them are."""
    found = {"handshakes": {}, "fast_open": {}}
    for key, value in gate.metrics().items():
        for family in found:
            if f"upstream_{family}_total" in key:
                found[family][key.split('"')[1]] = int(value)
    return found if sum(found["handshakes"].values()) >= dials else None


def main():
    folder, value, fast_open = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    Path("/proc/sys/net/ipv4/tcp_fastopen").write_text(value)
    gate_folder = folder / "gate"
    gate_folder.mkdir()
    with World(folder) as world, Gate(gate_folder, world.gate_text(fast_open)) as gate:
        answers = {}
        for name in world.ports:
            answers[name] = []
            for _ in range(REQUESTS):
                head, body = ask(gate.http_ports[0], host=f"{name.replace('.', '-')}.test")
                answers[name].append([head.status, body.decode("latin-1")[:20000]])
        failed = {event["upstream"]: event["detail"] for event in gate.events("upstream-failed")}
        told = [[event["event"], event.get("address", ""), event.get("detail", "")]
                for event in gate.all_events() if event["event"].startswith("fast-open")]  # fmt: skip
        metrics = wait_for("all handshakes to be counted", lambda: counted(gate, REQUESTS * len(world.ports)))
        defects = gate.events("defect")
    print(
        json.dumps(
            {"answers": answers, "failed": failed, "told": told, "metrics": metrics, "defects": defects}
        )
    )


if __name__ == "__main__":
    main()
