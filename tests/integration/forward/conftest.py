"""A forward proxy as a real process, names that lead to this machine, and a mirror that serves real packages.

The mirror speaks plain HTTP and HTTPS with a certificate of a private authority. Its name is known to a DNS server of
the test alone, so that whoever reaches it came through the proxy.
"""

import contextlib
import functools
import hashlib
import http.server
import ssl
import subprocess
import threading
import zipfile
from pathlib import Path

import pytest
from tests.integration.gate import Gate, free_port

from headgate.proxy.htpasswd import apr1
from headgate.testing.dns import DnsServer
from headgate.testing.pki import Authority

NAME = "packages.test"
PASSWORD = "p w:ö"  # a space, a colon and UTF-8: each has broken a proxy


class _Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.asked.append(self.path)
        super().do_GET()

    def log_message(self, *_arguments):
        pass


class Server:
    """Serves a folder; with `context` over TLS. `asked` are the paths that were asked for."""

    def __init__(self, folder, context=None, host="127.0.0.1"):
        handler = functools.partial(_Handler, directory=str(folder))
        self._server = http.server.ThreadingHTTPServer((host, 0), handler)
        self._server.daemon_threads = True
        self.asked = self._server.asked = []
        if context is not None:
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def build_wheel(folder):
    """Write a wheel that pip installs; return its file."""
    info = "tiny_headgate_test-1.0.dist-info"
    members = {
        "tiny_headgate_test.py": "ANSWER = 42\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: tiny-headgate-test\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},,\n" for name in (*members, f"{info}/RECORD"))
    path = folder / "tiny_headgate_test-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in {**members, f"{info}/RECORD": record}.items():
            wheel.writestr(name, text)
    return path


def build_package(folder):
    """Write a Debian package and the index of its repository; return its file."""
    tree = folder.parent / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "usr/share/tiny").mkdir(parents=True)
    (tree / "usr/share/tiny/answer").write_text("42\n")
    control = (
        "Package: tiny-headgate-test\nVersion: 1.0\nArchitecture: all\nMaintainer: Test <test@example.test>\n"
        "Description: a package of a test\n"
    )
    (tree / "DEBIAN/control").write_text(control)
    path = folder / "tiny-headgate-test_1.0_all.deb"
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "--build", str(tree), str(path)], check=True, capture_output=True
    )
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    (folder / "Packages").write_text(
        f"{control}Filename: ./{path.name}\nSize: {len(content)}\nSHA256: {digest}\n\n"
    )
    return path


@pytest.fixture(scope="session")
def mirror(tmp_path_factory):
    """What `Mirror` says."""
    with Mirror(tmp_path_factory.mktemp("mirror")) as made:
        yield made


class Mirror:
    """A Python index and a Debian repository, over http and https, under `NAME`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        root = Authority.root("Mirror Root")
        self.ca = folder / "ca.pem"
        self.ca.write_bytes(root.pem)
        leaf = root.leaf(NAME)
        chain = folder / "chain.pem"
        chain.write_bytes(leaf.chain_pem + leaf.key_pem)
        served = folder / "served"
        project = served / "simple/tiny-headgate-test"
        project.mkdir(parents=True)
        (served / "debian").mkdir()
        (served / "hello.txt").write_text("hello from the mirror\n")
        self.wheel = build_wheel(served)
        self.package = build_package(served / "debian")
        digest = hashlib.sha256(self.wheel.read_bytes()).hexdigest()
        link = f'<a href="/{self.wheel.name}#sha256={digest}">{self.wheel.name}</a>'
        (project / "index.html").write_text(f"<!DOCTYPE html><html><body>{link}</body></html>\n")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain)
        self._stack = contextlib.ExitStack()
        self.plain = self._stack.enter_context(Server(served))
        self.secure = self._stack.enter_context(Server(served, context))
        self.names = self._stack.enter_context(DnsServer())
        self.names.add(NAME, "A", "127.0.0.1")

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._stack.close()

    @property
    def http(self):
        return f"http://{NAME}:{self.plain.port}"

    @property
    def https(self):
        return f"https://{NAME}:{self.secure.port}"


class Proxy:
    """A gate with one forward listener; `forward` is TOML inside [listener.forward]."""

    def __init__(self, folder, forward="", *, nameserver="", users=None, tables="", **options):
        folder.mkdir(exist_ok=True)
        self.port = free_port()
        self.users = folder / "users"
        if users is not None:
            self.write_users(**users)
            forward += '\nusers = "users"'
        text = f'[[listener]]\naddresses = ["127.0.0.1:{self.port}"]\nmode = "forward"\n'
        text += f"[listener.forward]\n{forward}\n"
        text += tables
        if nameserver:
            text += f'[resolver]\nnameservers = ["{nameserver}"]\n'
        self.gate = Gate(folder, text, http=0, **options)

    def write_users(self, **users):
        lines = [
            f"{user}:{apr1(password.encode(), b'saltsalt').decode()}\n" for user, password in users.items()
        ]
        self.users.write_text("".join(lines))

    def url(self, user="", password=""):
        """Return what http_proxy takes."""
        from urllib.parse import quote  # noqa: PLC0415

        login = f"{quote(user)}:{quote(password)}@" if user else ""
        return f"http://{login}127.0.0.1:{self.port}"

    def __enter__(self):
        self.gate.__enter__()
        return self

    def __exit__(self, *error):
        self.gate.__exit__(*error)

    def curl(self, *arguments, user="", password="", via=""):
        """Run curl through it; return (exit code, HTTP status of the last answer, output)."""
        done = subprocess.run(
            [
                "curl",
                "--silent",
                "--max-time",
                "20",
                "--noproxy",
                "",
                "--write-out",
                "\n%{http_code} %{http_connect}",
                "--proxy",
                via or self.url(user, password),
                *arguments,
            ],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={"PATH": "/usr/bin:/bin"},
        )
        output, _, codes = done.stdout.rpartition("\n")
        answered, connected = codes.split()
        return Answer(done.returncode, int(answered), int(connected), output)


class Answer:
    def __init__(self, code, status, connect, text):
        self.code = code
        self.status = status
        self.connect = connect
        self.text = text

    def __repr__(self):
        return f"<Answer exit {self.code}, {self.status}, CONNECT {self.connect}: {self.text!r}>"


def rules(mirror, more=""):
    """Return the TOML that lets clients reach the mirror."""
    ports = f"connect_ports = [{mirror.secure.port}]"
    return f'allow_networks = ["127.0.0.0/8"]\n{ports}\n{more}'


@pytest.fixture(scope="module")
def proxy(tmp_path_factory, mirror):
    """A proxy with one user, through which the mirror is reached."""
    folder = tmp_path_factory.mktemp("proxy")
    with Proxy(folder, rules(mirror), nameserver=mirror.names.address, users={"alice": PASSWORD}) as made:
        yield made
