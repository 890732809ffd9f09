"""The command line: help is quick to load, and what is wrong is one sentence and an exit code."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from bioclip.sample import sample_path
from bioclip.sample.demo import demo_settings
from bioclip.sample.server import SampleServer
from flows.commands.cli import main

COMMAND = [sys.executable, "-m", "flows.commands.cli"]


def write_settings(path: Path, workspace: Path | str, **sections: object) -> Path:
    """A settings file of the demo with sections replaced."""
    tree = demo_settings("127.0.0.1:9", workspace) | sections
    path.write_text(yaml.safe_dump(tree))
    return path


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom flows.commands.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "heavy = {'prefect', 'distributed', 'torch', 'mlflow', 'pyarrow', 'open_clip'} & sys.modules.keys()\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "demo" in done.stdout


def test_settings_prints_every_key_with_its_documentation(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["settings", "--set", "download.timeout_s=7"]) == 0
    printed = capsys.readouterr().out
    assert "download.timeout_s = 7.0\n    Deadline of one request, body " in printed


def test_recipes_state_command_hardware_and_score(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes"]) == 0
    printed = capsys.readouterr().out
    for word in ("demo_cpu", "vit_b16_1gpu", "vit_b16_8gpu", "hardware", "Not measured on a GPU"):
        assert word in printed


def source(**values: object) -> list[dict[str, object]]:
    """One source that is right but for the given values."""
    return [{"name": "field", "format": "dwca", "path": str(sample_path("field-observations"))} | values]


@pytest.mark.parametrize(
    ("sections", "code", "message"),
    [
        ({"sources": source(path="absent.zip")}, 1, "absent.zip' does not exist"),
        ({"sources": source(format="gbiff")}, 2, "source format 'gbiff' is not registered; known: "),
        ({"sources": []}, 2, "sources is empty"),
        ({"downlod": {}}, 2, "settings key 'downlod' does not exist; did you mean 'download'?"),
        ({"taxonomy": {"backbones": [{"name": "b", "path": "absent"}]}}, 1, "absent' does not exist"),
    ],
)
@pytest.mark.parametrize("command", ["run", "curate"])
def test_wrong_input_ends_at_once_with_one_sentence(
    command: str, sections: dict[str, object], code: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_settings(tmp_path / "settings.yaml", tmp_path / "workspace", **sections)
    assert main([command, "--settings", str(path)]) == code
    said = capsys.readouterr().err
    assert said.startswith("treeoflife: error: ")
    assert message in said
    assert said.count("\n") == 1
    assert not (tmp_path / "workspace").exists()


def test_a_workspace_that_cannot_be_written_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "taken").write_text("a file")
    path = write_settings(tmp_path / "settings.yaml", tmp_path / "taken" / "workspace")
    assert main(["curate", "--settings", str(path)]) == 1
    assert "a file is where a folder is needed; set workspace.uri to another location" in capsys.readouterr().err


def test_training_without_a_release_says_what_to_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = subprocess.run([*COMMAND, "train", "--workspace", str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "holds no release; run `treeoflife curate` first" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.usefixtures("use_shared_prefect")
def test_a_malformed_archive_ends_a_run_with_one_sentence_and_no_release(tmp_path: Path) -> None:
    broken = tmp_path / "broken.zip"
    with zipfile.ZipFile(sample_path("field-observations")) as good, zipfile.ZipFile(broken, "w") as bad:
        for name in good.namelist():
            data = good.read(name)
            bad.writestr(name, data.replace(b"</core>", b"") if name == "meta.xml" else data)
    path = write_settings(tmp_path / "settings.yaml", tmp_path / "workspace", sources=source(path=str(broken)))
    done = subprocess.run([*COMMAND, "curate", "--settings", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "broken.zip:meta.xml line" in done.stderr
    assert "not well-formed XML" in done.stderr
    assert "Traceback" not in done.stderr
    written = {file.relative_to(tmp_path / "workspace").parts[0] for file in (tmp_path / "workspace").rglob("*") if file.is_file()}
    assert written <= {".state"}


@pytest.mark.slow
@pytest.mark.usefixtures("use_shared_prefect")
def test_a_full_disk_ends_a_run_with_one_sentence_and_nothing_half_written(tmp_path: Path) -> None:
    """A real file system of 3 MB under the workspace; the embedded services keep their state elsewhere."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)], capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"a small file system needs the right to mount one here: {mounted.stderr.strip()}")
    try:
        path = tmp_path / "settings.yaml"
        with SampleServer() as server:
            tree = demo_settings(server.address, disk / "workspace")
            tree["workspace"]["state_dir"] = str(tmp_path / "state")
            path.write_text(yaml.safe_dump(tree))
            done = subprocess.run([*COMMAND, "curate", "--settings", str(path)], capture_output=True, text=True, check=False)
        assert done.returncode == 1, done.stderr
        assert "no space left for" in done.stderr
        assert "Traceback" not in done.stderr
        assert not list(disk.rglob("*.partial"))
        assert not list(disk.rglob("releases/*/manifest.json"))
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_the_environment_is_read_but_credentials_are_never_printed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TREEOFLIFE_WORKSPACE__S3__SECRET", "S3CRET")
    monkeypatch.setenv("TREEOFLIFE_SHARDS__IMAGE_PX", "99")
    assert main(["settings"]) == 0
    printed = capsys.readouterr().out
    assert "shards.image_px = 99" in printed
    assert "S3CRET" not in printed
