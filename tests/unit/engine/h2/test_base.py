from headgate.engine.events import Data
from headgate.engine.h2.base import H2Base
from headgate.engine.h2.errors import CANCEL


def test_how_a_connection_shows_itself():
    assert repr(H2Base(True, 0.0)) == "<H2Connection client requests=0 open=0>"


def test_events_come_in_order_and_tell_whose_they_are():
    base = H2Base(False, 0.0)
    assert base.next_event() is None
    base._tell(1, Data(b"a", 1))
    base._tell(3, Data(b"b", 3))
    assert base.has_event_of(1)
    assert not base.has_event_of(3)
    assert base.next_event().data == b"a"
    assert base.has_event_of(3)
    assert base.next_event().data == b"b"
    assert not base.has_event_of(3)
    assert base.next_event() is None


def test_rfc9113_5_4_2_one_reset_for_each_stream():
    base = H2Base(False, 0.0)
    base._control = []
    base.control_queued = 0
    base._write_reset(1, CANCEL)
    base._write_reset(1, CANCEL)
    assert base._control == [bytes.fromhex("000004 03 00 00000001 00000008")]
    assert base.resets_sent == {CANCEL: 1}
    assert base.control_queued == 13
