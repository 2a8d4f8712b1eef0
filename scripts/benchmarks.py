"""Run the benchmarks, each in a process of its own: ``python scripts/benchmarks.py [NAME [ARGUMENTS]]``.

Without a name all of ``benchmarks/bench_*.py`` run, one after the other; with one (``align`` for ``bench_align.py``) only that,
with the arguments that follow. Every benchmark prints ratios of things measured in the same run.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"


def main(arguments: list[str]) -> int:
    """Run what is asked for; the answer is the worst exit status."""
    known = {path.stem.removeprefix("bench_"): path for path in sorted(FOLDER.glob("bench_*.py"))}
    if arguments and arguments[0] not in known:
        print(f"{arguments[0]!r} is not a benchmark; choose one of {', '.join(known)}.")
        return 2
    worst = 0
    for name in arguments[:1] or known:
        print(f"== {name}", flush=True)
        worst = max(worst, abs(subprocess.call([sys.executable, str(known[name]), *arguments[1:]])))
    return worst


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
