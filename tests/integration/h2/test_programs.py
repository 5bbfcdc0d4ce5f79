"""Programs that people have, through a gate: curl, nghttp and h2load of Debian, and httpx."""

import asyncio
import hashlib
import json
import re
import shutil
import subprocess

import httpx
import pytest
from tests.integration.gate import wait_for
from tests.integration.h2.calls import H1Origin, content
from tests.integration.h2.conftest import fresh_site, no_defect
from tests.integration.h2.pages import site

KIB, MIB = 1024, 1 << 20
NAME = "a.test"


class Place:
    """A gate before an origin of HTTP/1.1, and its addresses."""

    def __init__(self, site, gate):
        self.site, self.gate = site, gate
        self.secure, self.clear = gate.https_ports[0], gate.http_ports[0]

    def logged(self, target):
        """Wait for requests in the access log; return how they came."""

        def found():
            return [line["protocol"] for line in self.gate.access_lines() if line["target"] == target]

        return wait_for(f"{target} in the log", found)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = fresh_site(tmp_path_factory.mktemp("programs"))
    # Every address of these tests is one client; so many connections of it are not what they are about.
    limits = "[listener.limits]\nper_client = 1000\n"
    with H1Origin(site) as origin, place.before(origin, listener_extra=limits) as gate:
        yield Place(place, gate)
        no_defect(gate)


def run(*command, stdin=b"", timeout=50):
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    return subprocess.run(command, input=stdin, capture_output=True, timeout=timeout, check=False)


