"""Local media are found at any location of their folder, and nothing outside it is read."""

from __future__ import annotations

import gzip
import pickle
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bioclip.local_media import LocalMediaError, is_local, local_url, media_root, read_local_media
from bioclip.sample import sample_path
from bioclip.settings import SourceSettings
from tests.sources.contract import photos, write_tar

LIMIT = 1 << 20


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "media"
    (folder / "deep").mkdir(parents=True)
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "deep" / "é !.jpg").write_bytes(b"plain")
    (folder / "out.jpg").symlink_to(tmp_path / "secret.txt")
    (folder / "up").symlink_to(tmp_path)
    write_tar(folder / "a.tar", {"x/1.jpg": b"tarred", "x/2.jpg": b""})
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        archive.writestr("x/1.jpg", b"zipped")
    return folder


def refusal(url: str, root: Path, limit: int = LIMIT) -> str:
    with pytest.raises(LocalMediaError) as caught:
        read_local_media(url, root, limit)
    assert str(caught.value).endswith(".")
    return caught.value.reason


def test_files_and_members_are_read_by_their_url(root: Path) -> None:
    assert read_local_media(local_url("deep/é !.jpg"), root, LIMIT) == b"plain"
    assert read_local_media(local_url("a.tar", "x/1.jpg"), root, LIMIT) == b"tarred"
    assert read_local_media(local_url("a.zip", "x/1.jpg"), root, LIMIT) == b"zipped"
    assert read_local_media(local_url("x/1.jpg"), root / "a.zip", LIMIT) == b"zipped"
    assert read_local_media((root / "deep" / "é !.jpg").as_uri(), root, LIMIT) == b"plain"
    assert read_local_media(f"{(root / 'a.tar').as_uri()}!/x/2.jpg", root, LIMIT) == b""


@pytest.mark.parametrize(
    "url",
    [
        "local:../secret.txt", "local:deep/../../secret.txt", "local:%2e%2e/secret.txt", "local:..%2fsecret.txt", "local:/etc/passwd",
        "local:deep//x", "local:deep%00", "local:..\\secret.txt", "local:C:\\x", "local:", "local:out.jpg", "local:up/secret.txt",
        "local:deep", "local:a.tar!/../x", "file:///etc/passwd", "file://host/etc/passwd", "http://a.org/x", "file:///etc/hosts?x=1",
    ],
)  # fmt: skip
def test_no_url_leaves_the_root(root: Path, url: str) -> None:
    assert refusal(url, root) == "unsafe_path"


def test_every_failure_has_its_reason(root: Path) -> None:
    (root / "b.tar.gz").write_bytes(gzip.compress((root / "a.tar").read_bytes()))
    assert refusal("local:none.jpg", root) == "media_missing"
    assert refusal("local:a.tar!/none.jpg", root) == "media_missing"
    assert refusal("local:deep/%C3%A9%20%21.jpg", root, 4) == "body_too_large"
    assert refusal("local:a.zip!/x/1.jpg", root, 5) == "body_too_large"
    assert refusal("local:b.tar.gz!/x/1.jpg", root) == "archive_unreadable"
    error = pickle.loads(pickle.dumps(LocalMediaError("media_missing", "gone.")))  # noqa: S301
    assert (error.reason, str(error)) == ("media_missing", "gone.")


def test_links_in_a_tar_are_no_members(root: Path) -> None:
    with tarfile.open(root / "l.tar", "w") as tar:
        link = tarfile.TarInfo("x.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    assert refusal("local:l.tar!/x.jpg", root) == "media_missing"


def test_a_damaged_member_is_named_and_a_rewritten_archive_is_looked_at_again(root: Path) -> None:
    data = bytearray((root / "a.zip").read_bytes())
    data[data.index(b"zipped")] ^= 255
    (root / "a.zip").write_bytes(data)
    assert refusal("local:a.zip!/x/1.jpg", root) == "archive_unreadable"
    with zipfile.ZipFile(root / "a.zip", "w") as archive:
        archive.writestr("x/1.jpg", b"whole again")
    assert read_local_media("local:a.zip!/x/1.jpg", root, LIMIT) == b"whole again"


def test_many_threads_read_one_archive(root: Path) -> None:
    names = [name for name, _ in photos(40)]
    urls = [local_url(f"fish/{name}") for name in names]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda url: read_local_media(url, sample_path("media"), LIMIT), urls * 3))
    assert found == [data for _, data in photos(40)] * 3


def test_the_root_is_the_images_option_else_the_folder_of_the_source(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("")
    source = SourceSettings(name="a", format="table", path=str(file))
    assert media_root(source) == tmp_path
    assert media_root(source.model_copy(update={"path": str(tmp_path)})) == tmp_path
    assert media_root(source.model_copy(update={"options": {"images": "/elsewhere"}})) == Path("/elsewhere")
    assert (is_local("local:x"), is_local("FILE:///x"), is_local("https://local:1/"), is_local("local")) == (True, True, False, False)


@given(st.text(min_size=1, max_size=12))
def test_a_path_is_refused_or_comes_back_from_its_url(path: str) -> None:
    try:
        url = local_url(path)
    except LocalMediaError:
        return
    assert url.isascii()
    assert " " not in url
    assert "!" not in url
