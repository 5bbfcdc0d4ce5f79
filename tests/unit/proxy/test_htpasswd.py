import subprocess
import threading
import time

import pytest

from headgate.proxy.htpasswd import (
    MAX_BCRYPT_COST,
    MAX_PASSWORD,
    MAX_ROUNDS,
    MAX_USERS,
    Htpasswd,
    HtpasswdError,
    apr1,
)

# The vectors of bcrypt's test suite (crypt_blowfish), of Drepper's SHA-crypt paper, and of Apache's documentation.
BCRYPT = b"$2y$05$CCCCCCCCCCCCCCCCCCCCC.7uG0VCzI2bS7j6ymqJi9CdcdxiRTWNy"
SHA256 = b"$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5"
SHA512 = (
    b"$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1"
)
APR1 = b"$apr1$r31.....$HqJZimcKQFAMYayBlzkrA/"
SHA1 = b"{SHA}VBPuJHI7uixaa6LQGWx4s+5GKNE="


@pytest.mark.parametrize(
    ("hashed", "password"),
    [
        (BCRYPT, b""),
        (BCRYPT.replace(b"$2y$", b"$2b$"), b""),
        (SHA256, b"Hello world!"),
        (SHA512, b"Hello world!"),
        (APR1, b"myPassword"),
        (SHA1, b"myPassword"),
    ],
)
def test_known_hashes(hashed, password):
    users = Htpasswd(b"alice:" + hashed + b"\n")
    assert users.verify(b"alice", password)
    assert not users.verify(b"alice", password + b"x")
    assert not users.verify(b"bob", password)


@pytest.mark.parametrize("kind", ["-apr1", "-5", "-6"])
@pytest.mark.parametrize("password", ["x", "a longer one of more than sixteen octets", "päss", "p:w"])
def test_what_openssl_writes(kind, password):
    hashed = subprocess.run(
        ["openssl", "passwd", kind, "-stdin"], input=password.encode(), capture_output=True, check=True
    ).stdout
    users = Htpasswd(b"u:" + hashed)
    assert users.verify(b"u", password.encode())
    assert not users.verify(b"u", b"other")


def test_a_file_has_comments_and_empty_lines():
    users = Htpasswd(b"# people\r\n\r\nalice:" + SHA1 + b"\r\n  \nbob:" + APR1 + b"\n")
    assert users.verify(b"alice", b"myPassword")
    assert users.verify(b"bob", b"myPassword")
    assert "2 users" in repr(users)
    assert "SHA" not in repr(users)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "no user"),
        (b"# nobody\n", "no user"),
        (b"alice\n", "line 1: not of the form"),
        (b":" + SHA1, "line 1: not of the form"),
        (b"a:" + SHA1 + b"\nalice:secret\n", "line 2: a hash that is none"),
        (b"alice:rqXexS6ZhobKA\n", "line 1: a hash that is none"),  # DES
        (b"alice:{PLAIN}secret\n", "line 1: a hash that is none"),
        (b"a:" + SHA1 + b"\na:" + SHA1, "line 2: a user that stands above"),
        (b"alice:" + BCRYPT.replace(b"$05$", b"$%d$" % (MAX_BCRYPT_COST + 1)), "more than 14"),
        (b"alice:$5$rounds=%d$saltstring$" % (MAX_ROUNDS + 1) + SHA256[-43:], "more than 200000"),
        (b"".join(b"u%d:%b\n" % (n, SHA1) for n in range(MAX_USERS + 1)), "more than 10000"),
    ],
)
def test_what_cannot_be_used_is_told_and_not_repeated(content, what):
    with pytest.raises(HtpasswdError, match=what) as caught:
        Htpasswd(content)
    assert "secret" not in str(caught.value)


def test_hashes_at_their_limits_are_taken():
    Htpasswd(b"alice:$5$rounds=%d$saltstring$" % MAX_ROUNDS + SHA256[-43:])


def test_passwords_beyond_what_crypt_takes_and_with_nul_are_wrong():
    long = b"x" * (MAX_PASSWORD + 1)
    users = Htpasswd(b"a:" + apr1(long, b"salt") + b"\nb:" + apr1(long[1:], b"salt"))
    assert not users.verify(b"a", long)
    assert users.verify(b"b", long[1:])
    users = Htpasswd(b"a:" + SHA512)
    assert not users.verify(b"a", b"Hello world!\0")


@pytest.mark.parametrize(
    "others", [b"", b"a:" + SHA1 + b"\nb:" + APR1 + b"\nc:" + SHA512 + b"\nd:" + BCRYPT + b"\n"]
)
def test_who_is_not_there_takes_as_long_as_the_most_costly_who_is(others):
    users = Htpasswd(others + b"alice:$6$rounds=60000$saltstring$" + SHA512[-86:])

    def took(user):
        began = time.thread_time()
        users.verify(user, b"wrong")
        return time.thread_time() - began

    assert took(b"mallory") > 0.5 * took(b"alice")


def test_a_check_does_not_stall_other_threads():
    """libcrypt computes without the interpreter: this thread goes on meanwhile."""
    users = Htpasswd(b"alice:$6$rounds=200000$saltstring$" + SHA512[-86:])
    thread = threading.Thread(target=users.verify, args=(b"alice", b"wrong"))
    thread.start()
    steps = 0
    while thread.is_alive():
        steps += 1
    thread.join()
    assert steps > 1000
