"""Kinds of text in the configuration: addresses, networks, host patterns, header fields, URLs and file names.

Each validator returns the one spelling that the rest of Headgate compares (hosts in lower case, addresses as
`ipaddress` writes them), and each refusal says what was expected in words that a reader of the file understands.
"""

import ipaddress
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, ValidationInfo, WithJsonSchema

from headgate.config.units import fault

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2
_VALUE: Final = re.compile(
    r"[\t\x20-\x7e\x80-\U0010ffff]*"
)  # RFC 9110 section 5.5, without control characters
_LABEL: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_APPLICATION: Final = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*", re.ASCII)
_USER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*\$?")
# These say how a message is framed or how a connection is used: they belong to Headgate (RFC 9110 section 7.6.1).
FRAMING_FIELDS: Final = frozenset(
    {
        "connection",
        "content-length",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
MAX_PATH: Final = 4096  # PATH_MAX of Linux


def parse_address(text: str) -> tuple[str, int]:
    """Return (IP address, port) of "192.0.2.1:443" or "[2001:db8::1]:443". Raises `ValueError`."""
    want = 'an IP address and a port, such as "0.0.0.0:443" or "[::]:443"'
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit():
        raise fault(
            want, f'add the port: "{text}:443"' if _ip(text.strip("[]")) and text.count(":") != 1 else ""
        )
    if int(port) > 65535:
        raise fault("a port from 0 to 65535")
    bracketed = host.startswith("[") and host.endswith("]")
    address = _ip(host[1:-1] if bracketed else host)
    if address is None:
        raise fault(
            want, f'every interface is "0.0.0.0:{port}" and "[::]:{port}"' if host in ("", "*") else ""
        )
    if bracketed != (address.version == 6):
        raise fault(
            want, f'write "[{address}]:{port}"' if address.version == 6 else f'write "{address}:{port}"'
        )
    return str(address), int(port)


def format_address(host: str, port: int) -> str:
    """Return "192.0.2.1:443" or "[2001:db8::1]:443"."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _address(text: str) -> str:
    return format_address(*parse_address(text))


def _network(text: str) -> str:
    want = 'a network such as "10.0.0.0/8" or "2001:db8::/32", or one address'
    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        pass
    try:
        nearest = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise fault(want) from None
    raise fault(want, f'there are bits set behind the prefix; did you mean "{nearest}"?')


def _nameserver(text: str) -> str:
    address = _ip(text)
    if address is not None:
        return format_address(str(address), 53)
    try:
        return _address(text)
    except ValueError:
        raise fault(
            'the IP address of a name server, with or without a port ("192.0.2.53", "[::1]:5353")'
        ) from None


def _host(text: str) -> str:
    """A host pattern: a name, `*.` and a name, or an IP address (IPv6 in brackets)."""
    want = 'a host name such as "example.com" or "*.example.com", without scheme and port'
    if text in ("*", ""):
        raise fault(want, "leave `hosts` out for any host")
    name = text.lower().removesuffix(".")
    if name.startswith("[") and name.endswith("]") and (address := _ip(name[1:-1])) is not None:
        return f"[{address}]"
    labels = name.removeprefix("*.").split(".")
    if len(name) <= 253 and all(_LABEL.fullmatch(label) for label in labels):
        return name
    raise fault(want, _host_hint(name))


def _server_name(text: str) -> str:
    """A host name as it goes into SNI: no star, and no address."""
    name = _host(text)
    if name.startswith(("*", "[")) or _ip(name) is not None:
        raise fault("one host name", "neither a pattern nor an address can be asked for")
    return name


def _host_name(text: str) -> str:
    """A host with or without a port, as it stands in Host."""
    name, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or (":" in name and not name.endswith("]")):
        name, port = text, ""
    host = _host(name)
    if host.startswith("*") or len(port) > 5 or (port and not 0 < int(port) < 65536):
        raise fault('one host, with or without a port, such as "app.example" or "app.example:8080"')
    return f"{host}:{port}" if port else host


def _host_hint(name: str) -> str:
    if "://" in name or "/" in name:
        return "a host stands alone; the path goes into `path`"
    if re.fullmatch(r"[^:]+:[0-9]+", name):
        return f'a route takes its host on every port; write "{name.rpartition(":")[0]}"'
    if "*" in name.removeprefix("*."):
        return "a star stands for whole labels, once, in front"
    if not name.isascii():
        try:
            return f'write its ASCII form: "{name.encode("idna").decode("ascii")}"'
        except UnicodeError:
            return "write its ASCII form (xn--…)"
    return ""


def _field_name(text: str) -> str:
    if not _TOKEN.fullmatch(text):
        raise fault("the name of a header field (RFC 9110 section 5.1)")
    if text.lower() in FRAMING_FIELDS:
        raise fault("a header field that does not frame the message", f"Headgate itself writes {text}")
    return text


def _field_value(text: str) -> str:
    if not _VALUE.fullmatch(text) or text != text.strip(" \t"):
        raise fault(
            "the value of a header field: one line, no control characters, no white space at its ends"
        )
    return text


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an endpoint is: `host` without brackets and `port`, or `path` of a Unix socket (scheme "http" then), or
    `path` "module:app" of a Python application (scheme "asgi"). The scheme "tcp" is for octets alone."""

    scheme: str
    host: str
    port: int
    path: str = ""


def parse_origin(text: str) -> Origin:
    """Return what "http://host[:port]", "https://host[:port]", "tcp://host:port", "unix:/path" or "asgi:module:app"
    names.

    Raises `ValueError`.
    """
    if text.startswith("asgi:"):
        return Origin("asgi", "", 0, _application(text.removeprefix("asgi:")))
    want = 'an origin such as "http://10.0.0.1:8080", "https://app.internal" or "unix:/run/app.sock"'
    if text.startswith("unix:"):
        path = text.removeprefix("unix:").removeprefix("//")
        if not path.startswith("/") or "\0" in path or len(path.encode()) > 107:  # sun_path is 108 bytes
            raise fault('an absolute path of at most 107 bytes behind "unix:"')
        return Origin("http", "", 0, path)
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        raise fault(want) from None
    if url.scheme == "tcp" and url.netloc and not port:
        raise fault("tcp://host:port", "tcp has no usual port")
    if url.scheme not in ("http", "https", "tcp") or not url.netloc:
        raise fault(want, f'did you mean "http://{text}"?' if re.fullmatch(r"[\w.\[\]:-]+", text) else "")
    _only_origin(url, want)
    host = (url.hostname or "").removesuffix(".")
    if port == 0 or not (_ip(host) or all(_LABEL.fullmatch(label) for label in host.split("."))):
        raise fault(want)
    return Origin(url.scheme, host, port or (443 if url.scheme == "https" else 80))


def _application(text: str) -> str:
    """Return "module:app". Whether there is such a module is asked where it is to run: importing runs its code."""
    if _APPLICATION.fullmatch(text):
        return text
    want = 'an application such as "asgi:shop.main:app" (module, colon, name)'
    hint = ""
    if re.fullmatch(r"[\w.]+", text):
        hint = f'did you mean "asgi:{text}:app"?'
    elif "/" in text or text.endswith(".py"):
        hint = "a module's name, not its file's; its folder goes into asgi.app_dir"
    raise fault(want, hint)


def _only_origin(url: SplitResult, want: str) -> None:
    if url.username is not None or url.password is not None:
        raise fault(want, "send credentials with set_request_headers")
    if url.path not in ("", "/") or url.query or url.fragment:
        raise fault(want, "an endpoint has no path: the request's own path goes to the origin unchanged")


def _origin(text: str) -> str:
    origin = parse_origin(text)
    if origin.path:
        return f"{'asgi' if origin.scheme == 'asgi' else 'unix'}:{origin.path}"
    return f"{origin.scheme}://{format_address(origin.host, origin.port)}"


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise fault("a name of up to 64 letters, digits, dots, dashes and underscores")
    return text


def _user(text: str) -> str:
    if text and not _USER.fullmatch(text):
        raise fault('the name of a user, such as "headgate", or "" to stay who started us')
    return text


def _file_name(value: object, info: ValidationInfo) -> str:
    """Resolve a file name against the folder of the configuration file, which the loader puts into the context."""
    if isinstance(value, Path):
        value = str(value)
    if not isinstance(value, str):
        raise fault("a file name in quotes")
    if not value or "\0" in value or len(value.encode()) > MAX_PATH:
        raise fault(f"a file name of 1 to {MAX_PATH} bytes")
    if value.startswith("~"):
        raise fault("a file name", "~ is a shell's; write the folder out, or ${HOME}")
    base = info.context.get("base") if isinstance(info.context, dict) else None
    return os.path.join(base, value) if base is not None else value


def _schema(title: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "title": title})


Address = Annotated[str, AfterValidator(_address), _schema("address")]
"""IP address and port."""
Network = Annotated[str, AfterValidator(_network), _schema("network")]
"""A network in prefix notation."""
Nameserver = Annotated[str, AfterValidator(_nameserver), _schema("address")]
"""IP address and port of a name server; the port is 53 unless given."""
HostPattern = Annotated[str, AfterValidator(_host), _schema("host")]
"""A host name in lower case, `*.` and one, or an IP address."""
HostName = Annotated[str, AfterValidator(_host_name), _schema("host")]
"""One host in lower case, with or without a port, as it stands in Host."""
ServerName = Annotated[str, AfterValidator(_server_name), _schema("host")]
"""One host name in lower case."""
FieldName = Annotated[str, AfterValidator(_field_name), _schema("field name")]
"""The name of a header field, in the spelling it was given."""
FieldValue = Annotated[str, AfterValidator(_field_value), _schema("text")]
"""The value of a header field."""
OriginUrl = Annotated[str, AfterValidator(_origin), _schema("URL")]
"""What `parse_origin` takes, with the port written out."""
Name = Annotated[str, AfterValidator(_name), _schema("name")]
"""A name that other tables refer to; never an address, for those have colons."""
UserName = Annotated[str, AfterValidator(_user), _schema("user")]
"""A user's name, or nothing."""
FileName = Annotated[Path, BeforeValidator(_file_name), _schema("file")]
"""A file, absolute once the loader has seen it."""
FilePattern = Annotated[str, BeforeValidator(_file_name), _schema("file or glob")]
"""A file or a glob, absolute once the loader has seen it."""
