"""A local folder as a hub repository: its card, which says where each configuration's splits lie."""

from collections.abc import Iterable, Mapping
from pathlib import Path


def write_card(folder: Path, configs: Mapping[str, Iterable[str]]) -> None:
    """`configs`: the splits of each configuration, each a file <configuration>/<split>.parquet."""
    lines = ["---", "configs:"]
    for config, splits in configs.items():
        lines += [f"- config_name: {config}", "  data_files:"]
        lines += [f"  - split: {split}\n    path: {config}/{split}.parquet" for split in splits]
    (folder / "README.md").write_text("\n".join([*lines, "---", ""]))
