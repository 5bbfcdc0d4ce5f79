"""Verdicts of probes on their way: from the keeper to the supervisor and on to the workers, and over restarts.

The keeper says what changed (a HEALTH message: one upstream, some of its endpoints); the supervisor keeps the sum of
it in its Snapshot, so that a worker or a keeper that is restarted begins with what is known; a worker applies it.
`VerdictFile` carries it over a restart of the whole gate. A verdict is known by upstream and URL.
"""

import errno
import os
import stat
from collections.abc import Collection
from pathlib import Path
from typing import Final, final

import orjson

from headgate.ocsp.store import StoreProblem, problem_of, replace_file
from headgate.process.channel import ChannelError, Json, Message
from headgate.upstream.checks import Verdict
from headgate.upstream.health import PENDING, VERDICTS

# Of all upstreams: some 300 bytes each in the supervisor, and in every Snapshot.
MAX_VERDICTS: Final = 20_000
# Endpoints in one message: far below what a child may send at once.
BATCH: Final = 200
FILE_NAME: Final = "health.json"
# What was known longer ago says nothing any more: a gate that was down for an hour asks anew.
MAX_AGE_SECONDS: Final = 300.0
MAX_FILE: Final = 16 * 1024 * 1024
_AHEAD: Final = 60.0  # a clock that was set back a little


def encode_verdict(verdict: Verdict | None) -> Json:
    """Return a verdict as it travels; None takes the one that is known away."""
    if verdict is None:
        return None
    return {"verdict": VERDICTS[verdict.verdict], "why": verdict.why, "since": verdict.since}


def decode_verdicts(value: Json) -> dict[str, Verdict | None]:
    """Read the endpoints of one upstream, by URL. Raises `ChannelError` when something is no verdict."""
    if not isinstance(value, dict):
        raise ChannelError("verdicts that are no object")
    return {url: None if item is None else _decode(item) for url, item in value.items()}


def _decode(item: Json) -> Verdict:
    if isinstance(item, dict):
        word, why, since = item.get("verdict"), item.get("why"), item.get("since")
        if word in VERDICTS and isinstance(why, str) and isinstance(since, (int, float)):
            return Verdict(VERDICTS.index(str(word)), why, float(since))
    raise ChannelError(f"no verdict: {str(item)[:60]}")


def known_of(health: dict[str, Json], name: str) -> dict[str, Verdict]:
    """Return what a Snapshot knows of an upstream; nothing of it where something is no verdict."""
    try:
        found = decode_verdicts(health.get(name, {}))
    except ChannelError:
        return {}
    return {url: verdict for url, verdict in found.items() if verdict is not None}


def merge(health: dict[str, Json], message: Message) -> None:
    """Take a HEALTH message into what is known. Raises `ChannelError` for one that cannot be read."""
    decode_verdicts(message.item("endpoints"))
    changes = message.item("endpoints")
    known = health.setdefault(message.text("name"), {})
    if not isinstance(changes, dict) or not isinstance(known, dict):
        raise ChannelError("HEALTH without endpoints")
    count = sum(len(group) for group in health.values() if isinstance(group, dict))
    for url, item in changes.items():
        if item is None:
            known.pop(url, None)
        elif url in known or count < MAX_VERDICTS:
            count += url not in known
            known[url] = item


@final
class VerdictFile:
    """`health.json` in `state_dir`, whole or not at all; its content is believed for `MAX_AGE_SECONDS`."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / FILE_NAME

    def __repr__(self) -> str:
        return f"<VerdictFile {self.path}>"

    def save(self, health: dict[str, Json], wall: float) -> StoreProblem | None:
        """Write what is known; return what went wrong, or None."""
        try:
            replace_file(self.path, orjson.dumps({"at": wall, "upstreams": health}) + b"\n")
        except OSError as error:
            return problem_of("write", self.path, error)
        return None

    def load(self, upstreams: Collection[str], wall: float) -> tuple[dict[str, Json], StoreProblem | None]:
        """Return what an earlier run knew of these upstreams, {} when that is too long ago or cannot be read."""
        try:
            data = self._read()
        except FileNotFoundError:
            return {}, None
        except OSError as error:
            return {}, problem_of("read", self.path, error)
        try:
            tree = orjson.loads(data)
            age = wall - float(tree["at"])
            found: dict[str, Json] = {
                name: {url: item for url, item in group.items() if _is_worth_keeping(item)}
                for name, group in tree["upstreams"].items()
                if name in upstreams
            }
        except (ValueError, TypeError, KeyError, AttributeError, ChannelError) as error:
            return {}, StoreProblem("read", str(self.path), errno.EINVAL, f"{type(error).__name__}: {error}")
        if not -_AHEAD <= age <= MAX_AGE_SECONDS:
            return {}, None
        return found, None

    def _read(self) -> bytes:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(self.path, flags)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or found.st_size > MAX_FILE:
                raise OSError(errno.EFBIG, "not a file of verdicts")
            with os.fdopen(os.dup(descriptor), "rb") as file:
                return file.read(MAX_FILE)
        finally:
            os.close(descriptor)


def _is_worth_keeping(item: Json) -> bool:
    """Tell whether this is a verdict that a probe gave."""
    return _decode(item).verdict != PENDING
