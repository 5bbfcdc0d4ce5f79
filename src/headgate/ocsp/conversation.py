"""One conversation with one responder, within one timeout.

GET (RFC 5019 section 5) when the URL is short, repeated as POST when that failed in a way that another method may
mend (a cache that serves something old, a server that knows no GET); SHA-1 CertID first, SHA-256 after
`unauthorized` or `malformedRequest`. So there are four requests at most, and redirects.

What a conversation learns stays in its `Contact`, and the next one begins with it: other addresses than those that
failed (an address that accepts and never answers looks well to a dialler), the method and the hash that worked.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, final

from headgate.clock import Clock
from headgate.errors import HeadgateError
from headgate.http.fetch import DialAttempt, Fetch, FetchError, FetchRequest, FetchResponse
from headgate.ocsp.redirect import Trail, follow
from headgate.ocsp.request import ACCEPT, CONTENT_TYPE, CertIdHash, encode_request, get_url
from headgate.ocsp.response import NotBelieved, Reason, verify
from headgate.ocsp.settings import MAX_AVOID, MAX_BODY
from headgate.ocsp.subject import Subject
from headgate.tls.staple import Staple

_MAX_AGE: Final = 366 * 86_400

# A timer may fire a little before the clock says so. Another request in what is left could only fail, and its failure
# ("connect timed out") would hide the one that tells what is wrong.
_TOO_LITTLE: Final = 0.05

# Stages in which no request reached a responder: another method would fare no better.
_NEVER_ASKED: Final = frozenset({"resolve", "refused-address", "connect", "tls", "redirect"})
_NOT_THE_HOSTS_FAULT: Final = frozenset({"refused-address", "redirect", "content-type", "answer"})
_OTHER_HASH: Final = frozenset({Reason.UNAUTHORIZED, Reason.MALFORMED_REQUEST})
_LATER: Final = frozenset({Reason.TRY_LATER, Reason.INTERNAL_ERROR, Reason.SIG_REQUIRED})


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a responder gave no staple. `stage` is a `FetchError` stage, or one of redirect, status, content-type,
    answer (see `reason` for why it was not believed), overran; `reason` is a stable word; `address` and `errno` are
    of the last attempt; `asked` lists the requests made, e.g. "GET sha1: http-503"."""

    responder: str
    stage: str
    reason: str
    detail: str
    address: str = ""
    errno: int = 0
    milliseconds: float = 0.0
    attempts: tuple[DialAttempt, ...] = ()
    asked: tuple[str, ...] = ()

    def __str__(self) -> str:
        number = f" (errno {self.errno})" if self.errno else ""
        # A dial that failed lists each address with its time: both would stand here twice.
        if self.stage == "connect" and self.address and self.address in self.detail:
            return f"{self.responder}: {self.reason}: {self.detail}{number}"
        where = f" at {self.address}" if self.address else ""
        return (
            f"{self.responder}{where}: {self.reason}: {self.detail}{number} after {self.milliseconds:.0f} ms"
        )

    @property
    def blames_host(self) -> bool:
        """Whether its host is to be asked by one fetch at a time. A 404 is an answer; a 503 and a 429 are cries."""
        if self.stage == "status":
            return self.reason.startswith("http-5") or self.reason == "http-429"
        return self.stage not in _NOT_THE_HOSTS_FAULT


@dataclass(frozen=True, slots=True)
class Success:
    """A believed answer. `max_age` is Cache-Control's, less Age, in seconds (0: none); `failures` are those of the
    responders that were asked before this one."""

    staple: Staple
    responder: str
    address: str
    milliseconds: float
    max_age: float
    attempts: tuple[DialAttempt, ...]
    asked: tuple[str, ...] = ()
    failures: tuple[Failure, ...] = ()


