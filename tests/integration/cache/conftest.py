"""One origin and one gate with a cache for a whole module: each test has paths of its own."""

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
def gate(story, tmp_path_factory):
    with Gate(tmp_path_factory.mktemp("gate"), TEXT.format(url=story.url)) as running:
        yield running
