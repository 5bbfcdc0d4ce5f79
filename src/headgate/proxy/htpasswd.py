"""htpasswd files: users and hashes of their passwords, as `htpasswd` of Apache and `openssl passwd` write them.

    # one line for each user; empty lines and lines with a # in front are skipped
    alice:$2y$10$...                            bcrypt (htpasswd -B): the one to take
    bob:$6$salt$...   carol:$5$salt$...         SHA-crypt (openssl passwd -6, -5)
    dave:$apr1$salt$...   erin:{SHA}...         MD5 (htpasswd's default) and bare SHA-1: read, because they are there

bcrypt and SHA-crypt are libcrypt's, called directly: Python lost its `crypt` with 3.13, every Linux has the
library (passwords of the system are checked with it), and it lets go of the interpreter while it computes.
What these cannot be is plain text or DES, which are refused where they stand, and so are hashes that cost more than
`MAX_BCRYPT_COST` or `MAX_ROUNDS`: each check holds a thread for so long.
"""

import binascii
import ctypes
import hashlib
import hmac
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final, final

from headgate.errors import HeadgateError

# A second of CPU for each check, about; htpasswd writes 5 by default, OWASP wants 10.
MAX_BCRYPT_COST: Final = 14
# SHA-crypt's own default is 5000; this many take some 0.2 s.
MAX_ROUNDS: Final = 200_000
# A file is held as a whole, and travels to every worker: some 100 bytes each.
MAX_USERS: Final = 10_000
# Beyond it crypt(3) takes no password at all (CRYPT_MAX_PASSPHRASE_SIZE of libxcrypt).
MAX_PASSWORD: Final = 511

_BCRYPT: Final = re.compile(rb"\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{53}")
_SHA_CRYPT: Final = re.compile(
    rb"\$(?:5|6)\$(?:rounds=([0-9]{1,9})\$)?[^$:\s]{0,16}\$(?:[./A-Za-z0-9]{43}|[./A-Za-z0-9]{86})"
)
_APR1: Final = re.compile(rb"\$apr1\$([^$:\s]{1,8})\$[./A-Za-z0-9]{22}")
_SHA1: Final = re.compile(rb"\{SHA\}[A-Za-z0-9+/]{27}=")
_ITOA64: Final = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
# libxcrypt wants 32 KiB of room, glibc of before 131,232 octets, musl 260.
_ROOM: Final = 1 << 18

Crypt = Callable[[bytes, bytes], bytes]


class HtpasswdError(HeadgateError):
    """A file that cannot be used; says which line and why, and never what stands in it."""


@final
class Htpasswd:
    """The users of one file. `verify` may be called from any thread."""

    def __init__(self, content: bytes) -> None:
        """Read a file. Raises `HtpasswdError`."""
        self._hashes: dict[bytes, bytes] = {}
        for number, line in enumerate(content.splitlines(), 1):
            line = line.strip()
            if line and not line.startswith(b"#"):
                user, colon, hashed = line.partition(b":")
                hashed = hashed.partition(b":")[0]
                if not colon or not user:
                    raise HtpasswdError(f"line {number}: not of the form user:hash")
                problem = _problem_of(hashed) or ("a user that stands above" if user in self._hashes else "")
                if problem:
                    raise HtpasswdError(f"line {number}: {problem}")
                self._hashes[user] = hashed
        if len(self._hashes) > MAX_USERS:
            raise HtpasswdError(f"{len(self._hashes)} users, more than {MAX_USERS}")
        if not self._hashes:
            raise HtpasswdError("there is no user in it")
        # Who is not there costs as much as the most costly who is: else the time of an answer tells which names
        # exist. It still tells those with cheaper hashes: what helps is a file with hashes of one kind.
        self._decoy = max(self._hashes.values(), key=_cost)

    def __repr__(self) -> str:
        return f"<Htpasswd {len(self._hashes)} users>"

    def verify(self, user: bytes, password: bytes) -> bool:
        """Tell whether this is the user's password; takes as long as the hash wants it to."""
        hashed = self._hashes.get(user)
        right = _matches(self._decoy if hashed is None else hashed, password)
        return right and hashed is not None


