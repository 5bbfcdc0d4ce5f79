"""Verdicts on their way: encoded and read, added up by the supervisor within a bound, kept in a file of some age."""

import os

import orjson
import pytest

from headgate.process import verdicts as module
from headgate.process.channel import ChannelError, Kind, Message
from headgate.process.verdicts import (
    MAX_AGE_SECONDS,
    MAX_FILE,
    MAX_VERDICTS,
    VerdictFile,
    decode_verdicts,
    encode_verdict,
    known_of,
    merge,
)
from headgate.upstream.checks import Verdict
from headgate.upstream.health import DOWN, UP

ILL = Verdict(DOWN, "refused", 5.0)
WELL = Verdict(UP, "status 200", 6.0)
NOW = 1_767_225_600.0


def message(name, endpoints):
    return Message(Kind.HEALTH, {"name": name, "endpoints": endpoints})


@pytest.mark.parametrize("verdict", [ILL, WELL, None])
def test_a_verdict_travels(verdict):
    assert decode_verdicts({"u": encode_verdict(verdict)}) == {"u": verdict}


@pytest.mark.parametrize(
    "value", [None, [], {"u": 1}, {"u": {}}, {"u": {"verdict": "well", "why": "", "since": 1}}]
)
def test_what_is_no_verdict_is_refused(value):
    with pytest.raises(ChannelError):
        decode_verdicts(value)


def test_changes_are_added_up():
    health = {}
    merge(health, message("api", {"a": encode_verdict(ILL), "b": encode_verdict(WELL)}))
    merge(health, message("api", {"a": encode_verdict(WELL), "b": None}))
    assert known_of(health, "api") == {"a": WELL}
    assert known_of(health, "shop") == {}


def test_a_message_that_cannot_be_read_changes_nothing():
    health = {}
    with pytest.raises(ChannelError):
        merge(health, message("api", {"a": encode_verdict(ILL), "b": 7}))
    assert known_of(health, "api") == {}


def test_verdicts_at_the_limit_and_one_more():
    health = {"shop": {str(i): encode_verdict(WELL) for i in range(MAX_VERDICTS - 1)}}
    merge(health, message("api", {"last": encode_verdict(ILL), "beyond": encode_verdict(ILL)}))
    assert list(health["api"]) == ["last"]
    merge(health, message("api", {"last": encode_verdict(WELL)}))  # those that are known go on
    assert known_of(health, "api") == {"last": WELL}


def saved(tmp_path, health=None):
    file = VerdictFile(tmp_path)
    assert file.save(health or {"api": {"a": encode_verdict(ILL)}}, NOW) is None
    return file


def test_a_file_is_read_again(tmp_path):
    file = saved(tmp_path)
    assert file.load(["api"], NOW + 10) == ({"api": {"a": encode_verdict(ILL)}}, None)
    assert file.load(["shop"], NOW + 10) == ({}, None)


@pytest.mark.parametrize(
    ("age", "is_known"), [(MAX_AGE_SECONDS, True), (MAX_AGE_SECONDS + 1, False), (-3600, False)]
)
def test_what_is_too_old_says_nothing(tmp_path, age, is_known):
    found, problem = saved(tmp_path).load(["api"], NOW + age)
    assert bool(found) == is_known
    assert problem is None


def test_without_a_file_nothing_is_known(tmp_path):
    assert VerdictFile(tmp_path).load(["api"], NOW) == ({}, None)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"at": 1}',
        b'{"at": "x", "upstreams": {}}',
        b'{"at": 1, "upstreams": {"api": {"a": 1}}}',
    ],
)
def test_a_file_that_cannot_be_used_is_told_and_nothing_is_known(tmp_path, content):
    file = VerdictFile(tmp_path)
    file.path.write_bytes(content)
    found, problem = file.load(["api"], NOW)
    assert found == {}
    assert problem.path == str(file.path)
    assert problem.error


def test_a_pipe_or_a_link_or_a_large_file_is_not_read(tmp_path):
    file = VerdictFile(tmp_path)
    os.mkfifo(file.path)
    assert file.load(["api"], NOW)[1] is not None
    file.path.unlink()
    (tmp_path / "other").write_bytes(orjson.dumps({"at": NOW, "upstreams": {}}))
    file.path.symlink_to(tmp_path / "other")
    assert file.load(["api"], NOW)[1] is not None
    file.path.unlink()
    with open(file.path, "wb") as large:
        large.truncate(MAX_FILE + 1)
    assert file.load(["api"], NOW)[1].error == "not a file of verdicts"


def test_a_file_that_cannot_be_written_is_told(tmp_path):
    problem = VerdictFile(tmp_path / "absent").save({}, NOW)
    assert problem.doing == "write"
    assert problem.errno


def test_the_file_is_nobody_elses(tmp_path):
    assert saved(tmp_path).path.stat().st_mode & 0o777 == 0o600
    assert module.FILE_NAME == "health.json"
