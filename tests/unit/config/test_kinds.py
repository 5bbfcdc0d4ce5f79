"""Addresses, networks, hosts, header fields, URLs: the one spelling that is kept, and what is refused."""

import pytest
from pydantic import TypeAdapter, ValidationError

from headgate.config.kinds import (
    Address,
    FieldName,
    FieldValue,
    FileName,
    HostPattern,
    Nameserver,
    Network,
    Origin,
    OriginUrl,
    ServerName,
    UserName,
    parse_address,
    parse_origin,
)


def read(kind, value, **options):
    return TypeAdapter(kind).validate_python(value, **options)


def refusal(kind, value):
    with pytest.raises(ValidationError) as caught:
        read(kind, value)
    (error,) = caught.value.errors()
    return error["ctx"]


@pytest.mark.parametrize(
    ("kind", "text", "kept"),
    [
        (Address, "0.0.0.0:443", "0.0.0.0:443"),
        (Address, "[2001:DB8:0::1]:0", "[2001:db8::1]:0"),
        (Address, "[fe80::1%eth0]:443", "[fe80::1%eth0]:443"),
        (Network, "10.0.0.0/8", "10.0.0.0/8"),
        (Network, "192.0.2.1", "192.0.2.1/32"),
        (Network, "2001:DB8::/32", "2001:db8::/32"),
        (Nameserver, "192.0.2.53", "192.0.2.53:53"),
        (Nameserver, "::1", "[::1]:53"),
        (Nameserver, "[::1]:5353", "[::1]:5353"),
        (HostPattern, "Example.COM.", "example.com"),
        (HostPattern, "*.Example.com", "*.example.com"),
        (HostPattern, "_dmarc.xn--bcher-kva.example", "_dmarc.xn--bcher-kva.example"),
        (HostPattern, "127.0.0.1", "127.0.0.1"),
        (HostPattern, "[2001:DB8::1]", "[2001:db8::1]"),
        (HostPattern, "localhost", "localhost"),
        (ServerName, "App.internal", "app.internal"),
        (FieldName, "X-Frame-Options", "X-Frame-Options"),
        (FieldValue, "a\tb é", "a\tb é"),
        (FieldValue, "", ""),
        (UserName, "www-data", "www-data"),
        (UserName, "", ""),
        (OriginUrl, "http://App:8080/", "http://app:8080"),
        (OriginUrl, "https://app.internal", "https://app.internal:443"),
        (OriginUrl, "http://[2001:db8::1]", "http://[2001:db8::1]:80"),
        (OriginUrl, "unix:/run/app.sock", "unix:/run/app.sock"),
        (OriginUrl, "unix:///run/app.sock", "unix:/run/app.sock"),
    ],
)
def test_what_is_kept(kind, text, kept):
    assert read(kind, text) == kept
    assert read(kind, kept) == kept


@pytest.mark.parametrize(
    ("kind", "text", "hint"),
    [
        (Address, "0.0.0.0", 'add the port: "0.0.0.0:443"'),
        (Address, ":443", 'every interface is "0.0.0.0:443" and "[::]:443"'),
        (Address, "*:80", 'every interface is "0.0.0.0:80" and "[::]:80"'),
        (Address, "::1:443", 'write "[::1]:443"'),
        (Address, "localhost:80", ""),
        (Address, "[127.0.0.1]:80", 'write "127.0.0.1:80"'),
        (Address, "0.0.0.0:65536", ""),
        (Address, "0.0.0.0:http", ""),
        (Address, "0.0.0.0:٣", ""),
        (Address, "", ""),
        (Network, "10.0.0.1/8", 'there are bits set behind the prefix; did you mean "10.0.0.0/8"?'),
        (Network, "10.0.0.0/33", ""),
        (Network, "private", ""),
        (Nameserver, "dns.example", ""),
        (HostPattern, "*", "leave `hosts` out for any host"),
        (HostPattern, "https://example.com", "a host stands alone; the path goes into `path`"),
        (HostPattern, "example.com/x", "a host stands alone; the path goes into `path`"),
        (HostPattern, "example.com:443", 'a route takes its host on every port; write "example.com"'),
        (HostPattern, "*.*.com", "a star stands for whole labels, once, in front"),
        (HostPattern, "a*.com", "a star stands for whole labels, once, in front"),
        (HostPattern, "bücher.example", 'write its ASCII form: "xn--bcher-kva.example"'),
        (HostPattern, "-a.com", ""),
        (HostPattern, "a..com", ""),
        (HostPattern, "a" * 64 + ".com", ""),
        (HostPattern, ".".join(["a" * 60] * 5), ""),
        (ServerName, "*.example.com", "neither a pattern nor an address can be asked for"),
        (ServerName, "10.0.0.1", "neither a pattern nor an address can be asked for"),
        (FieldName, "X Y", ""),
        (FieldName, "", ""),
        (FieldName, "Content-Length", "Headgate itself writes Content-Length"),
        (FieldName, "TRANSFER-encoding", "Headgate itself writes TRANSFER-encoding"),
        (FieldValue, "a\r\nb: c", ""),
        (FieldValue, "a\0", ""),
        (FieldValue, " a", ""),
        (UserName, "a b", ""),
        (OriginUrl, "10.0.0.1:8080", 'did you mean "http://10.0.0.1:8080"?'),
        (OriginUrl, "ftp://a", ""),
        (OriginUrl, "http://", ""),
        (
            OriginUrl,
            "http://a/base",
            "an endpoint has no path: the request's own path goes to the origin unchanged",
        ),
        (
            OriginUrl,
            "http://a?x",
            "an endpoint has no path: the request's own path goes to the origin unchanged",
        ),
        (OriginUrl, "http://u:p@a", "send credentials with set_request_headers"),
        (OriginUrl, "http://a:99999", ""),
        (OriginUrl, "http://a:0", ""),
        (OriginUrl, "http://[::1", ""),
        (OriginUrl, "http://a b", ""),
        (OriginUrl, "unix:run/app.sock", ""),
        (OriginUrl, "unix:/" + "a" * 107, ""),
    ],
)
def test_what_is_refused(kind, text, hint):
    context = refusal(kind, text)
    assert context["expected"]
    assert context["hint"] == hint


def test_a_socket_name_may_have_107_bytes():
    assert parse_origin("unix:/" + "a" * 106).path == "/" + "a" * 106


def test_parts():
    assert parse_address("[::]:443") == ("::", 443)
    assert parse_origin("https://[::1]:8443") == Origin("https", "::1", 8443)
    assert parse_origin("unix:/x") == Origin("http", "", 0, "/x")


def test_file_names_start_from_the_folder_of_the_configuration():
    assert str(read(FileName, "a/b.pem", context={"base": "/etc/headgate"})) == "/etc/headgate/a/b.pem"
    assert str(read(FileName, "/a/b.pem", context={"base": "/etc/headgate"})) == "/a/b.pem"
    assert str(read(FileName, "a.pem")) == "a.pem"


@pytest.mark.parametrize("name", ["", "a\0b", "x" * 4097, 3])
def test_what_is_no_file_name(name):
    assert refusal(FileName, name)["expected"]


def test_a_tilde_is_a_shells():
    assert refusal(FileName, "~/a.pem")["hint"].startswith("~ is a shell's")
