"""Files of users (htpasswd) on their way: read by the supervisor, watched, sent to the workers in Snapshots.

A worker runs as the configured user, who need not be able to read them. What cannot be used when the gate starts ends
the start; later, what was read before goes on, and the file and the reason are told. The keeper never sees them.
"""

from pathlib import Path

from headgate.config.model import Config
from headgate.errors import ConfigError
from headgate.process.channel import Json, Kind, Message
from headgate.process.client_files import look
from headgate.process.parts import Events
from headgate.proxy.htpasswd import Htpasswd, HtpasswdError


class UserFiles:
    """The files of all forward listeners that ask who their clients are."""

    def __init__(self, config: Config, events: Events) -> None:
        self._paths = {
            index: listener.forward.users
            for index, listener in enumerate(config.listener)
            if listener.mode == "forward" and listener.forward.users is not None
        }
        self._events = events
        self._seen: dict[int, tuple[int, int, int]] = {}
        self._texts: dict[int, str] = {}
        self._failures: dict[str, str] = {}

    def load(self) -> None:
        """Read everything. Raises `ConfigError` for what cannot be used."""
        for index, path in self._paths.items():
            self._seen[index] = look(str(path))
            try:
                self._texts[index] = _read(path)
            except HtpasswdError as error:
                raise ConfigError(f"listener[{index}].forward.users: {path}: {error}") from error

    def poll(self) -> bool:
        """Look for changes; tell whether somebody else is to be let in."""
        changed = False
        for index, path in self._paths.items():
            seen = look(str(path))
            if seen == self._seen.get(index):
                continue
            self._seen[index] = seen
            try:
                text = _read(path)
            except HtpasswdError as error:
                self._fail(str(path), f"{error}; the users of before are still let in")
                continue
            if self._failures.pop(str(path), ""):
                self._events.event("users-file-mended", limit_key=str(path), file=str(path))
            changed |= text != self._texts.get(index)
            self._texts[index] = text
        return changed

    def _fail(self, file: str, reason: str) -> None:
        if self._failures.get(file) != reason:
            self._events.event("users-file-problem", "error", limit_key=file, file=file, reason=reason)
        self._failures[file] = reason

    def to_json(self) -> dict[str, Json]:
        """Return what goes into a Snapshot: the file by the listener's place in the configuration."""
        return {str(index): {"users": text} for index, text in self._texts.items()}

    def problems(self) -> dict[str, str]:
        """Return what is wrong now, by file."""
        return dict(self._failures)


class SnapshotUsers:
    """The users of a Snapshot: equal to others when their file is the same."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._users = Htpasswd(text.encode("latin-1"))

    def __repr__(self) -> str:
        return f"<SnapshotUsers {self._users!r}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SnapshotUsers) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def verify(self, user: bytes, password: bytes) -> bool:
        """Tell whether this is the user's password; takes as long as the hash wants it to."""
        return self._users.verify(user, password)


def users_of(users: dict[str, Json], index: int) -> SnapshotUsers | None:
    """Return the users of a listener, None when the Snapshot has none. Raises `HtpasswdError`, though the supervisor
    has read them."""
    value = users.get(str(index))
    return SnapshotUsers(Message(Kind.SNAPSHOT, value).text("users")) if value is not None else None


def _read(path: Path) -> str:
    """Return a file that can be used. Raises `HtpasswdError`."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise HtpasswdError(f"{error.strerror} (errno {error.errno})") from error
    Htpasswd(content)
    return content.decode("latin-1")
