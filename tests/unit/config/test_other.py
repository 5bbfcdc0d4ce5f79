"""The small tables."""

import pytest
from gate_text import GATE, config_of, told


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("stdout", "stdout"),
        ("off", "off"),
        ("/var/log/x.log", "/var/log/x.log"),
        ("./x.log", "/base/./x.log"),
    ],
)
def test_where_the_access_log_goes(text, kept, monkeypatch):
    monkeypatch.setattr("headgate.config.loader.Path.cwd", lambda: "/base")
    assert config_of(f'{GATE}[log]\naccess = "{text}"').log.access == kept


def test_a_misspelt_word_is_no_file():
    assert told(f'{GATE}[log]\naccess = "stdotu"') == [
        '24: log.access: expected "stdout", "off" or a file, got "stdotu"; a file in this folder is "./stdotu"'
    ]


def test_name_servers_get_their_port():
    assert config_of(f'{GATE}[resolver]\nnameservers = ["192.0.2.1"]').resolver.nameservers == (
        "192.0.2.1:53",
    )


def test_the_share_of_memory():
    assert config_of(f'{GATE}[limits]\nmemory_warning = "50%"').limits.memory_warning == 0.5
    assert told(f"{GATE}[limits]\nmemory_warning = 0.5") == [
        '24: limits.memory_warning: expected a share from "1%" to "100%", got 0.5'
    ]
