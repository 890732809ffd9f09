"""Run benchmarks, print their tables, write their results."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.measuring import Report
from benchmarks.peers import Peers
from benchmarks.registry import NAMES, Context, load
from bioclip.digests import readable_json
from bioclip.errors import TreeOfLifeError

RESULTS = Path(__file__).parent / "results"


def run_benchmark(name: str, quick: bool, peers: Peers, results: Path | None) -> Report:
    """Run one benchmark and write `<results>/<name>.json`, unless `results` is None."""
    run, docstring = load(name)
    print(f"\n== {name}\n{docstring.strip()}\n", flush=True)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as scratch:
        report = run(Context(quick, Path(scratch), peers))
    print(report.text(), flush=True)
    if results is not None:
        results.mkdir(parents=True, exist_ok=True)
        (results / f"{name}.json").write_bytes(readable_json(report.to_dict(name, quick)))
    return report


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0, or the error's exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Benchmarks against comparable tools.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(NAMES)}; none: all")
    parser.add_argument("--quick", action="store_true", help="small sizes, one repeat; results are only printed unless --results is given")
    parser.add_argument("--results", type=Path, help="folder of the JSON results (default: benchmarks/results)")
    parser.add_argument("--no-install", action="store_true", help="skip peers that are not installed")
    options = parser.parse_args(arguments)
    results = options.results or (None if options.quick else RESULTS)
    try:
        for name in options.names or NAMES:
            run_benchmark(name, options.quick, Peers(install=not options.no_install), results)
    except TreeOfLifeError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
