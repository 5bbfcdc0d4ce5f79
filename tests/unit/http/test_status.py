"""Reason phrases agree with the standard library's registry."""

import http

import pytest

from headgate.http.status import REASONS, REDIRECTS, may_have_content, reason_phrase

RENAMED = {
    413: "Content Too Large",
    416: "Range Not Satisfiable",
    422: "Unprocessable Content",
    414: "URI Too Long",
}
DROPPED = {418, 510}  # unused and obsoleted


def test_every_registered_code_has_its_phrase():
    for status in http.HTTPStatus:
        if status in DROPPED:
            continue
        assert reason_phrase(status).decode() == RENAMED.get(status, status.phrase), int(status)
    assert set(REASONS) <= {int(status) for status in http.HTTPStatus}


@pytest.mark.parametrize(
    ("status", "phrase"),
    [
        (299, b"Successful"),
        (499, b"Client Error"),
        (599, b"Server Error"),
        (600, b"Unknown"),
        (7, b"Unknown"),
    ],
)
def test_an_unknown_code_has_the_phrase_of_its_class(status, phrase):
    assert reason_phrase(status) == phrase


def test_rfc9110_6_4_1_which_responses_have_content():
    assert [status for status in (100, 101, 200, 204, 205, 206, 304, 404) if may_have_content(status)] == [
        200,
        206,
        404,
    ]


def test_redirects_are_registered():
    assert set(REASONS) >= REDIRECTS
