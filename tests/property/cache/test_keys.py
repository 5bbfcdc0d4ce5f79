"""No two requests that an origin may tell apart have one key, whatever clients and proxies write into them."""

import re

from hypothesis import given
from hypothesis import strategies as st

from headgate.cache.key import cookie_values, primary_key
from headgate.cache.policy import Policy
from headgate.cache.vary import selected
from headgate.http.fields import Fields
from headgate.http.forwarded import ForwardedPeer
from headgate.http.networks import Networks
from headgate.http.target import normal_authority, parse_target

# Names and values that look like parts of keys, and what separates parts.
NAMES = (b"x", b"slice", b"asked", b"asked-host", b"field", b"cookie", b"listeners")
WORDS = (
    "x",
    "y",
    "=",
    ":",
    ",",
    ";",
    " ",
    "a",
    "slice:1",
    "asked:host=b",
    "field:x",
    "cookie:x=1",
    "\t",
    "80",
    "\\",
)
value = st.lists(st.sampled_from(WORDS), max_size=5).map(lambda words: "".join(words).strip().encode())
host = st.sampled_from((b"a", b"A", b"a.", b"a:80", b"a:443", b"a:8080", b"b", b"[::1]", b"[::1]:80"))
segment = st.sampled_from(("a", "b", "%41", "%2d", ".", "..", "", "a;b", "a=b", "A", "%3F", "%23", ":"))
target = st.builds(
    lambda segments, query: ("/" + "/".join(segments) + query).encode(),
    st.lists(segment, max_size=3).filter(lambda found: ".." not in found),
    st.sampled_from(("", "?", "?a", "?a=1&b=2", "?b=2&a=1", "??", "?%61", "?a%3D1", "?://a/")),
)
line = st.tuples(st.sampled_from((*NAMES, b"cookie", b"x-forwarded-prefix")), value)
forwarding = st.fixed_dictionaries(
    {},
    optional={
        b"x-forwarded-host": host,
        b"x-forwarded-proto": st.sampled_from((b"http", b"https", b"gopher")),
        b"x-forwarded-port": st.sampled_from((b"80", b"443", b"8080")),
        b"forwarded": st.sampled_from(
            (b"for=192.0.2.9;host=b", b"for=192.0.2.9;proto=https", b"for=192.0.2.9")
        ),
    },
)
POLICIES = []
for key_fields, key_cookies, scope in (
    ((), (), b""),
    (NAMES, (b"x", b"slice"), b""),
    ((b"x",), (b"x",), b"inner"),
):
    made = Policy()
    made.key_fields = key_fields
    made.key_cookies = key_cookies
    made.scope = scope
    POLICIES.append(made)


ADDRESS = re.compile(rb"for=[0-9.]+;?")


class Asked:
    """One request as it goes to the origin, with the key that it has."""

    def __init__(self, policy, secure, written, path, lines, told, trusted, port, piece):
        fields = Fields([], [])
        for name, text in [*lines, *told.items()]:
            fields.add(name, text)
        networks = Networks(["192.0.2.1"] if trusted else [])
        info = ForwardedPeer(networks, b"192.0.2.1", b"https" if secure else b"http", port).apply(
            fields, written
        )
        form = parse_target(b"GET", path).origin
        self.key = primary_key(policy, secure, written, form, fields, info, piece)
        lines = [fields.get_all(n) for n in (b"x-forwarded-host", b"x-forwarded-proto", b"x-forwarded-port")]
        told_forwarded = [ADDRESS.sub(b"", text) for text in fields.get_all(b"forwarded")[0].split(b", ")]
        # Everything that the origin sees beside addresses and what the policy leaves out. Of Forwarded the members
        # that say nothing but an address go with it.
        self.seen = (
            (
                secure,
                normal_authority(written, b"https" if secure else b"http"),
                written,
                form,
                piece,
                policy.scope,
            ),
            lines,
            [text for text in told_forwarded if text],
            fields.get_all(b"x-forwarded-prefix"),
            [selected(name, fields) for name in policy.key_fields],
            [cookie_values(name, fields) for name in policy.key_cookies],
        )

    def __repr__(self):
        return f"{self.key!r} {self.seen}"


@st.composite
def pairs(draw):
    """Two requests under one policy, which differ in as little as the draw wants."""
    parts = (
        st.booleans(),
        host,
        target,
        st.lists(line, max_size=3),
        forwarding,
        st.booleans(),
        st.sampled_from((80, 443, 8080)),
        st.sampled_from((-1, 0, 1)),
    )
    policy = draw(st.sampled_from(POLICIES))
    one = [draw(part) for part in parts]
    other = [draw(part) if draw(st.booleans()) else same for part, same in zip(parts, one, strict=True)]
    return Asked(policy, *one), Asked(policy, *other)


@given(pairs())
def test_one_key_is_one_request(pair):
    one, other = pair
    assert one.key
    if one.key == other.key:
        assert one.seen == other.seen
    if one.seen == other.seen:
        assert one.key == other.key


@given(st.sampled_from(POLICIES), st.sampled_from(POLICIES), host, target, st.lists(line, max_size=3))
def test_keys_of_one_uri_begin_alike(one, other, written, path, lines):
    """Whatever follows, a purge of the URL finds it, and no URI holds what separates parts."""
    first = Asked(one, False, written, path, lines, {}, False, 80, -1).key
    second = Asked(other, False, written, path, lines, {}, False, 80, -1).key
    assert first.split(b"\n")[0] == second.split(b"\n")[0]
    assert all(
        part.split(b":")[0] in (b"field", b"cookie", b"listeners", b"asked")
        for part in first.split(b"\n")[1:]
    )
