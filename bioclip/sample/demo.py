"""Settings of the demo: the bundled archives, downloaded from a loopback server with some faults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from bioclip.sample import SAMPLE_DIR

MEDIA_HOSTS = ("media.treeoflife.example", "content.treeoflife.example")
"""Hosts that the bundled archives name; `.example` never resolves (RFC 2606), so only `download.connect_to` makes them reachable."""


def demo_settings(server_address: str, workspace: Path | str) -> dict[str, Any]:
    """Settings tree of the demo without the training recipe, for a sample server at `address:port`."""
    text = (SAMPLE_DIR / "demo.yaml").read_text(encoding="utf-8").replace("SAMPLE/", f"{SAMPLE_DIR.as_posix()}/")
    tree: dict[str, Any] = yaml.safe_load(text)
    tree["workspace"] = {"uri": str(workspace)}
    tree["download"] |= {"connect_to": dict.fromkeys(MEDIA_HOSTS, server_address), "allow_networks": ["127.0.0.0/8"]}
    return tree
