"""Fuzz target: OCSP verification. Whatever bytes come, it believes, refuses by `NotBelieved`, and does so quickly.

    python fuzz/ocsp_response.py --seconds 60 --seed 1

Starts from real responses of many kinds and mutates them: bits, bytes, lengths, cut, repeated and exchanged pieces,
whole TLVs dropped, doubled or swapped between two responses. Besides "nothing else is raised" it checks what matters
most: a response that was changed and is still believed says what the original said, under the same signature.
"""

import argparse
import random
import sys
import time
import warnings
from dataclasses import dataclass
from typing import Final

from fuzz._common import SLOWEST, Broken, after, apart, cpu
from headgate.ocsp.response import NotBelieved, remembered_revocation, verify
from headgate.ocsp.subject import Subject
from headgate.testing.pki import (
    Authority,
    CertStatus,
    Leaf,
    SignatureHash,
    Single,
    der_children,
    ocsp_error,
    ocsp_response,
)

NOW: Final = 1_767_225_600.0
HOUR: Final = 3_600.0


@dataclass(slots=True)
class Result:
    """How a run went: `slowest` is in seconds of CPU time."""

    runs: int = 0
    believed: int = 0
    slowest: float = 0.0


def corpus(authority: Authority, leaf: Leaf) -> list[bytes]:
    """Return responses of every kind that the rules speak of."""
    delegate, other = authority.delegate(), authority.leaf("other.test")
    statuses: tuple[CertStatus, ...] = ("good", "revoked", "unknown")
    seeds = [
        authority.ocsp(leaf, status, this_update=NOW - HOUR, next_update=NOW + HOUR) for status in statuses
    ]
    hashes: tuple[SignatureHash, ...] = ("sha1", "sha256", "sha512")
    seeds += [authority.ocsp(leaf, this_update=NOW, next_update=NOW + HOUR, hash=name) for name in hashes]
    seeds += [
        authority.ocsp(leaf, this_update=NOW, next_update=NOW + HOUR, signer=delegate, responder_id="name"),
        authority.ocsp(leaf, this_update=NOW, next_update=None),
        authority.ocsp(leaf, this_update=NOW - HOUR, next_update=NOW - 60.0),
        ocsp_response([Single(x, "good", NOW, NOW + HOUR) for x in (other, leaf, leaf)], authority),
        ocsp_response([], authority, produced_at=NOW, critical_extension=True),
        ocsp_error("tryLater"),
    ]
    return seeds


def mutate(data: bytes, seeds: list[bytes], rng: random.Random) -> bytes:
    """Return `data` changed in one to four places."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        if not out:
            return bytes(out)
        at = rng.randrange(len(out))
        match rng.randrange(9):
            case 0:
                out[at] ^= 1 << rng.randrange(8)
            case 1:
                out[at] = rng.choice((0x00, 0x01, 0x30, 0x7F, 0x80, 0x81, 0x82, 0x84, 0xA0, 0xFF))
            case 2:
                del out[at : at + rng.randint(1, 32)]
            case 3:
                out[at:at] = rng.randbytes(rng.randint(1, 16))
            case 4:
                out = out[:at]
            case 5:
                piece = out[at : at + rng.randint(1, 200)]
                out[at:at] = piece * rng.choice((1, 2, 50))
            case 6:
                other = rng.choice(seeds)
                start = rng.randrange(len(other))
                out[at : at + 40] = other[start : start + 40]
            case 7:
                out = bytearray(rebuilt(bytes(out), rng))
            case _:
                out += rng.randbytes(rng.randint(1, 8))
    return bytes(out)


def rebuilt(data: bytes, rng: random.Random) -> bytes:
    """Drop, double or swap whole elements somewhere in the tree, so that lengths stay right around the change."""
    try:
        children = der_children(data)
    except (IndexError, RecursionError):
        return data
    if not children or b"" in children or len(children) > 1000:
        return data
    index = rng.randrange(len(children))
    match rng.randrange(5):
        case 0:
            del children[index]
        case 1:
            children.insert(index, children[index])
        case 2:
            other = rng.randrange(len(children))
            children[index], children[other] = children[other], children[index]
        case _:
            children[index] = rebuilt(children[index], rng)
    content = b"".join(children)
    size = len(content)
    if size < 0x80:
        return data[:1] + bytes((size,)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return data[:1] + bytes((0x80 | len(length),)) + length + content


def check(
    data: bytes, subject: Subject, honest: dict[tuple[str, float, float], None], result: Result
) -> None:
    """Verify one input. Raises Broken for anything but belief or `NotBelieved`, and for a belief that was forged."""
    began = cpu()
    try:
        staple = verify(data, subject, NOW)
    except NotBelieved:
        staple = None
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        raise Broken(f"{type(error).__name__}: {error}: {data.hex()}") from error
    took = cpu() - began
    result.runs += 1
    result.slowest = max(result.slowest, took)
    if took > SLOWEST:
        raise Broken(f"{took:.3f} s for {len(data)} bytes: {data.hex()}")
    if staple is None:
        remembered_revocation(data, subject)
        return
    result.believed += 1
    if (staple.status, staple.this_update, staple.next_update) not in honest:
        raise Broken(f"believed what nobody signed: {staple!r}")


def run(seconds: float, seed: int) -> Result:
    """Fuzz for so many seconds. Raises Broken.

    Equal seeds make equal mutations; keys are new each time, so a failure tells them."""
    rng, result = random.Random(seed), Result()
    authority = Authority.root("Fuzz CA")
    leaf = authority.leaf("fuzz.test")
    subject = Subject.from_pem("fuzz", leaf.pem, issuer_pem=authority.pem)
    seeds = corpus(authority, leaf)
    honest: dict[tuple[str, float, float], None] = {}
    for data in seeds:
        try:
            staple = verify(data, subject, NOW)
        except NotBelieved:
            continue
        honest[staple.status, staple.this_update, staple.next_update] = None
    if not honest:
        raise Broken("no seed is believed: the target tests nothing")
    with warnings.catch_warnings(), apart():
        # From here on: to hide the objects of a suite of thousands of tests takes a second.
        is_over = after(seconds)
        warnings.simplefilter("ignore")  # about certificates that are odd, which is the point
        while not is_over():
            data = rng.choice(seeds) if rng.random() < 0.95 else rng.randbytes(rng.randrange(300))
            try:
                check(mutate(data, seeds, rng), subject, honest, result)
            except Broken as error:
                raise Broken(f"{error}\n{leaf.pem.decode()}{authority.pem.decode()}") from error
    return result


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}")
    result = run(arguments.seconds, arguments.seed)
    print(
        f"{result.runs} inputs, {result.believed} believed, the slowest took {result.slowest * 1000:.1f} ms"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
