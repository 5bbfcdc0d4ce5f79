"""What a route does not tell apart of a request's wishes: content codings and languages.

Browsers write Accept-Encoding in a few ways and Accept-Language in thousands, and an origin that varies by one of
them has a few representations. A route that knows which ones may say so. The field is then changed in the request
itself before anything is looked up, so that the origin answers exactly what Vary compares: RFC 9111 section 4.1 lets
a cache take for the same only what means the same, and here the configuration says that it does.

The language is found as in RFC 4647 section 3.4 (lookup): the client's ranges in the order of their weights, each one
made shorter from its end until it is one of the route's languages. Beyond that a range finds what it begins (section
3.3.1): `en` finds `en-GB` where nothing is just `en`. `*` finds nothing, as section 3.4 has it. Who finds nothing, or
has no wish, gets the first language of the route.
"""

from typing import Final

from headgate.cache.policy import Policy
from headgate.cache.vary import MAX_MEMBERS, keep_codings, thousandths, weight_text
from headgate.http.fields import OWS, Fields

# A longer range is no language, and finds nothing: looking it up takes time that grows with its square.
_LONGEST: Final = 128
_FULL: Final = 1000  # of a range without a weight


def narrow(fields: Fields, policy: Policy) -> None:
    """Change a request so that it asks only for what its route tells apart."""
    if policy.codings:
        keep_codings(fields, policy.codings)
    if policy.languages:
        value = b",".join(fields.get_all(b"accept-language"))
        fields.set(b"accept-language", best_language(value, policy.languages), b"Accept-Language")


def best_language(value: bytes, languages: tuple[bytes, ...]) -> bytes:
    """Return which of `languages`, lower case and at least one, an Accept-Language likes best.

    Of ranges with the same weight the first one counts (RFC 9110 section 12.5.4). A range whose weight is none is
    left out, and so is what comes behind MAX_MEMBERS of them.
    """
    best = languages[0]
    most = 0
    for member in value.split(b",", MAX_MEMBERS)[:MAX_MEMBERS]:
        mark = member.find(b";")
        weight = _FULL if mark < 0 else _weight(member[mark + 1 :])
        if weight > most:
            found = _lookup((member if mark < 0 else member[:mark]).strip(OWS).lower(), languages)
            if found:
                best = found
                most = weight
    return best


def _weight(parameter: bytes) -> int:
    """Return a weight of `;q=0.5` in thousandths, 0 when it is none."""
    name, _, text = parameter.partition(b"=")
    text = text.strip(OWS)
    if name.strip(OWS).lower() != b"q" or weight_text(text) is None:
        return 0
    return thousandths(text)


def _lookup(wanted: bytes, languages: tuple[bytes, ...]) -> bytes:
    """Return the language that a range means, b"" for none."""
    if len(wanted) > _LONGEST:
        return b""
    shorter = wanted
    while shorter:
        if shorter in languages:
            return shorter
        cut = shorter.rfind(b"-")
        shorter = shorter[:cut] if cut > 0 else b""
        if len(shorter) > 1 and shorter[-2] == 0x2D:  # a single letter goes with what it introduces
            shorter = shorter[:-2]
    beginning = wanted + b"-"
    for language in languages:
        if wanted and language.startswith(beginning):
            return language
    return b""
