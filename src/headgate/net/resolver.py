"""Names to addresses, for everything that dials (RFC 1035, RFC 6761 localhost, RFC 8305 section 3 asynchronous DNS).

A look-up goes through the sources in order, and the first that knows the name answers: an IP literal is itself,
localhost is loopback of both families, then the hosts file, then the nameservers (or getaddrinfo, with `system`).
A and AAAA are asked side by side, and each family is delivered when it comes: the dialer need not wait for both.

Answers are kept for their TTL, within bounds; that a name does not exist, briefly; that servers failed, one second
(the least that RFC 9520 asks for), so that a healed server is noticed. Equal questions asked at the same time are
one question; it goes on when its asker gives up, so that the next one finds the answer.
"""

import asyncio
import socket
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import dns.exception
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype

from headgate.clock import Clock, SystemClock
from headgate.counters import RESOLVE_DROPPED_ADDRESSES, RESOLVE_DROPPED_ENTRIES, RESOLVE_FAILED, Counters
from headgate.errors import HeadgateError
from headgate.net.addresses import (
    IPV4,
    IPV6,
    LOOPBACK_IPV4,
    LOOPBACK_IPV6,
    Address,
    Family,
    is_localhost,
    parse_endpoint,
    parse_ip,
)
from headgate.net.dns_query import DNS_PORT, Answer, NoAnswer, Question, ask, os_error_text
from headgate.net.hosts import HostsFile, ResolvConf, ResolvConfFile
from headgate.net.system_lookup import system_lookup

# An origin that moves is found within five minutes, whatever its TTL says (nginx and Envoy obey any TTL).
MAX_POSITIVE_TTL: Final = 300.0
# A name that is created, or a zone that heals, is seen within seconds.
MAX_NEGATIVE_TTL: Final = 5.0
FAILURE_TTL: Final = 1.0
# getaddrinfo tells no TTL.
SYSTEM_TTL: Final = 5.0
# Names publish 1 to 13 addresses; each may become a socket of one dial.
MAX_ADDRESSES: Final = 32
MAX_ENTRIES: Final = 4096
# getaddrinfo cannot be cancelled: so many threads may hang in it, the others wait for their turn.
MAX_SYSTEM_THREADS: Final = 16

_RECORDS: Final[dict[Family, dns.rdatatype.RdataType]] = {"ipv6": dns.rdatatype.AAAA, "ipv4": dns.rdatatype.A}

Deliver = Callable[[Family, tuple[Address, ...]], None]


class ResolveError(HeadgateError):
    """No address. `reason` is a stable word: bad-name, not-found, no-address, timeout, failure, no-nameservers."""

    def __init__(self, name: str, reason: str, detail: str) -> None:
        super().__init__(f"cannot resolve {name}: {detail}")
        self.name = name
        self.reason = reason
        self.detail = detail


class Lookup(Protocol):
    """What the dialer wants of a resolver; `Resolver` is one."""

    def known(self, host: str) -> tuple[Address, ...]:
        """Return the addresses of `host` that are at hand, without asking anybody."""
        ...

    async def lookup(self, host: str, deliver: Deliver, *, timeout: float) -> tuple[str, ...]:
        """Call `deliver(family, addresses)` once for each family as it becomes known, () when there are none.

        Returns what went wrong beside that, one line each. Raises `ResolveError` when no address was delivered."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolverSettings:
    """How names are resolved. `nameservers` are "ip", "ip:port" or "[ip]:port"; empty: those of resolv.conf, with
    its search list. `system` asks getaddrinfo instead. After `stagger` seconds of silence the next server is asked
    too; one try is given up after `try_timeout` seconds."""

    nameservers: tuple[str, ...] = ()
    system: bool = False
    hosts_path: str = "/etc/hosts"
    resolv_conf_path: str = "/etc/resolv.conf"
    stagger: float = 1.0
    try_timeout: float = 5.0


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known about one name and family until `expires`; `reason` is "" when there are addresses."""

    addresses: tuple[Address, ...]
    reason: str
    note: str
    expires: float


