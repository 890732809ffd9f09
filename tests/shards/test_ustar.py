"""Our headers are those of tarfile, GNU tar and webdataset's writer, to the byte where they say the same."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bioclip.errors import ShardError
from bioclip.tars import MAX_MEMBER_BYTES, TarWriter, sample_bytes, write_tar

Samples = list[tuple[str, list[tuple[str, bytes]]]]
SAMPLES: Samples = [
    ("0a1b", [("jpg", b"\xff\xd8" + bytes(700)), ("json", b"{}"), ("sci.txt", b"a photo of Apis mellifera."), ("empty", b"")]),
    ("ärt/0a1c", [("jpg", bytes(range(256)) * 2), ("taxonTag_com.txt", "Älg".encode())]),
]
KEYS = st.text(st.characters(blacklist_characters="./\0", blacklist_categories=("Cs",)), min_size=1, max_size=12)
EXTENSIONS = st.text("abcXYZ_.0", min_size=1, max_size=20)


def tarfile_bytes(samples: Samples) -> bytes:
    """The same archive as Python's tarfile makes it."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for key, members in samples:
            for extension, content in members:
                info = tarfile.TarInfo(f"{key}.{extension}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def our_bytes(samples: Iterable[tuple[str, Iterable[tuple[str, bytes]]]]) -> bytes:
    stream = io.BytesIO()
    write_tar(stream, samples)
    return stream.getvalue()


def test_the_archive_is_tarfiles_own_to_the_byte() -> None:
    assert our_bytes(SAMPLES) == tarfile_bytes(SAMPLES)
    assert our_bytes([]) == tarfile_bytes([])


@given(st.lists(st.tuples(KEYS, st.dictionaries(EXTENSIONS, st.binary(max_size=1100), max_size=4)), max_size=4))
def test_any_names_and_contents_come_out_as_tarfiles(samples: list[tuple[str, dict[str, bytes]]]) -> None:
    listed = [(key, list(members.items())) for key, members in samples]
    assert our_bytes(listed) == tarfile_bytes(listed)


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 10_239, (1 << 20) - 1, 1 << 20, 3_000_001])
def test_contents_around_a_block_a_record_and_a_buffer_are_padded_alike(size: int) -> None:
    samples: Samples = [("k", [("bin", np.random.default_rng(size).bytes(size)), ("txt", b"after")])] * 2
    assert our_bytes(samples) == tarfile_bytes(samples)


def test_a_name_of_100_bytes_goes_and_one_more_is_refused() -> None:
    exact: Samples = [("k" * 96, [("txt", b"x")])]
    assert our_bytes(exact) == tarfile_bytes(exact)
    for key in ("k" * 97, "k" * 94 + "ä" + "k"):
        with pytest.raises(ShardError, match="at most 100 bytes and no NUL"):
            our_bytes([(key, [("txt", b"x")])])


@pytest.mark.parametrize("key", ["", "a.b", "/a", "a\0b"])
def test_a_key_that_readers_would_take_for_another_is_refused(key: str) -> None:
    with pytest.raises(ShardError, match="cannot name tar members"):
        our_bytes([(key, [("txt", b"x")])])


def test_two_members_of_one_name_are_refused_not_merged() -> None:
    with pytest.raises(ShardError, match=r"sample 'k' has two members of one name: txt, jpg, txt\."):
        our_bytes([("k", [("txt", b"x"), ("jpg", b"y"), ("txt", b"z")])])


class Huge(bytes):
    """Claims to be larger than any memory."""

    claimed = 0

    def __len__(self) -> int:
        return self.claimed


def test_a_member_of_8_gib_is_refused_and_a_byte_less_has_tarfiles_header() -> None:
    content = Huge(b"x")
    content.claimed = MAX_MEMBER_BYTES + 1
    with pytest.raises(ShardError, match="8589934592 bytes is too large; ustar holds up to 8589934591"):
        TarWriter(io.BytesIO()).add("k", [("bin", content)])
    content.claimed = MAX_MEMBER_BYTES
    stream = io.BytesIO()
    TarWriter(stream).add("k", [("bin", content)])
    info = tarfile.TarInfo("k.bin")
    info.size = MAX_MEMBER_BYTES
    assert stream.getvalue()[:512] == info.tobuf(tarfile.USTAR_FORMAT)


def test_what_is_written_does_not_depend_on_when_it_is_flushed() -> None:
    many: Samples = [(f"k{index}", [("jpg", bytes(40_000)), ("txt", b"x")]) for index in range(80)]
    assert our_bytes(many) == tarfile_bytes(many)
    stream = io.BytesIO(b"already here")
    stream.seek(0, io.SEEK_END)
    write_tar(stream, many)
    assert stream.getvalue() == b"already here" + tarfile_bytes(many)


def test_sizes_give_the_bytes_of_the_archive() -> None:
    tar = TarWriter(stream := io.BytesIO())
    for key, members in SAMPLES:
        tar.add(key, members)
    tar.close()
    body = sum(sample_bytes(sizes) for sizes in tar.sizes)
    assert stream.getvalue()[body:] == bytes(len(stream.getvalue()) - body)
    assert len(stream.getvalue()) == -(-(body + 1024) // 10_240) * 10_240
    assert (tar.keys, [len(names) for names in tar.members]) == (["0a1b", "ärt/0a1c"], [4, 2])


@pytest.mark.skipif(shutil.which("tar") is None, reason="the command tar is not installed")
def test_gnu_tar_unpacks_every_member(tmp_path: Path) -> None:
    (tmp_path / "ours.tar").write_bytes(our_bytes(SAMPLES))
    subprocess.run(["tar", "-xf", "ours.tar"], cwd=tmp_path, check=True)
    for key, members in SAMPLES:
        for extension, content in members:
            assert (tmp_path / f"{key}.{extension}").read_bytes() == content