class ConversationFailed(HeadgateError):
    """The responder gave no staple."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(str(failure))
        self.failure = failure


@dataclass(slots=True)
class Contact:
    """What is known about one responder: addresses that failed (oldest first), the hash to begin with, and whether
    GET is passed over."""

    avoid: tuple[str, ...] = ()
    cert_id: CertIdHash = CertIdHash.SHA1
    post: bool = False

    def failed_at(self, address: str) -> None:
        """Try this address last from now on. When even an avoided one was tried, all failed: begin again."""
        if address:
            self.avoid = (address,) if address in self.avoid else (*self.avoid, address)[-MAX_AVOID:]

    def answered_at(self, address: str) -> None:
        """This address is well; others stay avoided, because nothing says that they recovered."""
        self.avoid = tuple(other for other in self.avoid if other != address)


@dataclass(frozen=True, slots=True)
class _Way:
    method: str
    url: str
    body: bytes
    cert_id: CertIdHash

    def __str__(self) -> str:
        return f"{self.method} {self.cert_id}"


@final
class Conversation:
    """Asks one responder about one certificate; made for one use."""

    def __init__(
        self, fetch: Fetch, clock: Clock, subject: Subject, responder: str, contact: Contact
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._subject = subject
        self._responder = responder
        self._contact = contact
        self._asked: list[str] = []

    async def hold(self, timeout: float) -> Success:
        """Ask in every way that may help, for at most `timeout` seconds.

        Raises: ConversationFailed with the last failure."""
        deadline = self._clock.now() + timeout
        get_failed = self._contact.post
        ways = self._ways()
        way: _Way | None = next(ways)
        while way is not None:
            try:
                success = await self._ask(way, deadline - self._clock.now())
            except ConversationFailed as error:
                failure = error.failure
                self._asked.append(f"{way}: {failure.reason}")
                if failure.reason not in _OTHER_HASH:
                    self._contact.failed_at(failure.address)
                get_failed = get_failed or (way.method == "GET" and failure.stage != "answer")
                following = _next_way(ways, way, failure)
                if following is None or deadline - self._clock.now() < _TOO_LITTLE:
                    # A GET that ate all the time leaves the POST to the next conversation.
                    self._contact.post = way.method == "GET" and failure.stage not in _NEVER_ASKED
                    raise ConversationFailed(replace(failure, asked=tuple(self._asked))) from error
                way = following
                continue
            self._asked.append(f"{way}: {success.staple.status}")
            self._contact.cert_id = way.cert_id
            self._contact.post = get_failed and way.method == "POST"
            self._contact.answered_at(success.address)
            return replace(success, asked=tuple(self._asked))
        raise AssertionError("a conversation has at least one way")

    def _ways(self) -> Iterator[_Way]:
        subject, contact = self._subject, self._contact
        if subject.issuer is None:
            failure = Failure(
                self._responder, "answer", Reason.NO_ISSUER, "the issuer's certificate is not known"
            )
            raise ConversationFailed(failure)
        other = CertIdHash.SHA256 if contact.cert_id is CertIdHash.SHA1 else CertIdHash.SHA1
        for cert_id in (contact.cert_id, other):
            request = encode_request(subject.leaf, subject.issuer, cert_id)
            url = None if contact.post else get_url(self._responder, request)
            if url is not None:
                yield _Way("GET", url, b"", cert_id)
            yield _Way("POST", self._responder, request, cert_id)

    async def _ask(self, way: _Way, timeout: float) -> Success:
        request = FetchRequest(
            method=way.method,
            url=way.url,
            timeout=timeout,
            body=way.body,
            content_type=CONTENT_TYPE if way.method == "POST" else "",
            accept=ACCEPT,
            max_body=MAX_BODY,
            avoid=frozenset(self._contact.avoid),
        )
        trail = Trail()
        try:
            response = await follow(self._fetch, self._clock, request, trail)
        except FetchError as error:
            raise self._failed(
                trail, error.stage, error.stage, error.detail, error.address, error.errno
            ) from error
        if response.status != 200:
            detail = f"status {response.status}, expected 200"
            raise self._failed(trail, "status", f"http-{response.status}", detail, response.address)
        content_type = response.headers.get("content-type", "")
        if content_type.partition(";")[0].strip().lower() != ACCEPT:
            detail = f"{content_type[:100]!r}, expected {ACCEPT}"
            raise self._failed(trail, "content-type", "content-type", detail, response.address)
        try:
            staple = verify(response.body, self._subject, self._clock.wall())
        except NotBelieved as error:
            raise self._failed(trail, "answer", error.reason, error.detail, response.address) from error
        max_age = max_age_of(response)
        return Success(staple, self._responder, trail.address, trail.milliseconds, max_age, trail.attempts)

    def _failed(
        self, trail: Trail, stage: str, reason: str, detail: str, address: str, errno: int = 0
    ) -> ConversationFailed:
        where = address or trail.address
        milliseconds = trail.milliseconds
        failure = Failure(self._responder, stage, reason, detail, where, errno, milliseconds, trail.attempts)
        return ConversationFailed(failure)


def _next_way(ways: Iterator[_Way], way: _Way, failure: Failure) -> _Way | None:
    """Return the way to try after `way` failed so, or None when no other promises more."""
    if failure.stage in _NEVER_ASKED or failure.reason in _LATER:
        return None
    following = next(ways, None)
    if failure.reason == Reason.UNAUTHORIZED:
        # This is about the CertID, not about the method.
        while following is not None and following.cert_id is way.cert_id:
            following = next(ways, None)
    elif failure.reason != Reason.MALFORMED_REQUEST and following is not None:
        # Only a responder that did not understand the CertID is asked in the other hash.
        following = following if following.cert_id is way.cert_id else None
    return following


def max_age_of(response: FetchResponse) -> float:
    """Return how long the responder says that asking again is pointless (RFC 9111 section 5.2.2.1), less Age."""
    max_age = 0
    for directive in response.headers.get("cache-control", "").lower().split(","):
        name, _, value = directive.strip().partition("=")
        if name in ("no-cache", "no-store"):
            return 0.0
        if name == "max-age":
            max_age = _seconds(value)
    return float(max(0, max_age - _seconds(response.headers.get("age", ""))))


def _seconds(text: str) -> int:
    digits = text.strip().strip('"')
    return min(int(digits), _MAX_AGE) if digits.isascii() and digits.isdigit() and len(digits) <= 10 else 0
