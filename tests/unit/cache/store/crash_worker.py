"""A worker that stores and reads until it is killed; test_crash.py kills it.

Content is made from its key, so that whoever reads it knows whether it is right.
"""

import os
import random
import sys
from hashlib import blake2b

from tests.unit.cache.store.responses import key_of, response, whole

from headgate.cache.store.disk import DiskStore
from headgate.cache.store.messages import SMALL_CONTENT

BUDGET = 8 << 20
KEYS = 200


def content_of(number, version):
    """Return content that tells its number and version; every seventh is large enough for a file."""
    stretch = blake2b(b"%d %d" % (number, version)).digest()
    size = 64 + number * 37 % 6000 if number % 7 else SMALL_CONTENT + number * 997
    return b"%d %d " % (number, version) + stretch * (size // 64)


def is_right(number, content):
    words = content.split(b" ", 2)
    return int(words[0]) == number and content == content_of(number, int(words[1]))


def worker(root, address, seed):
    """Store and read until killed; status 3 says that something wrong was read."""
    chance = random.Random(int(seed))
    store = DiskStore(root, BUDGET, address, lambda *words: None)
    print("ready", flush=True)
    while True:
        number, version = chance.randrange(KEYS), chance.randrange(1000)
        found = store.get(key_of(number))
        for variant in found:
            try:
                content = whole(variant.body)
            except OSError:
                continue  # replaced meanwhile: an answer would be cut short, which its reader sees
            if not is_right(number, content):
                os._exit(3)
        content = content_of(number, version)
        stored = response(key_of(number), content)
        if len(content) <= SMALL_CONTENT:
            store.store(stored)
        elif (upload := store.upload()) is not None:
            upload.write(content[:50_000])
            upload.write(content[50_000:])
            store.uploaded(stored, upload)
            upload.close()
        if chance.random() < 0.05:
            store.remove(key_of(number), 0.0)
        store.tick()


if __name__ == "__main__":
    worker(*sys.argv[1:])