@dataclass(frozen=True, slots=True)
class Watched:
    """What a name stands for now, for who keeps asking: the addresses of each family, None where the question for
    that family failed, and in how many seconds it is worth while to ask again. `problem` is what went wrong."""

    addresses: Mapping[Family, tuple[Address, ...] | None]
    seconds: float
    problem: str = ""


_Key = tuple[str, str]


class Resolver:
    """The resolver of one process; use it from one event loop, `close` it before that ends."""

    def __init__(
        self,
        settings: ResolverSettings | None = None,
        *,
        counters: Counters | None = None,
        clock: Clock | None = None,
        max_entries: int = MAX_ENTRIES,
    ) -> None:
        self._settings = settings or ResolverSettings()
        for server in self._settings.nameservers:
            parse_endpoint(server, DNS_PORT)
        self._counters = counters or Counters()
        self._clock = clock or SystemClock()
        self._max_entries = max_entries
        self._hosts = HostsFile(self._settings.hosts_path)
        self._resolv_conf = ResolvConfFile(self._settings.resolv_conf_path)
        self._cache: OrderedDict[_Key, _Known] = OrderedDict()
        self._asking: dict[_Key, asyncio.Task[_Known]] = {}
        self._questions: dict[_Key, Question] = {}
        self._preferred = ""
        self._system_slots = asyncio.Semaphore(MAX_SYSTEM_THREADS)

    def __repr__(self) -> str:
        source = "system" if self._settings.system else ", ".join(self._settings.nameservers) or "resolv.conf"
        return f"<Resolver {source}: {len(self._cache)} kept, {len(self._asking)} being asked>"

    async def resolve(self, host: str, *, timeout: float) -> tuple[Address, ...]:
        """Return every address of `host`, IPv6 first. Raises `ResolveError` when there is none within `timeout`."""
        found: dict[Family, tuple[Address, ...]] = {}
        await self.lookup(host, found.__setitem__, timeout=timeout)
        return found.get(IPV6, ()) + found.get(IPV4, ())

    async def lookup(self, host: str, deliver: Deliver, *, timeout: float) -> tuple[str, ...]:
        """Deliver the addresses of `host` by family as they come; see `Lookup`. `timeout` is in seconds."""
        if (addresses := self._at_hand(host)) is not None:
            _deliver_both(addresses, deliver)
            return ()
        asked: list[Question] = []
        try:
            name = _checked_name(host)
            async with asyncio.timeout(timeout):
                if self._settings.system:
                    known = await self._known_by_system(host)
                    _deliver_both(known.addresses, deliver)
                    return ()
                return await self._by_dns(host, name, deliver, asked)
        except TimeoutError:
            self._counters.values[RESOLVE_FAILED] += 1
            raise ResolveError(host, "timeout", _timeout_detail(timeout, asked)) from None
        except ResolveError:
            self._counters.values[RESOLVE_FAILED] += 1
            raise

    def known(self, host: str) -> tuple[Address, ...]:
        """Return the addresses of `host` that are at hand and not out of date, without asking anybody."""
        if (addresses := self._at_hand(host)) is not None:
            return addresses
        try:
            keys = self._keys(host)
        except ResolveError:
            return ()
        found = [known for key in keys if (known := self._kept(key)) is not None]
        return tuple(address for known in found for address in known.addresses)

    def _keys(self, host: str) -> list[_Key]:
        if self._settings.system:
            return [_system_key(host)]
        names = _candidates(_checked_name(host), self._configuration(host))
        return [(name.to_text().lower(), family) for name in names for family in _RECORDS]

    async def watch(self, host: str, *, timeout: float) -> Watched:
        """Return all addresses of `host` once both families have answered. Raises `ResolveError` as `lookup` does."""
        if (addresses := self._at_hand(host)) is not None:
            return Watched(_by_family(addresses), SYSTEM_TTL)
        asked: list[Question] = []
        try:
            name = _checked_name(host)
            async with asyncio.timeout(timeout):
                if self._settings.system:
                    known = await self._known_by_system(host)
                    return Watched(_by_family(known.addresses), known.expires - self._clock.now())
                return await self._watch_families(host, name, asked)
        except TimeoutError:
            raise ResolveError(host, "timeout", _timeout_detail(timeout, asked)) from None

    async def _watch_families(self, host: str, name: dns.name.Name, asked: list[Question]) -> Watched:
        conf = self._configuration(host)
        notes: list[str] = []
        reason = "not-found"
        for candidate in _candidates(name, conf):
            both = await asyncio.gather(*(self._one(candidate, family, conf, asked) for family in _RECORDS))
            said = [known.note for known in both if known.reason == "failure"]
            if any(known.addresses for known in both):
                addresses = {
                    family: None if known.reason == "failure" else known.addresses
                    for family, known in zip(_RECORDS, both, strict=True)
                }
                seconds = min(known.expires for known in both if known.addresses) - self._clock.now()
                return Watched(addresses, seconds, "; ".join(said))
            notes += [known.note for known in both]
            reason = max(reason, *(known.reason for known in both), key=_GRAVITY.index)
        raise ResolveError(host, reason, "; ".join(notes))

    async def records(self, host: str, record: dns.rdatatype.RdataType, *, timeout: float) -> Answer:
        """Ask the nameservers for other records than addresses, of a full name; nothing is kept.

        Raises `ResolveError` when none of them answers within `timeout`."""
        name = _checked_name(host)
        question = Question(name if name.is_absolute() else name.concatenate(dns.name.root), record)
        settings = self._settings
        servers = self._configuration(host).nameservers
        try:
            async with asyncio.timeout(timeout):
                return await ask(
                    question, list(servers), stagger=settings.stagger, timeout=settings.try_timeout
                )
        except NoAnswer:
            raise ResolveError(host, "failure", question.story(0.0)) from None
        except TimeoutError:
            raise ResolveError(host, "timeout", _timeout_detail(timeout, [question])) from None

    async def close(self) -> None:
        """Give up what is being asked; who waits for it gets a `ResolveError`."""
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _at_hand(self, host: str) -> tuple[Address, ...] | None:
        if (literal := parse_ip(host)) is not None:
            return (literal,)
        if is_localhost(host):
            return (LOOPBACK_IPV6, LOOPBACK_IPV4)
        return self._hosts.lookup(host) or None

    # -- nameservers

    async def _by_dns(
        self, host: str, name: dns.name.Name, deliver: Deliver, asked: list[Question]
    ) -> tuple[str, ...]:
        conf = self._configuration(host)
        reason, notes = "not-found", list[str]()
        for candidate in _candidates(name, conf):
            best, said = await self._both_families(candidate, conf, deliver, asked)
            if not best:
                return tuple(said)
            notes += said
            reason = max(reason, best, key=_GRAVITY.index)
        raise ResolveError(host, reason, "; ".join(notes))

    def _configuration(self, host: str) -> ResolvConf:
        if self._settings.nameservers:
            return ResolvConf(self._settings.nameservers)
        path = self._settings.resolv_conf_path
        try:
            conf = self._resolv_conf.load()
        except OSError as error:
            detail = f"no nameservers are configured and {path} cannot be read: {os_error_text(error)}"
            raise ResolveError(host, "no-nameservers", detail) from None
        if not conf.nameservers:
            raise ResolveError(host, "no-nameservers", f"no nameservers are configured and {path} names none")
        return conf

    async def _both_families(
        self, name: dns.name.Name, conf: ResolvConf, deliver: Deliver, asked: list[Question]
    ) -> tuple[str, list[str]]:
        """Ask for both families of one full name; return the reason ("" when there is an address) and the notes.

        Nothing is delivered until one family has addresses: else the next search domain is still to be tried."""
        waiting = {asyncio.ensure_future(self._one(name, family, conf, asked)): family for family in _RECORDS}
        known: dict[Family, _Known] = {}
        try:
            while waiting:
                done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                found_before = any(k.addresses for k in known.values())
                fresh = {waiting.pop(task): task.result() for task in done}
                known |= fresh
                if any(k.addresses for k in known.values()):
                    for family, what in (fresh if found_before else known).items():
                        deliver(family, what.addresses)
        finally:
            for task in waiting:
                task.cancel()
        notes = [k.note for k in known.values() if k.note]
        if any(k.addresses for k in known.values()):
            return "", notes
        return max((k.reason for k in known.values()), key=_GRAVITY.index), notes

    async def _one(
        self, name: dns.name.Name, family: Family, conf: ResolvConf, asked: list[Question]
    ) -> _Known:
        key = (name.to_text().lower(), family)
        if (known := self._kept(key)) is not None:
            return known
        if key not in self._asking:
            self._questions[key] = Question(name, _RECORDS[family])
        question = self._questions[key]
        asked.append(question)
        return await self._shared(key, lambda: self._ask(key, question, conf))

    async def _shared(self, key: _Key, ask_it: Callable[[], Coroutine[None, None, _Known]]) -> _Known:
        """Wait for the answer that somebody already waits for, else ask. Whoever asked may leave: it goes on."""
        if key not in self._asking:
            task = asyncio.get_running_loop().create_task(ask_it(), name=f"resolve {key[0]} {key[1]}")
            task.add_done_callback(lambda _: self._forget(key))
            self._asking[key] = task
        task = self._asking[key]
        await asyncio.wait([task])  # unlike awaiting the task itself, this does not cancel it with us
        if task.cancelled():
            raise ResolveError(key[0], "failure", "the resolver was closed")
        return task.result()

    def _forget(self, key: _Key) -> None:
        self._asking.pop(key, None)
        self._questions.pop(key, None)

    async def _ask(self, key: _Key, question: Question, conf: ResolvConf) -> _Known:
        settings = self._settings
        servers = sorted(conf.nameservers, key=lambda server: server != self._preferred)
        try:
            answer = await ask(question, servers, stagger=settings.stagger, timeout=settings.try_timeout)
            self._preferred = answer.server
            known = self._read(key, question, answer)
        except NoAnswer:
            record = dns.rdatatype.to_text(question.record)
            note = f"{record} {key[0]}: {question.story(0.0)}"
            known = _Known((), "failure", note, self._clock.now() + FAILURE_TTL)
        return self._keep(key, known)

    def _read(self, key: _Key, question: Question, answer: Answer) -> _Known:
        """Make of a reply what is to be known: addresses, that there are none, or that the name does not exist."""
        now = self._clock.now()
        where = f"{dns.rdatatype.to_text(question.record)} {key[0]}"
        try:
            chain = answer.message.resolve_chaining()
        except dns.exception.DNSException as error:
            note = f"{where}: {answer.server} {error or type(error).__name__}"
            return _Known((), "failure", note, now + FAILURE_TTL)
        if answer.message.rcode() == dns.rcode.NXDOMAIN:
            note = f"{where}: NXDOMAIN from {answer.server}"
            return _Known((), "not-found", note, now + min(chain.minimum_ttl, MAX_NEGATIVE_TTL))
        texts = [rdata.address for rdata in chain.answer] if chain.answer is not None else []
        addresses = tuple(address for text in texts if (address := parse_ip(text)) is not None)
        if not addresses:
            note = f"{where}: no such record at {answer.server}"
            return _Known((), "no-address", note, now + min(chain.minimum_ttl, MAX_NEGATIVE_TTL))
        return _Known(self._bounded(addresses), "", "", now + min(chain.minimum_ttl, MAX_POSITIVE_TTL))

    # -- getaddrinfo

    async def _known_by_system(self, host: str) -> _Known:
        """Return the addresses of `host`. Raises `ResolveError` when there are none."""
        key = _system_key(host)
        known = self._kept(key) or await self._shared(key, lambda: self._ask_system(key, host))
        if not known.addresses:
            raise ResolveError(host, known.reason, known.note)
        return known

    async def _ask_system(self, key: _Key, host: str) -> _Known:
        try:
            async with self._system_slots:
                found = await system_lookup(host)
        except socket.gaierror as error:
            reason = "not-found" if error.errno in _EAI_NOT_FOUND else "failure"
            note = f"getaddrinfo: {error.strerror}"
            return self._keep(key, _Known((), reason, note, self._clock.now() + FAILURE_TTL))
        except OSError as error:
            note = f"getaddrinfo: {os_error_text(error)}"
            return self._keep(key, _Known((), "failure", note, self._clock.now() + FAILURE_TTL))
        addresses = tuple(address for text in found if (address := parse_ip(text)) is not None)
        return self._keep(key, _Known(self._bounded(addresses), "", "", self._clock.now() + SYSTEM_TTL))

    # -- the cache

    def _kept(self, key: _Key) -> _Known | None:
        known = self._cache.get(key)
        if known is None:
            return None
        if known.expires <= self._clock.now():
            del self._cache[key]
            return None
        self._cache.move_to_end(key)
        return known

    def _keep(self, key: _Key, known: _Known) -> _Known:
        self._cache[key] = known
        self._cache.move_to_end(key)
        while len(self._cache) > self._max_entries:
            self._cache.popitem(last=False)
            self._counters.values[RESOLVE_DROPPED_ENTRIES] += 1
        return known

    def _bounded(self, addresses: tuple[Address, ...]) -> tuple[Address, ...]:
        self._counters.values[RESOLVE_DROPPED_ADDRESSES] += max(0, len(addresses) - MAX_ADDRESSES)
        return addresses[:MAX_ADDRESSES]


