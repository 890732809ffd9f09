"""ATTRIBUTION.md: a summary of holders and licences; attribution.parquet has a row for every image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from bioclip import layout
from bioclip.publishing.markdown import cell, counts_table, table
from bioclip.publishing.sample_counts import SampleCounts

_NUM_HOLDERS = 200


def attribution_text(manifest: Mapping[str, Any], counts: SampleCounts, licenses: pa.Table) -> str:
    """Licences, the holders of most images, and the number of images without the holder that their licence requires."""
    named = {name: number for name, number in counts.holders.items() if name}
    shown = sorted(named.items(), key=lambda item: (-item[1], item[0]))[:_NUM_HOLDERS]
    others = len(named) - len(shown)
    sections = [
        f"# Attribution of {manifest['name']} {manifest['version']}\n",
        f"Each of the {counts.num_samples:,} images keeps its provider's licence. `{layout.ATTRIBUTION}` names licence, holder, creator, "
        "title and addresses of every single one; pass them on with the images.\n",
        "## Licences\n\n" + licenses_markdown(licenses),
        lacking_sentence(licenses) + "\n",
        counts_table("## Sources", "source", counts.sources),
        f"## Holders\n\nBy images; where no holder is stated, the creator. {len(named):,} are named.\n\n"
        + table(("holder", "images"), [(cell(name), f"{number:,}") for name, number in shown]),
    ]
    if others:
        rest = sum(named.values()) - sum(number for _, number in shown)
        sections.append(f"{others:,} further holders of {rest:,} images: see `{layout.ATTRIBUTION}`.\n")
    return "\n".join(sections)


def licenses_markdown(licenses: pa.Table) -> str:
    """Table of licences by number of images."""
    rows = [
        (
            f"[{row['license'] or 'not stated'}]({row['url']})" if row["url"] else row["license"] or "not stated",
            f"{row['images']:,}",
            ("yes" if row["needs_attribution"] else "no"),
            f"{row['images_lacking_holder']:,}",
        )
        for row in licenses.to_pylist()
    ]
    return table(("licence", "images", "asks for attribution", "of these without holder"), rows)


def lacking_sentence(licenses: pa.Table) -> str:
    """The number of images that need attribution although the provider states neither holder nor creator."""
    lacking = sum(licenses["images_lacking_holder"].to_pylist())
    if not lacking:
        return "Every image that needs attribution names a holder or creator."
    return (
        f"{lacking:,} images need attribution, but their provider names neither holder nor creator "
        f"(`lacks_holder` in `{layout.ATTRIBUTION}`; by licence in `{layout.LICENSES}`): ask at their "
        "`occurrence_url` before you redistribute them."
    )
