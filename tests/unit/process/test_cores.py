"""Cores: affinity, and quotas anywhere on the way up the cgroup tree."""

import os

import pytest

from headgate.process.cores import usable_cores

ALL = len(os.sched_getaffinity(0))


@pytest.fixture
def cgroup(tmp_path):
    (tmp_path / "cgroup").write_text("0::/a/b\n")
    (tmp_path / "fs" / "a" / "b").mkdir(parents=True)

    def cores(**quotas):
        for name, text in quotas.items():
            directory = {"root": "", "parent": "a", "own": "a/b"}[name]
            (tmp_path / "fs" / directory / "cpu.max").write_text(text)
        return usable_cores(tmp_path / "cgroup", tmp_path / "fs")

    return cores


@pytest.mark.parametrize(
    ("quotas", "wanted"),
    [
        ({}, ALL),
        ({"own": "max 100000"}, ALL),
        ({"own": "100000 100000"}, 1),
        ({"own": "20000 100000"}, 1),
        ({"own": "150000 100000"}, min(2, ALL)),
        ({"own": "max 100000", "parent": "100000 100000"}, 1),
        ({"root": "90000 100000"}, 1),
        ({"own": "9900000 100000"}, ALL),
        ({"own": "nonsense"}, ALL),
        ({"own": "1 0"}, ALL),
    ],
)
def test_quotas(cgroup, quotas, wanted):
    assert cgroup(**quotas) == wanted


def test_without_cgroups_the_affinity_counts(tmp_path):
    assert usable_cores(tmp_path / "absent", tmp_path) == ALL
    (tmp_path / "old").write_text("4:cpu:/x\n")
    assert usable_cores(tmp_path / "old", tmp_path) == ALL
