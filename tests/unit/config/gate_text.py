"""A small valid configuration, and helpers that break it in one place and read what is said about it."""

import pytest

from headgate.config.loader import loads
from headgate.config.problems import ConfigProblems

GATE = """\
workers = 2

[[listener]]
addresses = ["0.0.0.0:443"]
mode = "https"
[listener.tls]
min_version = "1.2"
[listener.timeouts]
head = "10s"
[listener.limits]
head = "64KiB"

[[certificate]]
files = "site.pem"

[[route]]
hosts = ["example.com"]
path = "/api/"
upstream = "api"

[upstream.api]
endpoints = ["http://10.0.0.1:8080"]
"""


def edited(*changes, text=GATE):
    """Return the text with each (old, new) applied; every `old` must be there once."""
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


def config_of(text, environ=None):
    return loads(text, "gate.toml", environ or {}, files=False)


def problems_of(text, environ=None, **options):
    options.setdefault("files", False)
    with pytest.raises(ConfigProblems) as caught:
        loads(text, "gate.toml", environ or {}, **options)
    return caught.value.problems


def told(text, environ=None, **options):
    """Return the problems of a text as lines, without the file's name."""
    return [str(problem).removeprefix("gate.toml:") for problem in problems_of(text, environ, **options)]
