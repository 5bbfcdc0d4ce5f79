"""Gates that speak HTTP/2 on every listener, and origins of both versions behind them."""

from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.integration.gate_tls.conftest import Site, make_site
from tests.integration.h2.calls import H1Client, H1Origin, H2Client, H2Origin


class H2Site(Site):
    """A site for a.test with a listener in the clear and one over TLS."""

    def gate(self, text, **options):
        extra = 'protocols = ["h1", "h2"]\n' + options.pop("listener_extra", "")
        return super().gate(text, **{"http": 1, "https": 1, "listener_extra": extra, **options})

    def before(self, origin, more="", **options):
        """Return a gate, not yet started, that leads everything to `origin`."""
        text = f'[[route]]\nupstream = "u"\n[upstream.u]\nendpoints = ["{origin.url}"]\n'
        if isinstance(origin, H2Origin):
            text += 'protocols = ["h2"]\n'
        return self.gate(text + more, **options)

    def h2(self, gate, **options):
        """A client of HTTP/2 over TLS."""
        return H2Client(gate.https_ports[0], context=self.client(), **options)

    def h2c(self, gate, **options):
        """A client of HTTP/2 in the clear."""
        return H2Client(gate.http_ports[0], **options)

    def h1(self, gate):
        """A client of HTTP/1.1 over TLS."""
        return H1Client(gate.https_ports[0], context=self.client())


def no_defect(gate):
    assert gate.events("defect") == []


def fresh_site(folder: Path) -> H2Site:
    site = make_site(folder, H2Site)
    site.certificate("a", "a.test")
    return site


@pytest.fixture
def site(tmp_path):
    return fresh_site(tmp_path)


@pytest.fixture(scope="module")
def shared_site(tmp_path_factory):
    return fresh_site(tmp_path_factory.mktemp("site"))


class World:
    """A gate between clients of one version and an origin of one version. What the origin does, tests say each."""

    def __init__(self, site, pair, gate, origin):
        self.site, self.pair, self.gate, self.origin = site, pair, gate, origin

    @contextmanager
    def client(self, script, **options):
        """A client of the pair's first version; `script` answers it."""
        self.origin.answers = script
        one = self.site.h1(self.gate) if self.pair[0] == "h1" else self.site.h2(self.gate, **options)
        with one:
            yield one

    @property
    def client_is_h2(self):
        return self.pair[0] == "h2"

    @property
    def origin_is_h2(self):
        return self.pair[1] == "h2"


PAIRS = (("h2", "h1"), ("h1", "h2"), ("h2", "h2"))


@pytest.fixture(scope="module", params=PAIRS, ids="-to-".join)
def world(request, tmp_path_factory):
    """All three ways in which HTTP/2 takes part."""
    site = fresh_site(tmp_path_factory.mktemp("world"))
    kind = H2Origin if request.param[1] == "h2" else H1Origin
    with kind(None) as origin, site.before(origin) as gate:
        yield World(site, request.param, gate, origin)
        no_defect(gate)
