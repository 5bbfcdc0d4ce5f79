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
