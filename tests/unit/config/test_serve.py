"""`headgate serve --to URL`."""

from pathlib import Path

import pytest

from headgate.config.files import certificate_files
from headgate.config.problems import ConfigProblems
from headgate.config.serve import serve_config


@pytest.fixture
def pair(tmp_path):
    # A folder whose name would mean something to TOML, to the expansion and to a glob.
    folder = tmp_path / 'we"ird ${HOME} [x] \\ é'
    folder.mkdir()
    for name in ("chain.pem", "key.pem"):
        (folder / name).write_text("-")
    return folder / "chain.pem", folder / "key.pem"


def test_two_listeners_one_route_one_upstream(pair):
    config = serve_config("http://127.0.0.1:3000", *pair, environ={})
    assert [(listener.mode, listener.addresses) for listener in config.listener] == [
        ("http", ("127.0.0.1:8080",)),
        ("https", ("127.0.0.1:8443",)),
    ]
    (files,) = certificate_files(config.certificate[0])
    assert (files.chain, files.key) == pair
    (route,) = config.route
    assert config.upstream[route.upstream].endpoints[0].url == "http://127.0.0.1:3000"


def test_addresses_ports_and_folders_can_be_given(pair):
    config = serve_config(
        "unix:/run/x.sock",
        *pair,
        hosts=("0.0.0.0", "::"),
        http_port=0,
        https_port=1,
        state_dir=Path("/s"),
        runtime_dir=Path("/r"),
        environ={},
    )
    assert config.listener[1].addresses == ("0.0.0.0:1", "[::]:1")
    assert (config.state_dir, config.runtime_dir) == (Path("/s"), Path("/r"))


def test_the_issuer_is_named_when_it_is_known(pair):
    config = serve_config("http://127.0.0.1:1", *pair, issuer=pair[0], environ={})
    assert config.certificate[0].issuer == pair[0]
    assert serve_config("http://127.0.0.1:1", *pair, environ={}).certificate[0].issuer is None


@pytest.mark.parametrize("to", ["localhost:3000", "http://a/b", "", 'http://a"\nworkers = 3\n#'])
def test_what_is_no_origin(to, pair):
    with pytest.raises(ValueError, match="expected an origin"):
        serve_config(to, *pair, environ={})


def test_a_missing_file_is_told_without_a_line_that_nobody_wrote(tmp_path):
    with pytest.raises(ConfigProblems) as caught:
        serve_config("http://127.0.0.1:1", tmp_path / "a", tmp_path / "a", environ={})
    assert str(caught.value).splitlines()[0].startswith("headgate serve: certificate.")


def test_an_application_is_imported_from_where_we_stand(pair, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = serve_config("asgi:site.main:app", *pair, environ={})
    (upstream,) = config.upstream.values()
    assert upstream.endpoints[0].url == "asgi:site.main:app"
    assert upstream.asgi.app_dir == tmp_path
