"""What lies in the store for certificates that are gone: looked through when a keeper starts, and removed when it is
of no more use.

A certificate is renewed every few weeks, each time with a staple of its own under another key, and nobody would ever
ask for the old one again. Removed is what belongs to no certificate of the configuration and

- is a response that has ended or cannot be read. One that says `revoked` stays: should its certificate come back, no
  older `good` may come back with it;
- is a fetched issuer that was written a month ago: it can be had again;
- is half a file of a process that died while it wrote.

Only names that the store itself gives are looked at, and only plain files: whatever else somebody keeps there is
theirs. Reading ten thousand files takes a second, so this runs in a thread of its own; it shares nothing.
"""

import os
import re
import stat
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509 import ocsp

from headgate.ocsp.settings import MAX_BODY
from headgate.ocsp.store import StoreProblem, problem_of

ISSUER_KEPT: Final = 30 * 86_400.0
_RESPONSE: Final = re.compile(r"([0-9a-f]{64})\.der")
_ISSUER: Final = re.compile(r"([0-9a-f]{64})\.issuer")
_HALF: Final = re.compile(r"\.[0-9a-f]{64}\.(?:der|issuer)\.([0-9]+)\.tmp")


@dataclass(frozen=True, slots=True)
class Pruned:
    """How many files were removed, and what went wrong last, if anything did."""

    count: int = 0
    problem: StoreProblem | None = None


def prune(directory: Path, keys: Collection[str], fingerprints: Collection[str], wall: float) -> Pruned:
    """Remove what is of no more use at `wall`; `keys` and `fingerprints` are those of all certificates that there are
    (`staple_key`, `fingerprint`). Never raises for a disk."""
    count, problem = 0, None
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return Pruned()
    except OSError as error:
        return Pruned(0, problem_of("read", directory, error))
    for name in names:
        path = directory / name
        try:
            if _is_useless(path, keys, fingerprints, wall):
                os.unlink(path)
                count += 1
        except FileNotFoundError:
            continue
        except OSError as error:
            problem = problem_of("remove", path, error)
    return Pruned(count, problem)


def _is_useless(path: Path, keys: Collection[str], fingerprints: Collection[str], wall: float) -> bool:
    if response := _RESPONSE.fullmatch(path.name):
        return response[1] not in keys and _is_file(path) and _is_over(_content(path), wall)
    if issuer := _ISSUER.fullmatch(path.name):
        old = wall - os.lstat(path).st_mtime > ISSUER_KEPT
        return old and issuer[1] not in fingerprints and _is_file(path)
    if half := _HALF.fullmatch(path.name):
        return int(half[1]) != os.getpid() and _is_file(path)
    return False


def _is_file(path: Path) -> bool:
    return stat.S_ISREG(os.lstat(path).st_mode)


def _content(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(MAX_BODY + 1)


def _is_over(der: bytes, wall: float) -> bool:
    """Tell whether a response can never be served again and says nothing that should be remembered."""
    try:
        response = ocsp.load_der_ocsp_response(der)
        if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            return True
        answers = list(response.responses)
        if any(answer.certificate_status is ocsp.OCSPCertStatus.REVOKED for answer in answers):
            return False
        ends = [answer.next_update_utc for answer in answers]
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return True
    return all(end is None or end.timestamp() <= wall for end in ends)