def _problem_of(hashed: bytes) -> str:
    """Return why a hash cannot be used, "" when it can."""
    if _APR1.fullmatch(hashed) or _SHA1.fullmatch(hashed):
        return ""
    if bcrypt := _BCRYPT.fullmatch(hashed):
        if int(bcrypt[1]) > MAX_BCRYPT_COST:
            return f"bcrypt with a cost of {int(bcrypt[1])}, more than {MAX_BCRYPT_COST}"
    elif sha_crypt := _SHA_CRYPT.fullmatch(hashed):
        if sha_crypt[1] and int(sha_crypt[1]) > MAX_ROUNDS:
            return f"SHA-crypt with {int(sha_crypt[1])} rounds, more than {MAX_ROUNDS}"
    else:
        return "a hash that is none of bcrypt, SHA-crypt, $apr1$ and {SHA}; htpasswd -B makes one"
    return "" if _is_known(hashed[:3]) else "a hash that the libcrypt of this system does not know"


def _cost(hashed: bytes) -> int:
    """Return about how many microseconds a check of this hash takes."""
    if bcrypt := _BCRYPT.fullmatch(hashed):
        return 60 << int(bcrypt[1])
    if sha_crypt := _SHA_CRYPT.fullmatch(hashed):
        return max(1000, int(sha_crypt[1] or 5000))
    return 1000 if _APR1.fullmatch(hashed) else 1


@lru_cache(maxsize=8)
def _is_known(kind: bytes) -> bool:
    cheapest = b"$04$" + b"." * 22 if kind.startswith(b"$2") else b"rounds=1000$salt$"
    return _crypt()(b"", kind + cheapest).startswith(kind)


def _matches(hashed: bytes, password: bytes) -> bool:
    if len(password) > MAX_PASSWORD or b"\0" in password:
        return False
    if hashed.startswith(b"{SHA}"):
        # Apache's {SHA} is SHA-1 without salt: an operator who has such files knows.
        digest = hashlib.sha1(password, usedforsecurity=False).digest()
        found = b"{SHA}" + binascii.b2a_base64(digest, newline=False)
    elif hashed.startswith(b"$apr1$"):
        found = apr1(password, hashed.split(b"$")[2])
    else:
        found = _crypt()(password, hashed)
    return hmac.compare_digest(found, hashed)


@lru_cache(maxsize=1)
def _crypt() -> Crypt:
    """Return crypt(3): hash a password the way that another hash was made. Raises `HtpasswdError`."""
    for name in ("libcrypt.so.1", "libcrypt.so.2", None):  # None: musl has it in its C library
        try:
            function = ctypes.CDLL(name).crypt_r
        except (OSError, AttributeError):
            continue
        break
    else:
        raise HtpasswdError("there is no libcrypt on this system (libcrypt1, libxcrypt)")
    function.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p]
    function.restype = ctypes.c_char_p

    def crypt(password: bytes, setting: bytes) -> bytes:
        found: bytes | None = function(password, setting, ctypes.create_string_buffer(_ROOM))
        return found or b""

    return crypt


def apr1(password: bytes, salt: bytes) -> bytes:
    """Return Apache's MD5 hash: that of FreeBSD (`$1$`) under another name, a thousand rounds."""
    inner = hashlib.md5(password + salt + password, usedforsecurity=False).digest()
    outer = password + b"$apr1$" + salt
    left = len(password)
    while left > 0:
        outer += inner[: min(16, left)]
        left -= 16
    left = len(password)
    while left:
        outer += b"\0" if left & 1 else password[:1]
        left >>= 1
    digest = hashlib.md5(outer, usedforsecurity=False).digest()
    for i in range(1000):
        round_ = password if i & 1 else digest
        if i % 3:
            round_ += salt
        if i % 7:
            round_ += password
        round_ += digest if i & 1 else password
        digest = hashlib.md5(round_, usedforsecurity=False).digest()
    text = b""
    for first, second, third in ((0, 6, 12), (1, 7, 13), (2, 8, 14), (3, 9, 15), (4, 10, 5)):
        text += _base64(digest[first] << 16 | digest[second] << 8 | digest[third], 4)
    return b"$apr1$" + salt + b"$" + text + _base64(digest[11], 2)


def _base64(value: int, count: int) -> bytes:
    return bytes(_ITOA64[value >> 6 * place & 0x3F] for place in range(count))
