"""Where else an origin can be reached: the Alt-Svc field, read (RFC 7838 section 3).

    Alt-Svc: h3=":443"; ma=86400, h2="alt.example.com:8443"        Alt-Svc: clear

`persist` and unknown parameters are read over, as the RFC asks. A field that is no list of alternatives says nothing:
what its grammar cannot read is thrown away whole, for half of an offer may be another offer.
"""

import re
from dataclasses import dataclass
from typing import Final

# Section 3.1: without `ma` an alternative is fresh for 24 hours; whoever says more is asked again after a week.
DEFAULT_AGE: Final = 86_400
MAX_AGE: Final = 7 * 86_400
# Octets and alternatives that are read of one response; those that are sent have a handful.
MAX_OCTETS: Final = 2048
MAX_ALTERNATIVES: Final = 16

_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_QUOTED: Final = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*"'
_alternative: Final = re.compile(rb"(" + _TOKEN + rb")=(" + _QUOTED + rb")").match
_parameter: Final = re.compile(rb"[ \t]*;[ \t]*(" + _TOKEN + rb")=(" + _TOKEN + rb"|" + _QUOTED + rb")").match
_comma: Final = re.compile(rb"[ \t]*(?:,[ \t]*)+").match
_is_port: Final = re.compile(rb"[0-9]{1,5}").fullmatch
_is_age: Final = re.compile(rb"[0-9]{1,19}").fullmatch


@dataclass(frozen=True, slots=True)
class Alternative:
    """One way to reach an origin: ALPN name, host (b"" for its own), port, and for how many seconds it holds."""

    protocol: bytes
    host: bytes
    port: int
    max_age: int


def parse_alt_svc(values: list[bytes]) -> list[Alternative] | None:
    """Return the alternatives of a response, first choice first.

    An empty list is `clear`: forget those that were known. None: nothing was said, or nothing that can be read.
    """
    text = b", ".join(values).strip(b" \t")
    if not text or len(text) > MAX_OCTETS:
        return None
    if text == b"clear":
        return []
    found: list[Alternative] = []
    at = 0
    while at < len(text):
        matched = _alternative(text, at)
        if matched is None:
            return None
        at = matched.end()
        max_age = DEFAULT_AGE
        while (parameter := _parameter(text, at)) is not None:
            at = parameter.end()
            if parameter.group(1).lower() == b"ma":
                age = _unquote(parameter.group(2))
                if _is_age(age) is None:
                    return None
                max_age = min(int(age), MAX_AGE)
        if len(found) < MAX_ALTERNATIVES:
            alternative = _read(_decode(matched.group(1)), _unquote(matched.group(2)), max_age)
            if alternative is not None:
                found.append(alternative)
        if at < len(text):
            separator = _comma(text, at)
            if separator is None:
                return None
            at = separator.end()
    return found or None


def _read(protocol: bytes, authority: bytes, max_age: int) -> Alternative | None:
    host, colon, port = authority.rpartition(b":")
    if not colon or _is_port(port) is None or not 0 < int(port) < 65536:
        return None
    return Alternative(protocol, host.lower(), int(port), max_age)


def _unquote(value: bytes) -> bytes:
    if not value.startswith(b'"'):
        return value
    return re.sub(rb"\\(.)", rb"\1", value[1:-1], flags=re.DOTALL)


def _decode(name: bytes) -> bytes:
    """Return an ALPN name from its token: octets that no token has are percent-encoded (section 3)."""
    return re.sub(rb"%([0-9A-Fa-f]{2})", lambda match: bytes.fromhex(match.group(1).decode()), name)
