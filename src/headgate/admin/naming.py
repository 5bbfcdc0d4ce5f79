"""Which certificate an operator means: by its file, a host name that it covers, or its serial number.

What is typed is tried in this order, and the first that anything answers to decides: the whole path; an end of the
path, whole components; the serial in hex, as browsers and openssl print it; a host name among its names; a host name
that one of its wildcards covers (RFC 9525 section 6.3: one label). What fits several means none of them: they are
listed; and when nothing fits, what comes nearest.
"""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

SHOWN: Final = 5
# Comparing words is slow: a typo is looked for in so many certificates, and costs a moment at most.
LOOKED_AT: Final = 1000


@dataclass(frozen=True, slots=True)
class Known:
    """One certificate: the path of its chain, its host names in lower case, its serial in hex as `x` formats it."""

    file: str
    hosts: tuple[str, ...] = ()
    serial: str = ""


def find(wanted: str, known: Sequence[Known]) -> str:
    """Return the file of the one certificate that is meant. Raises `LookupError`, which has the candidates, or names
    that are like it."""
    host, serial = _host(wanted), _serial(wanted)
    end = "/" + wanted.lstrip("/")
    # Names that a wildcard covers: its own, and one label more.
    star = "*." + host.partition(".")[2]
    for found in (
        [one for one in known if one.file == wanted],
        [one for one in known if one.file.endswith(end)],
        [one for one in known if serial and one.serial == serial],
        [one for one in known if host in one.hosts],
        [one for one in known if star in one.hosts],
    ):
        if len(found) == 1:
            return found[0].file
        if found:
            raise LookupError(
                f"{wanted} may be {_listed([one.file for one in found])}: name one of these files"
            )
    like = _nearest(wanted, known)
    hint = f"; nearest: {', '.join(like)}" if like else ""
    raise LookupError(f"there is no certificate {wanted}{hint}; `headgate ocsp` lists them")


def _host(text: str) -> str:
    host = text.lower().rstrip(".")
    if host.isascii():
        return host
    try:
        return host.encode("idna").decode("ascii")
    except UnicodeError:
        return host


def _serial(text: str) -> str:
    """Return what may be a serial as hex without zeros in front, "" when it cannot be one."""
    digits = text.lower().removeprefix("0x").replace(":", "")
    return digits.lstrip("0") if digits and all(digit in "0123456789abcdef" for digit in digits) else ""


def _listed(files: Sequence[str]) -> str:
    more = f" and {len(files) - SHOWN} more" if len(files) > SHOWN else ""
    return ", ".join(files[:SHOWN]) + more


def _nearest(wanted: str, known: Sequence[Known]) -> list[str]:
    """Return names that are like what was typed, best first."""
    words = {word: None for one in known[:LOOKED_AT] for word in _words(one)}
    wanted = wanted.lower()
    wanted = wanted.rpartition("/")[2] or wanted
    # A file without its ending, a host without its domain: who types half a name means what begins with it.
    begun = [word for word in words if wanted and word.lower().startswith(wanted)]
    like = difflib.get_close_matches(wanted, words, SHOWN, 0.7)
    return list(dict.fromkeys([*begun, *like]))[:SHOWN]


def _words(one: Known) -> Iterable[str]:
    yield one.file.rpartition("/")[2]
    yield from one.hosts[:SHOWN]
