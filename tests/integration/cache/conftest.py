"""One origin and one gate with a cache for a whole module: each test has paths of its own.

A module that wants another gate has its configuration in `TEXT`,, `WORKERS`, and `LISTENER` for each listener.
"""

import pytest
from tests.integration.cache.story import Story
from tests.integration.gate import Gate

TEXT = """
[cache]
enabled = true
memory = "16MiB"
max_object = "2MiB"
[[route]]
upstream = "origin"
[upstream.origin]
endpoints = ["{url}"]
"""


@pytest.fixture(scope="module")
def story():
    with Story() as origin:
        yield origin


@pytest.fixture(scope="module")
def gate(request, story, tmp_path_factory):
    text = getattr(request.module, "TEXT", TEXT).format(url=story.url)
    workers = getattr(request.module, "WORKERS", 1)
    extra = getattr(request.module, "LISTENER", "")
    with Gate(tmp_path_factory.mktemp("gate"), text, workers=workers, listener_extra=extra) as running:
        yield running
