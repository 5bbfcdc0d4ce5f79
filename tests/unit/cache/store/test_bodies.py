"""Files of large content: written, read while they grow, checked block by block."""

import os

import pytest
from tests.unit.cache.store.responses import whole

from headgate.cache.store.bodies import INCOMING, CheckedBody, OpenFiles, Upload
from headgate.cache.store.format import BLOCK, FileContent

CONTENT = bytes(range(251)) * (3 * BLOCK // 251)


@pytest.fixture
def root(tmp_path):
    (tmp_path / INCOMING).mkdir()
    return tmp_path


@pytest.fixture
def files():
    files = OpenFiles(4)
    yield files
    files.close_all()


def uploaded(root, content=CONTENT, step=10_000):
    upload = Upload(str(root), "1.aa")
    for at in range(0, len(content), step):
        upload.write(content[at : at + step])
    found = upload.finish()
    upload.close()
    return upload.path, found


@pytest.mark.parametrize("step", [1000, BLOCK - 1, BLOCK, BLOCK + 1, len(CONTENT)])
@pytest.mark.parametrize("size", [1, BLOCK - 1, BLOCK, BLOCK + 1, len(CONTENT)])
def test_what_is_written_is_read(root, files, size, step):
    path, found = uploaded(root, CONTENT[:size], step)
    assert (found.size, len(found.blocks)) == (size, -(-size // BLOCK))
    body = CheckedBody(path, found, files)
    assert whole(body) == whole(body) == CONTENT[:size]


def test_content_can_be_read_while_it_grows(root):
    upload = Upload(str(root), "1.aa")
    upload.write(b"abc")
    assert (upload.size, upload.read(0, 10), upload.read(3, 10)) == (3, b"abc", b"")
    upload.write(b"def")
    assert upload.read(2, 3) == b"cde"
    os.truncate(upload.path, 1)
    with pytest.raises(OSError, match="ends before"):
        upload.read(2, 1)
    upload.close()
    upload.close()


def test_ranges(root, files):
    path, found = uploaded(root)
    body = CheckedBody(path, found, files)
    assert body.read(BLOCK + 5, 10) == CONTENT[BLOCK + 5 : BLOCK + 15]
    assert body.read(BLOCK - 5, 10) == CONTENT[BLOCK - 5 : BLOCK]
    assert (body.read(body.size, 1), body.read(-1, 1), body.read(0, 0)) == (b"", b"", b"")
    assert body.read(body.size - 3, 100) == CONTENT[-3:]


@pytest.mark.parametrize("at", [0, BLOCK + 7, len(CONTENT) - 1])
def test_a_torn_block_is_never_handed_out(root, files, at):
    path, found = uploaded(root)
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(bytes([CONTENT[at] ^ 0x10]))
    body = CheckedBody(path, found, files)
    for index in range(len(found.blocks)):
        if index == at // BLOCK:
            with pytest.raises(OSError, match="not what was written"):
                body.read(index * BLOCK, 100)
        else:
            assert body.read(index * BLOCK, 100) == CONTENT[index * BLOCK : index * BLOCK + 100]
    assert body.is_bad


def test_a_file_that_is_shorter_now(root, files):
    path, found = uploaded(root)
    body = CheckedBody(path, found, files)
    assert body.read(0, 10) == CONTENT[:10]
    os.truncate(path, BLOCK // 2)
    with pytest.raises(OSError, match="not what was written"):
        body.read(BLOCK - 10, 10)
    with pytest.raises(OSError, match="not what was written"):
        body.read(BLOCK, 10)


def test_a_file_that_is_gone(files):
    body = CheckedBody("/nowhere/at/all", FileContent(b"all", 1, [0]), files)
    with pytest.raises(FileNotFoundError):
        body.read(0, 1)


def test_a_file_stays_readable_when_it_was_unlinked(root, files):
    path, found = uploaded(root)
    body = CheckedBody(path, found, files)
    body.read(0, 1)
    os.unlink(path)
    assert whole(body) == CONTENT


def named(root, count):
    paths = []
    for number in range(count):
        path = root / str(number)
        path.write_bytes(b"%d" % number)
        paths.append(str(path))
    return paths


def test_one_open_file_too_many(root):
    files = OpenFiles(2)
    paths = named(root, 3)
    first = files.take(paths[0])
    assert files.take(paths[1]).descriptor != first.descriptor
    assert files.take(paths[0]) is first
    files.take(paths[2])
    assert len(files) == 2
    for path in paths:
        os.unlink(path)
    assert files.take(paths[0]) is first  # it was read last
    with pytest.raises(FileNotFoundError):
        files.take(paths[1])
    files.close_all()
    assert (len(files), first.descriptor) == (0, -1)


def test_of_too_many_one_that_nobody_reads_is_closed(root):
    files = OpenFiles(2)
    paths = named(root, 4)
    read, other = files.take(paths[0]), files.take(paths[1])
    read.readers = 1
    files.take(paths[2])
    assert (read.descriptor >= 0, other.descriptor) == (True, -1)
    files.take(paths[2]).readers = 1
    files.adopt(paths[3], os.open(paths[3], os.O_RDONLY))
    assert (len(files), read.descriptor) == (2, -1)  # all are read
    files.close_all()


def test_what_has_no_name_any_more_is_closed_once_nobody_reads_it(root):
    files = OpenFiles(100)
    paths = named(root, 100)
    opened = [files.take(path) for path in paths]
    opened[7].readers = 1
    for path in paths[5:]:
        os.unlink(path)
    for _ in range(2):  # not all of them in one turn
        files.close_gone()
    assert [file.descriptor >= 0 for file in opened] == [True] * 5 + [False] * 2 + [True] + [False] * 92
    opened[7].release()
    files.close_gone()
    assert len(files) == 5
    files.close_all()


def test_what_is_ready_was_checked(root, files):
    path, found = uploaded(root)
    body = CheckedBody(path, found, files)
    assert body.ready(5, 10) == 10
    assert os.pread(body.descriptor, 10, 5) == CONTENT[5:15]
    assert body.ready(5, body.size) == BLOCK - 5  # the next one was not checked
    assert body.ready(BLOCK, body.size) == BLOCK
    assert body.ready(0, body.size) == 2 * BLOCK
    assert body.ready(body.size - 1, 10) == 1
    assert body.ready(1, body.size) == body.size - 1
    assert [body.ready(at, 1) for at in (-1, body.size)] == [0, 0]
    assert body.ready(0, 0) == 0


def damage(path, at=BLOCK + 3):
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(bytes([CONTENT[at] ^ 0x10]))


def test_a_torn_block_is_never_ready(root, files):
    path, found = uploaded(root)
    damage(path)
    body = CheckedBody(path, found, files)
    assert body.ready(0, body.size) == BLOCK
    with pytest.raises(OSError, match="block 1 is not what was written"):
        body.ready(BLOCK, body.size)
    assert body.is_bad
    assert not body.is_there()


def test_a_file_that_changes_after_it_was_checked_is_checked_again(root, files):
    path, found = uploaded(root)
    body = CheckedBody(path, found, files)
    assert whole(body) == CONTENT
    assert body.is_there()
    assert body.ready(0, body.size) == body.size
    damage(path)
    os.utime(path, ns=(0, 0))
    assert body.is_there()
    assert body.ready(0, body.size) == BLOCK
    with pytest.raises(OSError, match="block 1 is not what was written"):
        body.read(BLOCK, 10)


def test_where_the_first_block_has_changed_it_is_not_there(root, files):
    """So that nobody is sent a head without content: later ones are checked when it is their turn."""
    path, found = uploaded(root)
    body = CheckedBody(path, found, files)
    assert body.is_there()
    assert whole(body) == CONTENT
    damage(path, 50)
    os.utime(path, ns=(0, 0))
    assert not body.is_there()
    assert body.is_bad


def test_another_file_in_its_place_is_checked_again(root):
    path, found = uploaded(root)
    files = OpenFiles(1)
    body = CheckedBody(path, found, files)
    assert whole(body) == CONTENT
    times = os.stat(path)
    os.rename(path, f"{path}.old")
    with open(path, "wb") as file:
        file.write(bytes(len(CONTENT)))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert whole(body) == CONTENT  # it is open still
    files.take(f"{path}.old")
    with pytest.raises(OSError, match="block 0 is not what was written"):
        body.read(5, 10)
    files.close_all()


def test_a_file_that_is_shorter_is_not_there(root, files):
    path, found = uploaded(root)
    os.truncate(path, len(CONTENT) - 1)
    body = CheckedBody(path, found, files)
    assert not body.is_there()
    assert body.is_bad
    assert body.hold() is None


def test_a_file_that_is_held_stays_open_until_it_is_let_go(root, files):
    path, found = uploaded(root)
    body = CheckedBody(path, found, files)
    held = body.hold()
    os.unlink(path)
    files.close_gone()
    assert whole(body) == CONTENT
    held.release()
    files.close_gone()
    assert not body.is_there()


def test_an_upload_that_is_taken_back(root):
    upload = Upload(str(root), "1.aa")
    upload.write(b"abc")
    upload.close()
    upload.abort()
    upload.abort()
    assert os.listdir(root / INCOMING) == []


def test_two_uploads_of_one_name(root):
    Upload(str(root), "1.aa").close()
    with pytest.raises(FileExistsError):
        Upload(str(root), "1.aa")
