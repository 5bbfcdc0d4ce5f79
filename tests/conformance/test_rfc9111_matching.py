"""RFC 9111 sections 2, 3.2 to 3.4, 4.1, 4.3, 4.4, RFC 9110 section 13: which stored response, and what changes it.

| section | rule | tested in |
|---|---|---|
| 2 | the key is the target URI | unit/cache/test_key.py: `test_the_plain_key_is_the_uri` |
| 3.2 | each field is added, or replaces what is stored | |
| | | unit/cache/test_merging.py: `test_everything_else_is_replaced` |
| 3.2 | but Content-Length, and what the octets depend on | |
| | | unit/cache/test_merging.py: `test_what_the_octets_depend_on_stays` |
| 3.2, 3.1 | and what is for one connection | unit/cache/test_update.py: `test_a_304_updates_what_is_stored` |
| 3.3 | incomplete responses are recorded as such | |
| | | unit/cache/test_partial.py: `test_a_206_becomes_an_incomplete_200` |
| 3.3 | not of range units that are not understood | unit/cache/test_partial.py: `test_what_is_not_stored_of_a_206` |
| 3.3 | they answer what lies wholly within them, and nothing else | here: `test_rfc9111_3_3_wholly_within` |
| 3.3 | partial content goes out as 206 | here: `test_rfc9111_3_3_wholly_within` |
| 3.4 | combined only by a strong validator | unit/cache/test_partial.py: `test_what_is_not_combined` |
| 3.4 | the fields are updated | unit/cache/test_partial.py: `test_a_combined_response_takes_the_newer_metadata` |
| 4 | GET and HEAD alone are answered | unit/cache/test_key.py: `test_methods` |
| 4, 4.1 | the most recent of several | unit/cache/test_vary.py: `test_the_most_recent_goes_first` |
| 4.1 | every nominated field matches | unit/cache/test_vary.py: `test_matches` |
| 4.1 | white space, several lines, the same meaning | unit/cache/test_vary.py: `test_values_that_mean_the_same` |
| 4.1 | nothing else is the same | unit/cache/test_vary.py: `test_values_that_do_not` |
| 4.1 | absent matches absent alone | unit/cache/test_vary.py: `test_absent_is_not_empty` |
| 4.1 | a member `*` always fails | unit/cache/test_vary.py: `test_names` |
| 4.1 | one that varies goes before one that does not | |
| | | unit/cache/test_vary.py: `test_one_that_varies_goes_before_one_that_does_not` |
| 4.3.1 | entity tags are sent, Last-Modified too | unit/cache/test_conditional.py: `test_validators_are_added` |
| 4.3.1 | the fields that Vary nominates go along | here: `test_rfc9111_4_3_1_selecting_fields_stay` |
| 4.3.2 | preconditions are evaluated with a response that can be used | here: `test_rfc9111_4_3_2_evaluated` |
| 4.3.2 | not those that are for an origin | |
| | | unit/cache/test_conditional.py: `test_what_is_for_the_origin_is_forwarded` |
| 4.3.2 | without Last-Modified the Date counts | |
| | | unit/cache/test_conditional.py: `test_without_a_last_modified_the_date_counts` |
| 4.3.2 | the tag of a part is not sent for the whole | |
| | | integration/cache/test_gate_rules.py: `test_rfc9111_3_3_a_part_that_is_confirmed_is_not_the_whole_of_another` |
| 4.3.4 | a strong validator that is another updates nothing | |
| | | unit/cache/test_update.py: `test_a_304_about_something_else_changes_nothing` |
| 4.3.4 | a strong one names all that have it | |
| | | unit/cache/test_update.py: `test_a_strong_validator_names_all_that_have_it` |
| 4.3.4 | a weak one, and none, the one that was asked about | unit/cache/test_update.py: `test_what_a_304_is_about` |
| 4.3.5 | HEAD updates what has the same validators and length | |
| | | unit/cache/test_update.py: `test_head_updates_what_has_the_same_validators_and_length` |
| 4.3.5 | else it is stale | unit/cache/test_update.py: `test_head_makes_stale_what_has_not` |
| 4.4 | unsafe and unknown methods invalidate the target | |
| | | unit/cache/test_invalidation.py: `test_unsafe_and_unknown_methods` |
| 4.4 | not after an error | unit/cache/test_invalidation.py: `test_with_an_error` |
| 4.4 | Location and Content-Location too | unit/cache/test_invalidation.py: `test_location_and_content_location` |
| 4.4 | never of another origin | unit/cache/test_invalidation.py: `test_references_that_name_nothing_here` |
| 9110 8.8.3.2 | strong and weak comparison | unit/cache/test_conditional.py: `test_comparisons` |
| 9110 8.8.2.2 | when a date is a strong validator | |
| | | unit/cache/test_conditional.py: `test_if_range_with_a_date_that_is_weak` |
| 9110 13.1.2 | If-None-Match: weak comparison, a list, the star | |
| | | unit/cache/test_conditional.py: `test_a_matching_tag_is_304` |
| 9110 13.1.3 | ignored beside If-None-Match | unit/cache/test_conditional.py: `test_a_tag_outranks_a_date` |
| 9110 13.1.3 | ignored when it is no date, or several | |
| | | unit/cache/test_conditional.py: `test_a_malformed_date_is_ignored`, `test_two_dates_are_ignored` |
| 9110 13.1.5 | strong comparison, an exact strong date | unit/cache/test_conditional.py: `test_if_range` |
| 9110 13.1.5 | Range is ignored when it does not hold | unit/cache/test_conditional.py: `test_if_range` |
| 9110 13.2.1 | nothing for statuses other than 2xx | |
| | | unit/cache/test_conditional.py: `test_other_statuses_have_no_preconditions` |
| 9110 13.2.2 | the order of evaluation | here: `test_rfc9110_13_2_2_precedence` |
| 9110 15.4.5 | a 304 has these fields and no others of the representation | |
| | | unit/cache/test_conditional.py: `test_the_fields_of_a_304` |
"""

