"""Invalidation (RFC 9111 section 4.4): what is no longer to be believed after a request that may have changed
something.

A response without an error (2xx, 3xx) to a method that is not known to be safe invalidates the target, and what
Location and Content-Location name, if it is of the same origin: nobody shall empty the cache of somebody else.
Methods that nobody has registered as safe are taken for unsafe, M-SEARCH and typing errors alike.

References are resolved as RFC 3986 section 5.2 says, against the URI that the client asked for; what cannot be read,
and what a gate would never forward, names nothing that could be stored.
"""

import re
from typing import Final

from headgate.cache.key import uri_key
from headgate.cache.policy import Policy
from headgate.engine.events import Request, Response
from headgate.errors import RemoteProtocolError
from headgate.http.target import ALLOW_BACKSLASH, ALLOW_ENCODED_SLASH, normal_authority, parse_target

# The registry of methods (RFC 9110 section 16.1.1), where "safe" says yes.
SAFE: Final = frozenset((b"GET", b"HEAD", b"OPTIONS", b"PRI", b"PROPFIND", b"REPORT", b"SEARCH", b"TRACE"))

_NAMING: Final = (b"location", b"content-location")
_SCHEME: Final = re.compile(rb"([A-Za-z][A-Za-z0-9+.\-]*):(.*)", re.DOTALL)
_AUTHORITY: Final = re.compile(rb"//([^/?#]*)(.*)", re.DOTALL)
_is_visible: Final = re.compile(rb"[!-~]*").fullmatch


def is_safe(method: bytes) -> bool:
    """Whether a method is known not to change anything (RFC 9110 section 9.2.1)."""
    return method in SAFE


def invalidates(method: bytes, status: int) -> bool:
    """Whether the answer to a request calls for an invalidation at all."""
    return 200 <= status < 400 and method not in SAFE


def targets(
    request: Request, response: Response, policy: Policy, secure: bool, host: bytes, target: bytes
) -> list[bytes]:
    """Return the keys to invalidate, without the parts that a policy adds behind the URI; [] for none.

    `host` is the authority that the client asked for, `target` the origin-form that the origin got.
    """
    keys: list[bytes] = []
    for form in origin_forms(request, response, secure, host, target):
        key = uri_key(policy, secure, host, form)
        if key and key not in keys:
            keys.append(key)
    return keys


def origin_forms(
    request: Request, response: Response, secure: bool, host: bytes, target: bytes
) -> list[bytes]:
    """Return the targets of this origin that an answer invalidates, in origin-form: the request's own first.

    For callers whose routes have different policies: each of these may belong to another route.
    """
    if not invalidates(request.method, response.status):
        return []
    forms = [target]
    fields = response.fields
    for name in _NAMING:
        value = fields.get(name)
        if value:
            form = same_origin(value, secure, host, target)
            if form and form not in forms:
                forms.append(form)
    return forms


def same_origin(reference: bytes, secure: bool, host: bytes, target: bytes) -> bytes:
    """Resolve a reference against a target; return its origin-form, b"" when it is of another origin or malformed."""
    reference = reference.strip(b" \t").split(b"#", 1)[0]
    if _is_visible(reference) is None:
        return b""
    scheme = b"https" if secure else b"http"
    found = _SCHEME.fullmatch(reference)
    if found is not None:
        if found.group(1).lower() != scheme or not found.group(2).startswith(b"//"):
            return b""
        reference = found.group(2)
    found = _AUTHORITY.fullmatch(reference)
    if found is not None:
        theirs = normal_authority(found.group(1), scheme)
        if not theirs or theirs != normal_authority(host, scheme):
            return b""
        reference = found.group(2)
        if not reference.startswith(b"/"):
            reference = b"/" + reference
    return _normal(_merged(target, reference))


def _merged(target: bytes, reference: bytes) -> bytes:
    """RFC 3986 section 5.2.2 for a reference without scheme and authority, dot segments left in."""
    if reference.startswith(b"/"):
        return reference
    if not reference:
        return target
    path = target.split(b"?", 1)[0]
    if reference.startswith(b"?"):
        return path + reference
    return path[: path.rfind(b"/") + 1] + reference


def _normal(form: bytes) -> bytes:
    try:
        return parse_target(b"GET", form, ALLOW_ENCODED_SLASH | ALLOW_BACKSLASH).origin
    except RemoteProtocolError:
        return b""
