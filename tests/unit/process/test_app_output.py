"""What an application prints becomes events."""

import logging
import os
import sys
import threading

import pytest

from headgate.process.app_output import MAX_OUTPUT_LINE, LineStream, divert_output


@pytest.fixture
def pipe():
    """A descriptor to write to, and a function that reads back."""
    ours, theirs = os.pipe()
    yield theirs, lambda: os.read(ours, 1 << 20).decode()
    os.close(theirs)
    os.close(ours)


def test_whole_lines_become_events(pipe):
    stream = LineStream("app shop", "stdout", pipe[0])
    assert stream.write("half") == 4
    stream.write(" a line\nand another\n\nrest")
    lines = pipe[1]().splitlines()
    assert len(lines) == 2
    assert '"process":"app shop"' in lines[0]
    assert '"event":"app-output"' in lines[0]
    assert '"text":"half a line"' in lines[0]
    assert '"text":"and another"' in lines[1]


@pytest.mark.parametrize("end", ["", "\n"])
def test_long_lines_become_several_events(pipe, end):
    stream = LineStream("app shop", "stdout", pipe[0])
    stream.write("x" * (2 * MAX_OUTPUT_LINE + 1) + end + "\n")
    texts = [line.partition('"text":"')[2] for line in pipe[1]().splitlines()]
    assert [text.count("x") for text in texts] == [MAX_OUTPUT_LINE, MAX_OUTPUT_LINE, 1]


def test_threads_do_not_mix_their_lines(pipe):
    stream = LineStream("app shop", "stdout", pipe[0])
    threads = [threading.Thread(target=lambda c=c: stream.write(f"{c * 20}\n" * 50)) for c in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    texts = [line.partition('"text":"')[2].partition('"')[0] for line in pipe[1]().splitlines()]
    assert sorted(texts) == sorted([c * 20 for c in "abcd"] * 50)


def test_octets_are_text(pipe):
    stream = LineStream("app shop", "stdout", pipe[0])
    octets = "gr\u00fcn\n".encode()
    assert stream.buffer.write(octets[:3]) == 3
    stream.buffer.write(memoryview(octets[3:]))
    stream.buffer.write(b"\xff\n")
    stream.buffer.flush()
    lines = pipe[1]().splitlines()
    assert ["gr\u00fcn" in lines[0], "xff" in lines[1], len(lines)] == [True, True, 2]


def test_reconfigure_changes_nothing(pipe):
    stream = LineStream("app shop", "stdout", pipe[0])
    stream.reconfigure(encoding="latin-1", line_buffering=True)
    stream.write("\u2713\n")
    assert "\u2713" in pipe[1]()


class Chatty(str):
    """Text that prints while it is written, as a signal handler or a __del__ may."""

    def __radd__(self, before):
        self.stream.write("within\n")
        return before + str(self)


def test_who_prints_within_a_write_does_not_wait_for_itself(pipe):
    stream = LineStream("app shop", "stdout", pipe[0])
    text = Chatty("around\n")
    text.stream = stream
    writer = threading.Thread(target=stream.write, args=(text,), daemon=True)
    writer.start()
    writer.join(10)
    assert not writer.is_alive()
    shown = pipe[1]()
    assert '"text":"within"' in shown
    assert '"text":"around"' in shown


def test_print_and_logging_are_diverted(pipe, monkeypatch):
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    monkeypatch.setattr(sys, "stderr", sys.stderr)
    divert_output("app shop", pipe[0])
    print("printed")
    handler = logging.StreamHandler()
    handler.emit(logging.makeLogRecord({"msg": "logged"}))
    shown = pipe[1]()
    assert '"stream":"stdout","text":"printed"' in shown
    assert '"stream":"stderr","text":"logged"' in shown
