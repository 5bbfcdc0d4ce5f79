import os

import pytest

from headgate.net.addresses import Address
from headgate.net.hosts import MAX_NAMESERVERS, HostsFile, ResolvConfFile, parse_resolv_conf


def test_hosts_file_names_aliases_and_both_families(tmp_path):
    path = tmp_path / "hosts"
    path.write_text(
        "# comment\n127.0.0.9 App.Example alias # tail\n::9 app.example\nnonsense x\n127.0.0.9 app.example\n"
    )
    hosts = HostsFile(str(path))
    assert hosts.lookup("app.example.") == (Address("ipv4", "127.0.0.9"), Address("ipv6", "::9"))
    assert hosts.lookup("ALIAS") == (Address("ipv4", "127.0.0.9"),)
    assert hosts.lookup("x") == ()
    assert hosts.lookup("tail") == ()


def test_hosts_file_is_read_again_when_it_changes_appears_and_disappears(tmp_path):
    path = tmp_path / "hosts"
    hosts = HostsFile(str(path))
    assert hosts.lookup("a.example") == ()
    path.write_text("127.0.0.1 a.example\n")
    assert hosts.lookup("a.example") == (Address("ipv4", "127.0.0.1"),)
    # Same size, same time: replaced by rename, as editors do; the inode tells.
    stamp = path.stat()
    fresh = tmp_path / "hosts.new"
    fresh.write_text("127.0.0.2 a.example\n")
    os.utime(fresh, ns=(stamp.st_mtime_ns, stamp.st_mtime_ns))
    fresh.rename(path)
    assert hosts.lookup("a.example") == (Address("ipv4", "127.0.0.2"),)
    path.unlink()
    assert hosts.lookup("a.example") == ()


def test_resolv_conf():
    lines = [line.split() for line in (
        "nameserver 10.0.0.1", "; old", "nameserver fd00::1", "search a.example b.example", "options rotate ndots:3",
        "options ndots:x", "nameserver", "sortlist 10.0.0.0",
    )]  # fmt: skip
    conf = parse_resolv_conf([words for words in lines if words])
    assert conf.nameservers == ("10.0.0.1", "fd00::1")
    assert conf.search == ("a.example", "b.example")
    assert conf.ndots == 3


def test_resolv_conf_limits():
    many = [["nameserver", f"10.0.0.{n}"] for n in range(MAX_NAMESERVERS + 1)]
    conf = parse_resolv_conf(
        [*many, ["options", "ndots:99"], ["search", *"abcdefgh"], ["domain", "last.example"]]
    )
    assert len(conf.nameservers) == MAX_NAMESERVERS
    assert conf.ndots == 15
    assert conf.search == ("last.example",)


def test_resolv_conf_is_read_again_and_its_absence_is_an_error(tmp_path):
    path = tmp_path / "resolv.conf"
    file = ResolvConfFile(str(path))
    with pytest.raises(FileNotFoundError):
        file.load()
    path.write_text("nameserver 10.0.0.1\n")
    assert file.load().nameservers == ("10.0.0.1",)
    path.write_text("nameserver 10.0.0.22\n")
    assert file.load().nameservers == ("10.0.0.22",)