def curl(place, port, *options):
    common = ["curl", "-sS", "--max-time", "30", "--cacert", place.site.ca]
    done = run(*common, "--resolve", f"{NAME}:{port}:127.0.0.1", *options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def both(place):
    """(flag of curl, port, base of URLs), over TLS and in the clear."""
    return (
        ("--http2", place.secure, f"https://{NAME}:{place.secure}"),
        ("--http2-prior-knowledge", place.clear, f"http://{NAME}:{place.clear}"),
    )


@pytest.mark.parametrize("at", [0, 1], ids=["tls", "clear"])
def test_curl(place, at):
    flag, port, base = both(place)[at]
    for size in (0, KIB, MIB):
        assert curl(place, port, flag, f"{base}/b{size}") == content(size)
    said = curl(
        place, port, flag, "-o", "/dev/null", "-w", "%{http_version} %{http_code}", f"{base}/b10-{at}-curl"
    )
    assert said == b"2 200"
    assert place.logged(f"/b10-{at}-curl") == ["HTTP/2.0"]
    said = curl(place, port, flag, "-I", f"{base}/b1000").decode().lower()
    assert said.startswith("http/2 200")
    assert "content-length: 1000" in said


@pytest.mark.parametrize("at", [0, 1], ids=["tls", "clear"])
@pytest.mark.parametrize("expect", ["Expect: 100-continue", "Expect:"])
def test_curl_uploads(place, at, expect, tmp_path):
    flag, port, base = both(place)[at]
    file = tmp_path / "file"
    file.write_bytes(content(3 * MIB))
    wanted = hashlib.sha256(content(3 * MIB)).hexdigest()
    said = json.loads(curl(place, port, flag, "-H", expect, "--data-binary", f"@{file}", f"{base}/echo"))
    assert (said["method"], said["size"], said["sum"]) == ("POST", 3 * MIB, wanted)
    said = json.loads(curl(place, port, flag, "-H", expect, "-T", str(file), f"{base}/echo"))
    assert (said["method"], said["size"], said["sum"]) == ("PUT", 3 * MIB, wanted)


def test_curl_without_tls_that_would_upgrade_is_served_in_http1(place):
    """h2c by Upgrade is gone (RFC 9113 section 3.1): the field is ignored."""
    said = curl(place, place.clear, "--http2", "-w", " %{http_version}", f"http://{NAME}:{place.clear}/b3")
    assert said == content(3) + b" 1.1"


def test_curl_in_parallel(place, tmp_path):
    port = place.secure
    command = [
        "--http2",
        "-Z",
        "--parallel-max",
        "50",
        "-o",
        f"{tmp_path}/#1",
        "-w",
        "%{http_version} %{http_code}\\n",
    ]
    said = curl(place, port, *command, f"https://{NAME}:{port}/b[1000-1199]")
    assert said.count(b"2 200\n") == 200
    for size in range(1000, 1200):
        assert (tmp_path / str(size)).read_bytes() == content(size)


def test_curl_sees_trailers(place):
    said = curl(place, place.secure, "--http2", "-i", f"https://{NAME}:{place.secure}/trailers").decode()
    assert "with trailers" in said
    assert "x-end: yes" in said


def nghttp(place, paths, *options, secure=True, priorities=False):
    port = place.secure if secure else place.clear
    base = f"http{'s' if secure else ''}://127.0.0.1:{port}"
    # It asks for all URLs on one connection at once; with --no-dep it sends no PRIORITY frames.
    command = ["nghttp", "-H", f":authority: {NAME}", *options, *([] if priorities else ["--no-dep"])]
    done = run(*command, *(base + path for path in paths))
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.parametrize("secure", [True, False], ids=["tls", "clear"])
@pytest.mark.parametrize("priorities", [True, False], ids=["priority", "no-priority"])
def test_nghttp_with_many_requests_on_one_connection(place, secure, priorities):
    paths = [f"/b{100 + number}-nghttp" for number in range(90)]
    done = nghttp(place, paths, "-nvs", secure=secure, priorities=priorities)
    said = done.stdout.decode(errors="replace")
    ends = re.findall(r"recv \(stream_id=\d+\) :status: (\d+)", re.sub(r"\x1b\[[0-9;]*m", "", said))
    assert ends == ["200"] * 90
    assert "GOAWAY frame" not in said.partition("Statistics")[0].partition("recv GOAWAY")[2]


def test_nghttp_gets_what_it_asked_for(place):
    done = nghttp(place, [f"/b{MIB}"])
    assert done.stdout == content(MIB)


def test_nghttp_with_trailers(place, tmp_path):
    file = tmp_path / "file"
    file.write_bytes(content(100_000))
    done = nghttp(place, ["/echo"], "-d", str(file), "--no-content-length", "--trailer", "x-end: mine")
    said = json.loads(done.stdout)
    assert (said["size"], said["sum"]) == (100_000, hashlib.sha256(content(100_000)).hexdigest())
    assert said["trailers"] == [["x-end", "mine"]]
    done = nghttp(place, ["/trailers"], "-v")
    assert "x-end: yes" in re.sub(r"\x1b\[[0-9;]*m", "", done.stdout.decode())


def test_nghttp_with_padding_and_small_windows(place):
    done = nghttp(place, [f"/b{300 * KIB}"], "-w", "14", "-W", "14", "-b", "100")
    assert done.stdout == content(300 * KIB)


@pytest.mark.slow
@pytest.mark.parametrize("secure", [True, False], ids=["tls", "clear"])
@pytest.mark.parametrize(("count", "path"), [(4000, "/b100"), (160, f"/b{MIB}")])
def test_h2load(place, secure, count, path):
    port = place.secure if secure else place.clear
    url = f"http{'s' if secure else ''}://{NAME}:{port}{path}"
    done = run("h2load", f"-n{count}", "-c8", "-m16", f"--connect-to=127.0.0.1:{port}", url)
    said = done.stdout.decode()
    assert f"{count} succeeded, 0 failed, 0 errored, 0 timeout" in said, said
    assert f"status codes: {count} 2xx" in said, said
    assert "Application protocol: h2" in said or not secure


def test_httpx_many_at_once(place):
    async def visit():
        # Its names are resolved by the machine; the certificate is that of a.test, and so is the Host.
        options = {"http1": False, "http2": True, "verify": place.site.client(), "timeout": 30}
        limits = httpx.Limits(max_connections=1)
        async with httpx.AsyncClient(limits=limits, **options) as client:
            base = f"https://127.0.0.1:{place.secure}"
            extensions = {"sni_hostname": NAME}
            headers = {"host": f"{NAME}:{place.secure}"}

            async def one(number):
                path = f"/b{number * 777}-httpx"
                answer = await client.get(base + path, headers=headers, extensions=extensions)
                assert (answer.status_code, answer.http_version) == (200, "HTTP/2")
                assert answer.content == content(number * 777)

            await asyncio.gather(*(one(number) for number in range(200)))
            body = content(MIB)
            answer = await client.post(f"{base}/echo", content=body, headers=headers, extensions=extensions)
            assert answer.json()["sum"] == hashlib.sha256(body).hexdigest()

    asyncio.run(visit())


def test_a_client_of_http1_is_still_served_beside(place):
    said = curl(
        place, place.secure, "--http1.1", "-w", " %{http_version}", f"https://{NAME}:{place.secure}/b5"
    )
    assert said == content(5) + b" 1.1"
