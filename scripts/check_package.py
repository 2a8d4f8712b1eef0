"""Build the sdist and the wheel, and hold both to what they should contain.

The wheel is installed, with its dependencies, into a fresh environment where the napari manifest is validated and the
command line started; the sdist must be able to build the same wheel. ``--keep FOLDER`` keeps the two files.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "napari_dinov3"
MUST = {f"{PACKAGE}/__init__.py", f"{PACKAGE}/_version.py", f"{PACKAGE}/napari.yaml", f"{PACKAGE}/py.typed"}
LARGEST_WHEEL = 1_000_000  # bytes; code and a manifest, no images and no weights


def run(*command: str | Path) -> None:
    """Run one command and stop at the first that fails."""
    print("$", *command, flush=True)
    subprocess.run([str(part) for part in command], check=True, cwd=ROOT)


def complaints(wheel: Path, sdist: Path) -> list[str]:
    """List what is wrong with the contents of the two files."""
    names = set(zipfile.ZipFile(wheel).namelist())
    found = [f"the wheel lacks {name}" for name in sorted(MUST - names)]
    strangers = [name for name in names if not name.startswith((f"{PACKAGE}/", f"{PACKAGE}-"))]
    found += [f"the wheel brings {name}" for name in sorted(strangers)]
    code = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src" / PACKAGE).rglob("*.py")}
    found += [f"the wheel lacks {name}" for name in sorted(code - names)]
    if wheel.stat().st_size > LARGEST_WHEEL:
        found.append(f"the wheel has {wheel.stat().st_size} bytes, more than {LARGEST_WHEEL}")
    with tarfile.open(sdist) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    return found + [
        f"the sdist lacks {name}"
        for name in ("LICENSE", "README.md", "pyproject.toml", f"src/{PACKAGE}/__init__.py")
        if name not in inside
    ]


def try_wheel(wheel: Path, folder: Path) -> None:
    """Install the wheel into a fresh environment and use it there."""
    run(sys.executable, "-m", "virtualenv", "--quiet", folder)
    programs = folder / ("Scripts" if sys.platform == "win32" else "bin")
    python = programs / "python"
    run(python, "-m", "pip", "install", "--quiet", wheel)
    run(python, "-m", "pip", "check")
    run(python, "-m", "npe2", "validate", "napari-dinov3")
    run(programs / "napari-dinov3", "--help")


def main() -> int:
    """Build, look inside, install, validate."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="copy the sdist and the wheel here when they are good")
    keep = parser.parse_args().keep
    run(sys.executable, "-m", "validate_pyproject", "pyproject.toml")
    with tempfile.TemporaryDirectory() as folder:
        # without --wheel, build makes the sdist first and the wheel from it
        run(sys.executable, "-m", "build", "--outdir", folder)
        (wheel,), (sdist,) = Path(folder).glob("*.whl"), Path(folder).glob("*.tar.gz")
        run(sys.executable, "-m", "twine", "check", "--strict", wheel, sdist)
        if wrong := complaints(wheel, sdist):
            print(*wrong, sep="\n")
            return 1
        try_wheel(wheel, Path(folder) / "fresh")
        if keep:
            keep.mkdir(parents=True, exist_ok=True)
            for file in (wheel, sdist):
                shutil.copy2(file, keep)
    return 0


if __name__ == "__main__":
    sys.exit(main())
