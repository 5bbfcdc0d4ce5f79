"""htpasswd files: read, watched, kept while they are broken, told, and taken up from a Snapshot."""

import types

import pytest

from headgate.config.loader import load
from headgate.errors import ConfigError
from headgate.process.user_files import SnapshotUsers, UserFiles, users_of
from headgate.proxy.htpasswd import apr1


class Events:
    def __init__(self):
        self.seen = []

    def event(self, name, level="info", *, limit_key="", **fields):
        self.seen.append(name)


def line(user, password):
    return f"{user}:{apr1(password.encode(), b'salt').decode()}\n"


@pytest.fixture
def made(tmp_path):
    (tmp_path / "users").write_text(line("alice", "pw"))
    (tmp_path / "headgate.toml").write_text(
        '[[listener]]\naddresses = ["127.0.0.1:8080"]\nmode = "http"\n'
        '[[listener]]\naddresses = ["127.0.0.1:3128"]\nmode = "forward"\n[listener.forward]\nusers = "users"\n'
        "[[route]]\nrespond = { status = 204 }\n"
    )
    events = Events()
    files = UserFiles(load(tmp_path / "headgate.toml"), events)
    return types.SimpleNamespace(files=files, path=tmp_path / "users", events=events)


def test_a_snapshot_has_them_by_the_place_of_the_listener(made):
    made.files.load()
    users = users_of(made.files.to_json(), 1)
    assert users.verify(b"alice", b"pw")
    assert not users.verify(b"alice", b"no")
    assert users_of(made.files.to_json(), 0) is None
    assert "alice" not in repr(users)


def test_a_file_that_cannot_be_used_ends_the_start(made):
    made.path.write_text("alice:plain\n")
    with pytest.raises(ConfigError, match=r"listener\[1\].forward.users: .*line 1: a hash"):
        made.files.load()
    made.path.unlink()
    with pytest.raises(ConfigError, match="errno 2"):
        made.files.load()


def test_a_change_is_noticed_once(made):
    made.files.load()
    assert made.files.poll() is False
    made.path.write_text(line("alice", "pw") + line("bob", "pw"))
    assert made.files.poll() is True
    assert made.files.poll() is False
    assert users_of(made.files.to_json(), 1).verify(b"bob", b"pw")


def test_a_file_that_breaks_is_told_once_and_the_users_of_before_stay(made):
    made.files.load()
    made.path.write_text("alice")
    assert made.files.poll() is False
    made.path.write_text("alice\n")
    assert made.files.poll() is False
    assert made.events.seen == ["users-file-problem"]
    assert "still let in" in next(iter(made.files.problems().values()))
    assert users_of(made.files.to_json(), 1).verify(b"alice", b"pw")
    made.path.write_text(line("alice", "new"))
    assert made.files.poll() is True
    assert made.events.seen == ["users-file-problem", "users-file-mended"]
    assert made.files.problems() == {}


def test_users_are_equal_when_their_file_is():
    one, same, other = (SnapshotUsers(line("a", password)) for password in ("x", "x", "y"))
    assert one == same
    assert hash(one) == hash(same)
    assert one != other
    assert one != "users"
