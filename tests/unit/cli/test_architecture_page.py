"""docs/architecture.md names modules: all of them are there, and none is left out of the map."""

import re
from pathlib import Path

import pytest
from tests.unit.test_house import ENGINE_ORDER, MODULES, RANKS

PAGE = (Path(__file__).parents[3] / "docs" / "architecture.md").read_text()
MAP = dict(re.findall(r"^\| `([a-z]+)/` \| (.*) \|$", PAGE, re.MULTILINE))
PACKAGES = {name.rpartition(".")[0] for name in MODULES} - {""}
# Many small tables; and engines that are on their way.
NOT_LISTED = {"config", "engine"}


def words(text):
    return re.findall(r"`([a-z0-9_/]+)`", text)


def test_the_ranks_are_those_that_are_enforced():
    told = re.search(r"`(errors clock[^`]*)`", PAGE)[1].split("<")
    assert [rank.split() for rank in told] == [list(rank) for rank in RANKS]
    assert re.search(r"inside `engine`: `([^`]*)`", PAGE)[1].split() == list(ENGINE_ORDER)


@pytest.mark.parametrize("room", MAP)
def test_the_map_names_the_modules_of_a_room(room):
    named, inside = set(), room
    for word in words(MAP[room]):
        if word.endswith("/"):  # a room within the room; what follows may be in it
            inside = f"{room}.{word[:-1]}"
            assert inside in PACKAGES
        else:
            within = f"{inside}.{word}"
            named.add(within if within in MODULES else f"{room}.{word}")
    assert sorted(named - set(MODULES)) == []
    there = {name for name in MODULES if name.startswith(f"{room}.") and name not in PACKAGES}
    if room not in NOT_LISTED:
        listed_whole = {name for name in there if name.startswith("upstream.policies.")}
        assert sorted(there - listed_whole - named) == []


def test_every_room_is_on_the_map():
    rooms = {name.partition(".")[0] for name in MODULES if "." in name} - {"testing"}
    assert rooms == set(MAP) | {"demo", "cli"}


@pytest.mark.parametrize(
    "path",
    [
        word
        for word in dict.fromkeys(words(PAGE))
        if word.partition("/")[0] in PACKAGES and word.strip("/").count("/")
    ],
)
def test_what_a_step_names_is_there(path):
    name = path.strip("/").replace("/", ".")
    assert name in MODULES or name in PACKAGES
