"""Storage: a folder or an S3 prefix in which a file is complete or absent."""

from bioclip.storage.errors import explain_os_error, explain_user_file
from bioclip.storage.storage import Storage, open_storage, open_workspace, state_dir

__all__ = ["Storage", "explain_os_error", "explain_user_file", "open_storage", "open_workspace", "state_dir"]
