"""Who the client was: Forwarded (RFC 7239) and X-Forwarded-For, -Proto, -Host and -Port.

Whom we believe decides everything. From a peer outside `trusted_proxies` every Forwarded, X-Forwarded-* and
X-Real-IP line is removed, whatever its spelling, and replaced by what we saw ourselves. From a trusted peer the
chain is kept and the peer's own address is appended to it; its proto, host and port are kept, because the proxy
next to the client saw what the client asked for. X-Real-IP is never sent on: nobody can say who wrote it.

The client is found from the right: the peer, then each address of the chain as long as the one behind it is
trusted. The first that is not trusted is the client; what stands left of it is hearsay. A member that is no
address ends the walk. Of a trusted peer's two chains X-Forwarded-For counts, as most proxies append to that one
only and let a client's Forwarded pass; a Forwarded that disagrees with it is rewritten from it, so an origin may
read either.

Per connection, peer, scheme and port never change and Host hardly ever does: `ForwardedPeer` keeps the ready-made
lines, and a request costs two list extensions. A Unix socket's peer has no address (b""): it is `unknown`, and
untrusted.
"""

import re
from typing import Final, final

from headgate.http.fields import FORWARDED, Fields, flags_of
from headgate.http.networks import MAX_REMEMBERED, Networks, format_address, pack_address
from headgate.http.target import BadTarget, implied_port, normal_authority, parse_authority

# The chain that is read and sent on ends after this many proxies, the oldest are dropped; real chains have five.
MAX_HOPS: Final = 32

_FORWARDED: Final = b"forwarded"
_FOR: Final = b"x-forwarded-for"
_PROTO: Final = b"x-forwarded-proto"
_HOST: Final = b"x-forwarded-host"
_PORT: Final = b"x-forwarded-port"
_NAMES: Final = [_FOR, _PROTO, _HOST, _PORT, _FORWARDED]
_NAMES_WITHOUT_HOST: Final = [_FOR, _PROTO, _PORT, _FORWARDED]
# What a trusted peer's section loses before our lines are added; its other X-Forwarded-* lines are its business.
_REWRITTEN: Final = frozenset((*_NAMES, b"x-real-ip"))

_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_QUOTED: Final = rb"\"(?:[\t !#-\[\]-~]|\\[\t -~])*\""
_PAIR: Final = rb"(?:" + _TOKEN + rb")=(?:" + _TOKEN + rb"|" + _QUOTED + rb")"
_match_element: Final = re.compile(_PAIR + rb"(?:;" + _PAIR + rb")*").match
_match_comma: Final = re.compile(rb"[ \t]*(?:,[ \t]*)+").match
_find_pairs: Final = re.compile(rb"(" + _TOKEN + rb")=(" + _TOKEN + rb"|" + _QUOTED + rb")").findall
_unescape: Final = re.compile(rb"\\(.)").sub
_is_host_octets: Final = re.compile(rb"[A-Za-z0-9._~:\[\]\-]+").fullmatch
_is_token: Final = re.compile(rb"[A-Za-z0-9._~\-]+").fullmatch
_is_port: Final = re.compile(rb"[1-9][0-9]{0,4}").fullmatch


@final
class ForwardedInfo:
    """What is believed of the client: its address (b"" unknown), and the scheme, authority and port it asked for.

    `is_plain`: the authority is in normal form and implies the port, and nothing is believed of somebody else. Where
    it is not, a trusted peer may have spoken (`is_trusted`), and `hearsay` holds what its Forwarded says of schemes
    and authorities, b"" for nothing.
    """

    __slots__ = ("client", "hearsay", "host", "is_plain", "is_trusted", "port", "scheme")

    def __init__(self, client: bytes, scheme: bytes, host: bytes, port: int) -> None:
        self.client = client
        self.scheme = scheme
        self.host = host
        self.port = port
        self.is_plain = port == implied_port(host, scheme) and host == normal_authority(host, scheme)
        self.is_trusted = False
        self.hearsay = b""

    def __repr__(self) -> str:
        asked = f"{self.scheme.decode()}://{self.host.decode('latin-1')}"
        return f"<ForwardedInfo {self.client.decode() or 'unknown'} asked {asked} on port {self.port}>"


@final
class Element:
    """One member of Forwarded: `text` as it was written, and the values of three of its parameters, b"" if absent."""

    __slots__ = ("host", "node", "proto", "text")

    def __init__(self, text: bytes, node: bytes, proto: bytes, host: bytes) -> None:
        self.text = text
        self.node = node
        self.proto = proto
        self.host = host


