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


def test_one_open_file_too_many(root):
    files = OpenFiles(2)
    paths = []
    for number in range(3):
        path = root / str(number)
        path.write_bytes(b"%d" % number)
        paths.append(str(path))
    first = files.descriptor(paths[0])
    assert files.descriptor(paths[0]) == first
    files.descriptor(paths[1])
    files.descriptor(paths[2])
    assert len(files) == 2
    os.unlink(paths[0])
    with pytest.raises(FileNotFoundError):
        files.descriptor(paths[0])
    files.close_all()
    assert len(files) == 0


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
