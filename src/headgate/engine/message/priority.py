"""Priorities of responses (RFC 9218): the value of Priority and of PRIORITY_UPDATE, a dictionary of RFC 8941.

A priority is one number here: `urgency * 2 + incremental`, from 0 (at once) to 15; smaller goes first. What is not
understood is ignored, as section 4 asks, member by member; a value that is no dictionary at all is ignored whole.
"""

import re
from typing import Final

DEFAULT_URGENCY: Final = 3
DEFAULT_PRIORITY: Final = DEFAULT_URGENCY * 2

# Real values have five octets.
MAX_PRIORITY_OCTETS: Final = 128
# For streams that are not open yet: a browser reprioritises a handful of images.
MAX_PENDING_PRIORITIES: Final = 32

# RFC 8941 section 3.2: key, and perhaps a bare item or an inner list, and parameters. None of the alternatives can
# begin where another one may go on, so nothing is tried twice.
_MEMBER: Final = re.compile(
    rb"([a-z*][a-z0-9_.*-]*)"
    rb'(?:=(\?[01]|-?[0-9]+(?:\.[0-9]+)?|"[ !#-\[\]-~]*"|[A-Za-z*][!#-\'*+.^_`|~0-9A-Za-z:/-]*'
    rb"|:[A-Za-z0-9+/=]*:|\([ !#-'*-~]*\)))?"
    rb'((?:; *[a-z*][a-z0-9_.*-]*(?:=[^ ,;"]*)?)*)'
)
_BETWEEN: Final = re.compile(rb"[ \t]*,[ \t]*")


def parse_priority(value: bytes) -> int:
    """Return the priority that a value asks for, -1 when it is no dictionary."""
    if len(value) > MAX_PRIORITY_OCTETS:
        return -1
    urgency = DEFAULT_URGENCY
    incremental = 0
    value = value.strip(b" ")
    at = 0
    while at < len(value):
        member = _MEMBER.match(value, at)
        if member is None:
            return -1
        key = member.group(1)
        item = member.group(2)
        if key == b"u" and item is not None and len(item) == 1 and b"0" <= item <= b"7":
            urgency = int(item)
        elif key == b"i" and (item is None or item in (b"?0", b"?1")):
            incremental = 0 if item == b"?0" else 1
        at = member.end()
        if at < len(value):
            between = _BETWEEN.match(value, at)
            if between is None or between.end() == len(value):
                return -1
            at = between.end()
    return urgency * 2 + incremental