@final
class ForwardedPeer:
    """The forwarding lines of one peer on one listener. `client` is the peer, until a trusted peer names another:
    one of those for which `trusts_peer` is true.
    """

    __slots__ = ("_info", "_lines", "_port", "_scheme", "_trusted", "peer", "trusts_peer")

    def __init__(self, trusted: Networks, peer_ip: bytes, scheme: bytes, port: int) -> None:
        packed = pack_address(peer_ip)
        self.peer = format_address(packed) if packed else b""
        self._trusted = trusted
        self.trusts_peer = bool(packed) and trusted.contains(self.peer)
        self._scheme = scheme
        self._port = port
        self._info = ForwardedInfo(self.peer, scheme, b"", port)
        self._lines: list[bytes] = []

    def __repr__(self) -> str:
        return f"<ForwardedPeer {self.peer.decode() or 'unknown'}{' trusted' if self.trusts_peer else ''}>"

    def apply(self, fields: Fields, host: bytes) -> ForwardedInfo:
        """Rewrite a request's forwarding lines; `host` is its authority as it came (the target's, or Host's value).

        The caller has checked `host` with `parse_authority`.
        """
        if fields.flags & FORWARDED:
            if self.trusts_peer:
                return self._append(fields, host)
            remove_forwarded(fields)
        info = self._info
        if host != info.host or not self._lines:
            info = self._info = ForwardedInfo(self.peer, self._scheme, host, self._port)
            self._lines = _make_lines(self.peer or b"unknown", info, self._element(host))
        fields.names.extend(_NAMES if host else _NAMES_WITHOUT_HOST)
        fields.lines.extend(self._lines)
        fields.flags |= FORWARDED
        return info

    def _element(self, host: bytes) -> bytes:
        """Return our own member of Forwarded."""
        asked = b";host=" + _format_host(host) if host else b""
        return b"for=" + _format_node(self.peer) + asked + b";proto=" + self._scheme

    def _append(self, fields: Fields, host: bytes) -> ForwardedInfo:
        """Keep what a trusted peer wrote and add the peer itself."""
        chain = _read_chain(fields)
        elements = parse_forwarded(b", ".join(fields.get_all(_FORWARDED)))
        if not chain:
            chain = [element.node or b"unknown" for element in elements]
        elif [read_node(element.node) for element in elements] != [read_node(node) for node in chain]:
            elements = []
        chain = [read_node(node) or b"unknown" for node in chain]
        index = self._find_client(chain)
        seen = elements[index] if 0 <= index < len(elements) else None
        info = self._believe(fields, host, chain[index] if index < len(chain) else self.peer, seen)
        info.is_plain = False
        info.is_trusted = True
        info.hearsay = _hearsay(elements)
        _remove(fields, False)
        texts = [element.text for element in elements] or [b"for=" + _format_node(node) for node in chain]
        texts.append(self._element(host))
        fields.names.extend(_NAMES if info.host else _NAMES_WITHOUT_HOST)
        fields.lines.extend(_make_lines(b", ".join([*chain, self.peer]), info, b", ".join(texts)))
        return info

    def _find_client(self, chain: list[bytes]) -> int:
        """Return the index of the client in the chain, len(chain) for the peer itself."""
        index = len(chain)
        while index > 0 and chain[index - 1] != b"unknown":
            index -= 1
            if not self._trusted.contains(chain[index]):
                break
        return index

    def _believe(self, fields: Fields, host: bytes, client: bytes, seen: Element | None) -> ForwardedInfo:
        """Collect what the client asked for: from X-Forwarded-*, else from its member of Forwarded, else ours."""
        proto = _last(fields, _PROTO).lower() or (seen.proto.lower() if seen is not None else b"")
        if proto not in (b"http", b"https"):
            proto = b""
        asked = _last(fields, _HOST) or (seen.host if seen is not None else b"")
        port = -1
        if asked:
            try:
                _, port = parse_authority(asked)
            except BadTarget:
                asked = b""
        given = _last(fields, _PORT)
        if _is_port(given) is not None and int(given) <= 65535:
            port = int(given)
        elif port < 0:
            # Another proxy's scheme with our port would describe a URL that nobody can open.
            port = self._port if not proto else 443 if proto == b"https" else 80
        return ForwardedInfo(client, proto or self._scheme, asked or host, port)


@final
class Forwarder:
    """Makes the objects that connections keep, for one set of trusted proxies."""

    __slots__ = ("_known", "trusted")

    def __init__(self, trusted: Networks) -> None:
        self.trusted = trusted
        self._known: dict[tuple[bytes, bytes, int], ForwardedPeer] = {}

    def connection(self, peer_ip: bytes, scheme: bytes, listener_port: int) -> ForwardedPeer:
        """Return the object that one downstream connection keeps; `listener_port` is the one clients see.

        All connections from one address to one port share it: nothing in it belongs to one of them.
        """
        key = (peer_ip, scheme, listener_port)
        known = self._known.get(key)
        if known is None:
            known = ForwardedPeer(self.trusted, peer_ip, scheme, listener_port)
            if len(self._known) >= MAX_REMEMBERED:
                self._known.clear()
            self._known[key] = known
        return known

    def apply(
        self, fields: Fields, peer_ip: bytes, scheme: bytes, host: bytes, listener_port: int
    ) -> ForwardedInfo:
        """Rewrite one request's lines without keeping anything for the next."""
        return ForwardedPeer(self.trusted, peer_ip, scheme, listener_port).apply(fields, host)