# Of several reasons the last one in this order is told: it says most about what to do.
_GRAVITY: Final = ("not-found", "no-address", "failure")
_EAI_NOT_FOUND: Final = (socket.EAI_NONAME, socket.EAI_NODATA)


def _system_key(host: str) -> _Key:
    return (host.lower(), "system")


def _by_family(addresses: tuple[Address, ...]) -> dict[Family, tuple[Address, ...]]:
    return {family: tuple(one for one in addresses if one.family == family) for family in _RECORDS}


def _deliver_both(addresses: tuple[Address, ...], deliver: Deliver) -> None:
    for family, found in _by_family(addresses).items():
        deliver(family, found)


def _checked_name(host: str) -> dns.name.Name:
    """Return the name, relative unless `host` ends in a dot. Raises `ResolveError`."""
    try:
        name = dns.name.from_text(host, origin=None)
        if not name.is_absolute():
            name.concatenate(dns.name.root)  # raises when it is too long to become a full name
    except (dns.exception.DNSException, ValueError) as error:
        raise ResolveError(repr(host), "bad-name", f"not a host name: {error}") from None
    if not name.labels or name == dns.name.root:
        raise ResolveError(repr(host), "bad-name", "not a host name: it is empty")
    return name


def _candidates(name: dns.name.Name, conf: ResolvConf) -> list[dns.name.Name]:
    """Return the full names to try, in order: with enough dots the name itself comes first, else last."""
    if name.is_absolute():
        return [name]
    itself = name.concatenate(dns.name.root)
    searched = list[dns.name.Name]()
    for domain in conf.search:
        try:
            searched.append(name.concatenate(dns.name.from_text(domain)))
        except dns.exception.DNSException:
            continue
    if len(name.labels) - 1 >= conf.ndots:
        return [itself, *searched]
    return [*searched, itself]


def _timeout_detail(timeout: float, asked: list[Question]) -> str:
    now = asyncio.get_running_loop().time()
    stories = [
        f"{dns.rdatatype.to_text(question.record)} {question.name}: {story}"
        for question in asked
        if (story := question.story(now))
    ]
    return f"no answer within {timeout:.1f} s" + (f" ({'; '.join(stories)})" if stories else "")
