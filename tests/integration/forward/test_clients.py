"""curl, pip and apt as clients of the proxy, each the way its users set it up, with packages that they check."""

import os
import subprocess
import sys

from tests.integration.forward.conftest import NAME, PASSWORD
from tests.integration.gate import wait_for


def lines_of(proxy, method, target):
    """The access lines of what was asked for so far."""
    return [
        line
        for line in proxy.gate.access_lines()
        if line["method"] == method and line["target"] == target and line["status"] == 200
    ]


def environment(proxy, **more):
    own = ("PROXY", "PIP_", "CA_BUNDLE", "SSL_CERT")  # of the machine that the tests run on
    kept = {name: value for name, value in os.environ.items() if not any(o in name.upper() for o in own)}
    url = proxy.url("alice", PASSWORD)
    return {**kept, "http_proxy": url, "https_proxy": url, "no_proxy": "", **more}


def run(command, env):
    done = subprocess.run(
        command, env=env, capture_output=True, text=True, timeout=120, check=False, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def test_curl(proxy, mirror):
    env = environment(proxy)
    curl = ["curl", "--fail", "--silent", "--show-error", "--max-time", "20"]
    assert run([*curl, f"{mirror.http}/hello.txt?plain"], env) == "hello from the mirror\n"
    assert (
        run([*curl, "--cacert", str(mirror.ca), f"{mirror.https}/hello.txt"], env)
        == "hello from the mirror\n"
    )
    plain = wait_for("the line of the request", lambda: lines_of(proxy, "GET", "/hello.txt?plain"))[0]
    assert plain["user"] == "alice"
    assert plain["host"] == f"{NAME}:{mirror.plain.port}"
    assert plain["bytes_out"] == len("hello from the mirror\n")
    where = f"{NAME}:{mirror.secure.port}"
    tunnel = wait_for("the line of the tunnel", lambda: lines_of(proxy, "CONNECT", where))[0]
    assert tunnel["user"] == "alice"
    assert tunnel["endpoint"] == f"127.0.0.1:{mirror.secure.port}"
    assert tunnel["bytes_in"] > 200  # a ClientHello and more
    assert tunnel["bytes_out"] > 500  # a certificate and more


def test_pip(proxy, mirror, tmp_path):
    env = environment(
        proxy,
        PIP_CONFIG_FILE="/dev/null",
        PIP_INDEX_URL=f"{mirror.https}/simple",
        PIP_CERT=str(mirror.ca),
        PIP_DISABLE_PIP_VERSION_CHECK="1",
        PIP_NO_CACHE_DIR="1",
    )
    target = tmp_path / "target"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(target), "tiny-headgate-test"]
    run(pip, env)
    found = run(
        [sys.executable, "-c", "import tiny_headgate_test as t; print(t.ANSWER)"], {"PYTHONPATH": target}
    )
    assert found == "42\n"
    assert f"/{mirror.wheel.name}" in mirror.secure.asked


def apt(folder, proxy, mirror, source):
    """Return apt-get with everything of its own in `folder`."""
    for name in ("lists/partial", "archives/partial", "etc/parts", "log"):
        (folder / name).mkdir(parents=True)
    (folder / "status").write_text("")
    (folder / "sources.list").write_text(f"deb [trusted=yes] {source}/debian ./\n")
    options = {
        "Dir::Etc::SourceList": folder / "sources.list",
        "Dir::Etc::SourceParts": folder / "etc/parts",
        "Dir::Etc::Main": "/dev/null",
        "Dir::Etc::Parts": folder / "etc/parts",
        "Dir::State": folder,
        "Dir::State::Lists": folder / "lists",
        "Dir::State::Status": folder / "status",
        "Dir::Cache": folder,
        "Dir::Cache::Archives": folder / "archives",
        "Dir::Log": folder / "log",
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
        "Acquire::Retries": "0",
        "Acquire::http::Proxy": proxy.url("alice", PASSWORD),
        "Acquire::https::Proxy": proxy.url("alice", PASSWORD),
        "Acquire::https::CaInfo": mirror.ca,
    }
    return ["apt-get", *(part for name, value in options.items() for part in ("-o", f"{name}={value}"))]


def fetch_with_apt(folder, proxy, mirror, source):
    command = apt(folder, proxy, mirror, source)
    env = {"PATH": os.environ["PATH"], "LC_ALL": "C", "APT_CONFIG": "/dev/null"}
    run([*command, "update"], env)
    done = subprocess.run(
        [*command, "download", "tiny-headgate-test"],
        env=env,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert (folder / mirror.package.name).read_bytes() == mirror.package.read_bytes()


def test_apt_over_http(proxy, mirror, tmp_path):
    fetch_with_apt(tmp_path, proxy, mirror, mirror.http)
    target = f"/debian/./{mirror.package.name}"
    line = wait_for("the line of the package", lambda: lines_of(proxy, "GET", target))[0]
    assert line["user"] == "alice"
    assert line["bytes_out"] == mirror.package.stat().st_size


def test_apt_over_https(proxy, mirror, tmp_path):
    fetch_with_apt(tmp_path, proxy, mirror, mirror.https)
    assert f"/debian/./{mirror.package.name}" in mirror.secure.asked