# -- reading


def read_node(node: bytes) -> bytes:
    """Return the canonical address in a node such as 192.0.2.1:80, "[2001:db8::1]:80" or 2001:db8::1, else b""."""
    if node.startswith(b"["):
        node = node[1:].partition(b"]")[0]
    elif node.count(b":") == 1:
        node = node.partition(b":")[0]
    packed = pack_address(node)
    return format_address(packed) if packed else b""


def parse_forwarded(value: bytes) -> list[Element]:
    """Read a Forwarded value (RFC 7239 section 4), its last `MAX_HOPS` members; [] when any of it is malformed."""
    elements: list[Element] = []
    position = 0
    while position < len(value):
        matched = _match_element(value, position)
        if matched is None:
            return []
        elements.append(_read_element(matched.group()))
        position = matched.end()
        comma = _match_comma(value, position)
        if comma is None:
            break
        position = comma.end()
    return elements[-MAX_HOPS:] if position == len(value) else []


def _read_element(text: bytes) -> Element:
    """Read one member; of a parameter that stands twice the first counts, as nobody can tell who wrote the other."""
    found: dict[bytes, bytes] = {}
    for name, value in _find_pairs(text):
        if value.startswith(b'"'):
            value = _unescape(rb"\1", value[1:-1])
        found.setdefault(name.lower(), value)
    return Element(text, found.get(b"for", b""), found.get(b"proto", b""), found.get(b"host", b""))


def _read_chain(fields: Fields) -> list[bytes]:
    """Return the last `MAX_HOPS` members of all X-Forwarded-For lines."""
    chain: list[bytes] = []
    for value in fields.get_all(_FOR):
        for part in value.rsplit(b",", MAX_HOPS)[-MAX_HOPS:]:
            node = part.strip(b' \t"')
            if node:
                chain.append(node)
    return chain[-MAX_HOPS:]


def _last(fields: Fields, name: bytes) -> bytes:
    """Return the last member of a list field: the one that the proxy next to us wrote."""
    values = fields.get_all(name)
    return values[-1].rpartition(b",")[2].strip(b" \t") if values else b""


def _hearsay(elements: list[Element]) -> bytes:
    """Return the schemes and authorities of a chain: no two chains have the same that differ in one of them."""
    if all(not element.proto and not element.host for element in elements):
        return b""
    told = [b"%d:%b%d:%b" % (len(e.proto), e.proto, len(e.host), e.host) for e in elements]
    return b",".join(told)


def is_other_line(name: bytes) -> bool:
    """Whether a line called `name` is one of X-Forwarded-* that a trusted peer writes and nobody here rewrites."""
    return name.startswith(b"x-forwarded-") and name not in _REWRITTEN


# -- writing


def _make_lines(chain: bytes, info: ForwardedInfo, forwarded: bytes) -> list[bytes]:
    """Return the lines that `_NAMES` names, or `_NAMES_WITHOUT_HOST` when an HTTP/1.0 client named none."""
    lines = [b"x-forwarded-for: " + chain, b"x-forwarded-proto: " + info.scheme]
    if info.host:
        lines.append(b"x-forwarded-host: " + info.host)
    lines.append(b"x-forwarded-port: %d" % info.port)
    lines.append(b"forwarded: " + forwarded)
    return lines


def _format_node(address: bytes) -> bytes:
    """RFC 7239 section 6: an IPv6 address stands in brackets and quotes."""
    if b":" in address:
        return b'"[' + address + b']"'
    return address or b"unknown"


def _format_host(host: bytes) -> bytes:
    if _is_token(host) is not None:
        return host
    # Whoever skipped parse_authority must not be able to break out of the quotes.
    return b'"' + host + b'"' if _is_host_octets(host) is not None else b'""'


# -- removing


def remove_forwarded(fields: Fields) -> None:
    """Remove every line that claims to know the client, in any spelling."""
    _remove(fields, True)
    fields.flags &= ~FORWARDED


def _remove(fields: Fields, everything: bool) -> None:
    """Remove forwarding lines: every one, or those that we rewrite and those spelled with underscores."""
    names = fields.names
    i = len(names)
    while i > 0:
        i -= 1
        name = names[i]
        if flags_of(name) & FORWARDED and (everything or name in _REWRITTEN or b"_" in name):
            del names[i]
            del fields.lines[i]
