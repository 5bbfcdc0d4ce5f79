"""What the stapler says: one function for each event, so that every line has its fields in one place.

Each returns (kind, fields). Fields that are shared: `certificate` the names, `responder` the URL, `address` and
`errno` of the last attempt, `attempts` every address that was dialled with its outcome, `asked` every request with
its outcome, `next_seconds` when the next attempt comes, `holds` what is served meanwhile.
"""

import datetime
from collections.abc import Callable

from headgate.http.fetch import DialAttempt
from headgate.ocsp.conversation import Failure, Success
from headgate.ocsp.entry import Entry, Source, Verdict
from headgate.ocsp.store import StoreProblem

Report = tuple[str, dict[str, object]]
Event = Callable[[str, dict[str, object]], None]


def timestamp(seconds: float) -> str:
    """Return wall time as RFC 3339 text in UTC."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def names_of(entry: Entry) -> str:
    """Return the names of a certificate as one text."""
    return ", ".join(entry.names)


def adopted(entry: Entry, success: Success | None = None, delay: float | None = None) -> Report:
    """A response was taken up: "staple-updated", or "certificate-revoked"."""
    held = entry.held
    fields: dict[str, object] = {"certificate": names_of(entry), "source": str(entry.source)}
    if held is not None:
        fields["status"] = held.status
        fields["this_update"] = timestamp(held.this_update)
        fields["next_update"] = timestamp(held.next_update)
    if success is not None:
        fields |= _of_success(success)
    if delay is not None:
        fields["next_seconds"] = round(delay, 1)
    revoked = held is not None and held.status == "revoked"
    return "certificate-revoked" if revoked else "staple-updated", fields


def unchanged(entry: Entry, verdict: Verdict, success: Success, delay: float) -> Report:
    """The responder gave what is held already, or something older: no failure."""
    fields: dict[str, object] = {"certificate": names_of(entry), "verdict": str(verdict)}
    return "staple-unchanged", fields | _of_success(success) | {"next_seconds": round(delay, 1)}


def withdrawn(entry: Entry) -> Report:
    """What was held has ended and is no longer served."""
    return "staple-withdrawn", _window(entry)


def restored(entry: Entry) -> Report:
    """What had ended is valid again, because the clock went back."""
    return "staple-restored", _window(entry)


def failed(entry: Entry, failures: tuple[Failure, ...], delay: float, wall: float) -> Report:
    """A round ended without a staple; the last failure is spelled out."""
    fields: dict[str, object] = {"certificate": names_of(entry)}
    if failures:
        fields |= _of_failure(failures[-1])
    held = entry.usable(wall)
    fields["failures_in_a_row"] = entry.failures_in_a_row
    fields["next_seconds"] = round(delay, 1)
    fields["holds"] = f"{held.status} until {timestamp(held.next_update)}" if held is not None else "nothing"
    if entry.subject.must_staple and held is None:
        fields["must_staple"] = True
    return "staple-failed", fields


def responder_failed(entry: Entry, failure: Failure) -> Report:
    """One responder failed and another was asked in the same round."""
    return "responder-failed", {"certificate": names_of(entry), **_of_failure(failure)}


def source_refused(entry: Entry, source: Source, reason: str, detail: str) -> Report:
    """A stored response or a file was not believed; the network is asked instead."""
    fields: dict[str, object] = {"certificate": names_of(entry), "source": str(source)}
    return "staple-source-refused", fields | {"reason": str(reason), "detail": detail}


def issuer_missing(entry: Entry) -> Report:
    """There is a responder, but no issuer to ask and verify with, and no word where to find it."""
    detail = "the chain lacks the issuer's certificate and the leaf does not say where it lies: put it into the chain"
    return "issuer-missing", {"certificate": names_of(entry), "detail": detail}


def issuer_found(entry: Entry, url: str) -> Report:
    """The issuer's certificate, which the chain lacks, was fetched."""
    return "issuer-found", {"certificate": names_of(entry), "url": url}


def clock_jumped(seconds: float) -> Report:
    """Wall time jumped by so much; it has been answered by holding all staples against it."""
    return "clock-jumped", {"seconds": round(seconds, 3), "next": "every staple is held against it now"}


def defect(where: str, error: BaseException) -> Report:
    """An exception that nobody foresaw; it costs what it happened in, and nothing else."""
    return "defect", {"where": where, "error": f"{type(error).__name__}: {error}"}


def store_failed(problem: StoreProblem, again: float) -> Report:
    """A file could not be read, written or removed; memory goes on. What is left over waits for the next start."""
    fields: dict[str, object] = {"doing": problem.doing, "path": problem.path, "errno": problem.errno}
    following = {} if problem.doing == "remove" else {"next_seconds": again}
    return "staple-store-failed", fields | {"error": problem.error} | following


def pruned(count: int, directory: str) -> Report:
    """Files of certificates that are gone were removed from the store."""
    reason = "of certificates that the configuration no longer has, and of no more use"
    return "staples-pruned", {"files": count, "directory": directory, "reason": reason}


def _window(entry: Entry) -> dict[str, object]:
    held = entry.held
    fields: dict[str, object] = {"certificate": names_of(entry)}
    if held is not None:
        fields["next_update"] = timestamp(held.next_update)
    return fields


def _of_success(success: Success) -> dict[str, object]:
    return {
        "responder": success.responder,
        "address": success.address,
        "milliseconds": round(success.milliseconds, 1),
        "asked": list(success.asked),
        "attempts": [_of_attempt(attempt) for attempt in success.attempts],
    }


def _of_failure(failure: Failure) -> dict[str, object]:
    return {
        "responder": failure.responder,
        "stage": failure.stage,
        "reason": str(failure.reason),
        "detail": failure.detail,
        "address": failure.address,
        "errno": failure.errno,
        "milliseconds": round(failure.milliseconds, 1),
        "asked": list(failure.asked),
        "attempts": [_of_attempt(attempt) for attempt in failure.attempts],
    }


def _of_attempt(attempt: DialAttempt) -> str:
    outcome = "connected" if attempt.errno == 0 else f"{attempt.error} (errno {attempt.errno})"
    return f"{attempt.address}: {outcome} after {attempt.milliseconds:.0f} ms"
