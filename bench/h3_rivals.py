"""Rivals that are here for HTTP/3 alone: Caddy from a root of its own, and aioquic's server from our own Python."""

import importlib.util
import json
import os
import sys
from pathlib import Path

from bench import certs
from bench.proxies import Job, Proxy, Rival, is_bound


class Caddy(Rival):
    """Caddy: one thread for Go code, reused connections, an access log when asked."""

    program = "caddy"
    place = "usr/bin"

    @property
    def versions(self) -> frozenset[str]:
        return frozenset(("h3",))

    def command(self, job: Job) -> list[str]:
        pem = f"{self.inside(job.certificates)}/{certs.host(0)}.pem"
        proxy = {"handler": "reverse_proxy", "upstreams": [{"dial": f"127.0.0.1:{job.origin_port}"}]}
        server = {"routes": [{"handle": [proxy]}], "automatic_https": {"disable": True}}
        secure = {
            **server,
            "listen": [f"127.0.0.1:{job.tls_port}"],
            "protocols": ["h1", "h2", "h3"],
            "tls_connection_policies": [{"fallback_sni": certs.host(0)}],
        }
        logging: dict[str, object] = {"logs": {"default": {"level": "ERROR", "exclude": ["http.log.access"]}}}
        if job.profile.access_log:
            file = {"output": "file", "filename": f"{self.inside(job.directory)}/access.log"}
            logging["logs"] = {
                "default": {"level": "ERROR", "exclude": ["http.log.access"]},
                "access": {"writer": file, "include": ["http.log.access"]},
            }
            secure["logs"] = {}
        config = {
            "admin": {"disabled": True},
            "logging": logging,
            "apps": {
                "http": {
                    "servers": {
                        "plain": {**server, "listen": [f"127.0.0.1:{job.port}"], "protocols": ["h1"]},
                        "secure": secure,
                    }
                },
                "tls": {"certificates": {"load_files": [{"certificate": pem, "key": pem}]}},
            },
        }
        path = job.directory / "caddy.json"
        path.write_text(json.dumps(config))
        return self.argv("run", "--config", self.inside(path))

    def argv(self, *arguments: str) -> list[str]:
        home = f"HOME={'/tmp' if self.root else os.environ.get('HOME', '/tmp')}"
        return ["env", "GOMAXPROCS=1", home, *super().argv(*arguments)]


class Aioquic(Proxy):
    """aioquic's asyncio server. It answers by itself, which spares it what the others do for a proxied request."""

    @property
    def versions(self) -> frozenset[str]:
        return frozenset(("h3",))

    def absent(self) -> str | None:
        return None if importlib.util.find_spec("aioquic") else "no aioquic in this Python"

    def command(self, job: Job) -> list[str]:
        script = Path(__file__).with_name("aioquic_server.py")
        return [
            sys.executable,
            str(script),
            str(job.tls_port),
            str(job.certificates / f"{certs.host(0)}.pem"),
        ]

    def is_up(self, job: Job) -> bool:
        return is_bound(job.tls_port)
