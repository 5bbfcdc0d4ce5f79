"""The panel: a line for each listener and certificate, on whatever stderr is."""

import time

from headgate.app import PANEL_CERTIFICATES, CertificateLine, ListenerLine, StartReport
from headgate.cli.panel import print_panel
from headgate.tls.staple import Staple

NOW = time.time()
LISTENERS = (
    ListenerLine("0.0.0.0:443", "https", "h1"),
    ListenerLine("[::]:80", "http", "redirects to https"),
)


def certificate(file, names=("a.test",), staple=None, must_staple=False, ends=90, problem=""):
    return CertificateLine(file, names, "ecdsa", NOW + ends * 86_400, must_staple, staple, problem)


def shown(capsys, *certificates):
    print_panel(StartReport(2, LISTENERS, certificates), "a hint")
    return capsys.readouterr().err


def test_one_line_for_each(capsys):
    text = shown(
        capsys,
        certificate(
            "/a.pem", ("a.test", "b.test", "c.test", "d.test"), Staple(b"", NOW, time.time() + 7300, "good")
        ),
        certificate("/b.pem", must_staple=True),
        certificate("/c.pem", ends=-2),
        certificate("/d.pem", (), problem="there is no certificate in it"),
        certificate("/e.pem", staple=Staple(b"", NOW, NOW + 7300, "revoked")),
    )
    lines = {line.split()[1]: line for line in text.splitlines() if len(line.split()) > 2}
    assert "0.0.0.0:443" in lines["https"]
    assert "redirects to https" in lines["http"]
    assert "a.test, b.test, c.test and 1 more" in lines["/a.pem"]
    assert "good, in 2 h 1 min" in lines["/a.pem"]
    assert "none, must-staple" in lines["/b.pem"]
    assert "ended 2 d ago" in lines["/c.pem"]
    assert "there is no certificate in it" in lines["/d.pem"]
    assert "revoked" in lines["/e.pem"]
    assert "2 workers" in text
    assert text.splitlines()[-1] == "a hint"


def test_many_certificates_are_counted(capsys):
    many = [certificate(f"/{number}.pem") for number in range(PANEL_CERTIFICATES + 7)]
    text = shown(capsys, *many)
    assert f"/{PANEL_CERTIFICATES - 1}.pem" in text
    assert f"/{PANEL_CERTIFICATES}.pem" not in text
    assert "and 7 more" in text


def test_names_are_no_markup(capsys):
    assert "/etc/[red]x[/red]:cat:.pem" in shown(capsys, certificate("/etc/[red]x[/red]:cat:.pem"))


def test_no_certificate_no_table(capsys):
    assert "certificate" not in shown(capsys)


def test_a_folder_that_all_are_in_is_said_once(capsys):
    text = shown(capsys, certificate("/etc/certs/a.pem"), certificate("/etc/certs/b.pem"))
    assert text.count("/etc/certs/") == 1
    assert "in /etc/certs/" in text
    assert "/etc/certs/a.pem" in shown(
        capsys, certificate("/etc/certs/a.pem"), certificate("/etc/other/b.pem")
    )
    assert "/etc/certs/a.pem" in shown(capsys, certificate("/etc/certs/a.pem"))