import itertools

import pytest

from headgate.cache.conditional import FORWARD, add_validators, evaluate
from headgate.cache.entry import MemoryBody, StoredResponse
from headgate.cache.partial import Piece, answer, set_partial
from headgate.cache.ranges import PARTIAL
from headgate.engine.events import Request
from headgate.http.date import format_date
from headgate.http.fields import Fields

NOW = 1_700_000_000


def fields(*pairs):
    made = Fields([], [])
    for name, value in pairs:
        made.add(name, value)
    return made


def stored():
    made = StoredResponse(b"k", 200, b"OK", fields(), MemoryBody([b"0123456789"]))
    made.etag = b'"a"'
    made.last_modified = NOW - 5000
    made.date = NOW
    made.length = 10
    return made


def test_rfc9111_3_3_wholly_within():
    made = StoredResponse(b"k", 206, b"Partial Content", fields(), MemoryBody())
    assert set_partial(made, Piece(2, 6, 10), MemoryBody([b"2345"]), True, b"")
    for value, ranges in ((b"bytes=2-5", [(2, 6)]), (b"bytes=3-3", [(3, 4)])):
        selection = answer([value], made, True)
        assert (selection.status, selection.ranges) == (PARTIAL, ranges)
    for value in (b"bytes=1-2", b"bytes=5-6", b"bytes=2-", b"bytes=-4", b"bytes=0-9", b"bytes=10-", b""):
        assert answer([value], made, True) is None
    assert answer([], made, False) is None
    assert answer([b"bytes=2-5"], made, False) is None


def test_rfc9111_4_3_1_selecting_fields_stay():
    request = fields((b"host", b"a"), (b"abc", b"123"), (b"accept-language", b"de"), (b"if-match", b"*"))
    variant = stored()
    variant.vary = [(b"abc", b"123")]
    add_validators(request, variant)
    assert request.items() == [
        (b"host", b"a"),
        (b"abc", b"123"),
        (b"accept-language", b"de"),
        (b"if-none-match", b'"a"'),
    ]


@pytest.mark.parametrize(("status", "expected"), [(200, 304), (206, 304), (404, 200), (301, 200)])
def test_rfc9111_4_3_2_evaluated(status, expected):
    variant = stored()
    variant.status = status
    assert evaluate(Request(b"GET", b"/", 11, fields((b"if-none-match", b'"a"'))), variant, NOW) == expected


# What each precondition may be: absent, true, false.
MATCH = (None, b'"a"', b'"b"')
NONE_MATCH = (None, b'"b"', b'"a"')
MODIFIED = (None, format_date(NOW - 6000), format_date(NOW - 5000))
IF_RANGE = (None, b'"a"', b'"b"')


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_rfc9110_13_2_2_precedence(method):
    """All combinations, against the steps of the section for a cache, read one after the other."""
    for match, none_match, modified, with_range, if_range in itertools.product(
        range(3), range(3), range(3), (False, True), range(3)
    ):
        pairs = [
            (b"if-match", MATCH[match]),
            (b"if-none-match", NONE_MATCH[none_match]),
            (b"if-modified-since", MODIFIED[modified]),
            (b"range", b"bytes=0-1" if with_range else None),
            (b"if-range", IF_RANGE[if_range]),
        ]
        request = Request(method, b"/", 11, fields(*[pair for pair in pairs if pair[1] is not None]))
        if match:
            expected = FORWARD  # for the origin
        elif none_match == 2 or (none_match == 0 and modified == 2):
            expected = 304
        else:
            expected = 206 if method == b"GET" and with_range and if_range != 2 else 200
        assert evaluate(request, stored(), NOW) == expected
