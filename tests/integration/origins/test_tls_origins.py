"""A whole gate in front of nginx, haproxy and openssl s_server, with TLS 1.2 and 1.3, on kernels with every setting
of TCP Fast Open: certificates of our own, staples that are required, sessions that are resumed, words of refusals."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from headgate.net.fast_open import OUTCOMES

ROOT = Path(__file__).parents[3]
SERVED = [f"{name}-{version}" for name in ("nginx", "haproxy", "s_server") for version in ("1.2", "1.3")]
# The sysctl: bit 0 for us, bit 1 for the origins.
KERNELS = {"off": ("3", "false"), "on": ("3", "true"), "refused": ("1", "true"), "missing": ("2", "true")}


@pytest.fixture(scope="module", params=KERNELS)
def world(request, tmp_path_factory):
    probe = subprocess.run(["unshare", "-n", "true"], capture_output=True, text=True, timeout=20)
    if probe.returncode:
        pytest.skip(f"needs root for `unshare -n`: {probe.stderr.strip()}")
    folder = tmp_path_factory.mktemp("origins")
    module = "tests.integration.origins.tls_world"
    path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(ROOT)]))
    done = subprocess.run(
        ["unshare", "-n", sys.executable, "-m", module, str(folder), *KERNELS[request.param]],
        capture_output=True,
        text=True,
        timeout=55,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) | {"kernel": request.param}


@pytest.mark.slow
def test_every_origin_is_served_and_resumed(world):
    assert world["defects"] == []
    for name in SERVED:
        answers = world["answers"][name]
        assert [status for status, _ in answers] == [200] * 4, (name, answers)
        program, version = name.split("-")
        assert all(f"TLSv{version}" in body for _, body in answers), answers
        is_resumed = [
            body.endswith((" r", " 1")) or "Reused, TLS" in body for _, body in answers if program in body
        ]
        assert is_resumed == [False, True, True, True], (name, answers)


@pytest.mark.slow
def test_a_certificate_is_shown_where_there_is_one(world):
    assert all("CN=gate" in body for status, body in world["answers"]["mutual"] if status == 200)
    assert [status for status, _ in world["answers"]["mutual"]] == [200] * 4
    assert {status for status, _ in world["answers"]["stranger"]} == {400}


@pytest.mark.slow
def test_staples_and_versions_are_refused_in_words(world):
    assert {status for status, _ in world["answers"]["good"]} == {200}
    for name, words in {
        "revoked": "certificate-revoked: 127.0.0.1:",
        "without": "staple-missing: 127.0.0.1:",
        "old": "alert-protocol-version: 127.0.0.1:",
    }.items():
        assert {status for status, _ in world["answers"][name]} == {502}
        assert world["failed"][name].startswith(words)
    assert "CN=app.example (depth 0)" in world["failed"]["revoked"]


@pytest.mark.slow
def test_fast_open_comes_out_as_the_kernel_has_it(world):
    counts, told = world["metrics"]["fast_open"], world["told"]
    assert list(counts) == list(OUTCOMES)
    names = {name for name, _, _ in told}
    match world["kernel"]:
        case "off":
            assert set(counts.values()) == {0}
            assert told == []
        case "on":
            # One host has one cookie, whatever the port; s_server knows nothing of it.
            assert counts["accepted"] >= 24
            assert counts["cookie"] >= 1
            assert counts["refused"] == 2
            assert names == {"fast-open-refused"}
        case "refused":
            assert counts["accepted"] == 0
            assert counts["cookie"] >= 30, "asked for, and none was given"
            assert told == []
        case "missing":
            assert counts == dict.fromkeys(OUTCOMES, 0) | {"unavailable": 1}
            assert names == {"fast-open-unavailable"}
    assert world["metrics"]["handshakes"]["failed"] == 12
    assert world["metrics"]["handshakes"]["resumed"] >= 18
