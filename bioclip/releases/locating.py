"""Find a release by version, alias or address."""

from __future__ import annotations

from pathlib import Path

from bioclip import layout
from bioclip.errors import StorageError
from bioclip.releases.aliases import read_aliases
from bioclip.releases.manifest import Release, list_releases, open_release_folder
from bioclip.settings import WorkspaceSettings
from bioclip.storage import Storage, open_storage, open_workspace


def open_release(storage: Storage, name: str) -> Release:
    """The release of a workspace by version, alias or address; raises StorageError that lists the existing ones."""
    return open_release_folder(storage.sub(layout.release_dir(resolve_release(storage, name))))


def locate_release(settings: WorkspaceSettings, name: str) -> Storage:
    """The folder of the release that a command names: by version or alias in the workspace of `settings`, or by address.

    S3 is accessed as `settings` state, for any address. Raises StorageError that lists the existing releases.
    """
    if is_address(name):
        folder = open_storage(_folder_at(name), settings.s3)
        folder.at_first_contact.exists(layout.MANIFEST)
        return folder
    workspace = open_workspace(settings)
    return workspace.sub(layout.release_dir(resolve_release(workspace.at_first_contact, name)))


def workspace_around(folder: Storage) -> Storage | None:
    """The workspace that contains a release's folder as `releases/<version>`, or None for a folder elsewhere."""
    above, _, _ = folder.root.rpartition("/")
    root, _, name = above.rpartition("/")
    return Storage(root, folder.options) if root and name == layout.RELEASES_DIR else None


def is_address(name: str) -> bool:
    """True for the folder of a release or its manifest.json, at a path or URL; a word without a slash only if it exists."""
    return "/" in name or name.startswith("~") or name == layout.MANIFEST or (Path(name) / layout.MANIFEST).is_file()


def _folder_at(address: str) -> str:
    if "://" in address:
        return address.rstrip("/").removesuffix(f"/{layout.MANIFEST}").rstrip("/")
    path = Path(address).expanduser()
    return str((path.parent if path.name == layout.MANIFEST else path).resolve())


def resolve_release(storage: Storage, name: str) -> str:
    """The version that a version, an alias or an address within the workspace names; raises StorageError with the existing names."""
    if "/" not in name and storage.exists(layout.release_manifest(name)):
        return name
    if is_address(name):
        return _version_at(storage, name)
    aliases = read_aliases(storage)
    if (version := aliases.get(name)) is not None:
        if not storage.exists(layout.release_manifest(version)):
            raise StorageError(
                f"alias {name!r} names release {version!r}, which is not in {storage.root!r}; move it with `treeoflife release promote`."
            )
        return version
    versions = list_releases(storage)
    if not versions:
        raise StorageError(f"{storage.root!r} holds no release; run `treeoflife curate` first.")
    found = ", ".join([*versions, *aliases])
    raise StorageError(f"release {name!r} is not in {storage.root!r}; available: {found}. Run `treeoflife curate` to build one.")


def _version_at(storage: Storage, address: str) -> str:
    root = storage.root if "://" in storage.root else str(Path(storage.root).resolve())
    above, _, version = _folder_at(address).rpartition("/")
    if above != f"{root}/{layout.RELEASES_DIR}" or not storage.exists(layout.release_manifest(version)):
        raise StorageError(f"{address!r} is not a release of the workspace {storage.root!r}; give its own workspace with --workspace.")
    return version
