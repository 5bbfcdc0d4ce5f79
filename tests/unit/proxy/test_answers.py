"""Answers that the gate makes itself say where HTTP/3 is, as those of origins do."""

import pytest
from tests.unit.proxy.data_path import DataPath

from headgate.pipeline.middleware.headers import FieldEdits
from headgate.pipeline.middleware.respond import Respond
from headgate.proxy.fixed import RespondHandler

ALT_SVC = b'h3=":8443"; ma=86400'


@pytest.mark.parametrize(
    ("alt_svc", "edits", "count"),
    [(b"", FieldEdits(), 0), (ALT_SVC, FieldEdits(), 1), (ALT_SVC, FieldEdits({}, ["Alt-Svc"]), 0)],
)
def test_a_fixed_answer_names_http3_unless_its_route_does_not_want_it(alt_svc, edits, count):
    path = DataPath()
    path.proxy = RespondHandler(Respond(200, b"text"), edits)
    client = path.client()
    client.context.alt_svc = alt_svc
    for asked in (1, 2):
        path.send(client, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.transport.outgoing.count(b"Alt-Svc: " + ALT_SVC) == count * asked
    assert path.seen.crashes == []
    path.close()
