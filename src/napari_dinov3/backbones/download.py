"""Fetch weights from the Hugging Face hub, when asked and never otherwise.

huggingface_hub knows addresses, tokens and what the server means by its answers; the bytes themselves are fetched here, into a
``.part`` file that a cancelled or broken download leaves behind and the next one goes on with. A file takes its name only when
its size and SHA-256 are those the server announced.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from napari_dinov3.backbones.dinov3_models import LICENCE, LICENCE_URL, ModelSpec, spec_of
from napari_dinov3.backbones.sources import Repository, download_folder
from napari_dinov3.errors import InputError, MissingDependencyError
from napari_dinov3.progress import Job, Progress, collect

_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_BLOCK = 1 << 20
_TIMEOUT_SECONDS = 30.0
_SPARE_BYTES = 100_000_000  # left free on the disk
_GO_ON = "Run the download again: it goes on where it stopped"


class _RefusedError(InputError):
    """A repository that answers, and does not give the weights."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file as the server announces it: name, size in bytes, entity tag (SHA-256 of large files), address."""

    name: str
    nbytes: int
    etag: str
    address: str


@dataclass(frozen=True, slots=True)
class DownloadPlan:
    """What a download would fetch; show it before starting.

    Parameters
    ----------
    spec : ModelSpec
        The network.
    repository : str
        On the hub.
    files : tuple of RemoteFile
        All of them.
    folder : Path
        Where they go.
    licence : str
        That the weights come under.
    """

    spec: ModelSpec
    repository: str
    files: tuple[RemoteFile, ...]
    folder: Path
    licence: str = f"{LICENCE}. {LICENCE_URL}"

    @property
    def nbytes(self) -> int:
        """Bytes of all files."""
        return sum(file.nbytes for file in self.files)


def plan_download(
    name: str,
    *,
    source: Repository | Literal["auto"] = "auto",
    token: str | None = None,
    endpoint: str | None = None,
    folder: str | Path | None = None,
) -> DownloadPlan:
    """Ask the hub what a download takes.

    Parameters
    ----------
    name : str
        Registry name of a DINOv3 network.
    source : {"auto", "mirror", "meta"}
        The ungated mirror (the same weights), or Meta's repository, which needs a token and granted access; ``"auto"``: the
        mirror, or Meta's where the mirror does not give them.
    token : str, optional
        Hugging Face token; by default the one that ``hf auth login`` has kept.
    endpoint : str, optional
        Another hub than https://huggingface.co.
    folder : path, optional
        Where to put the files; by default this package's cache folder, where they are found again.

    Raises
    ------
    InputError
        With what to do, when there is no network, no token, no access or no such file.
    MissingDependencyError
        If huggingface_hub is not installed.
    """
    if source == "auto":
        try:
            return plan_download(name, source="mirror", token=token, endpoint=endpoint, folder=folder)
        except _RefusedError:
            return plan_download(name, source="meta", token=token, endpoint=endpoint, folder=folder)
    spec = spec_of(name)
    repository = {"mirror": spec.mirror, "meta": spec.meta_repo}[source]
    where = download_folder(spec, source) if folder is None else Path(folder).expanduser()
    index = _metadata(repository, _INDEX, token, endpoint, absent_is_none=True)
    if index is None:
        single = _metadata(repository, _SINGLE, token, endpoint)
        return DownloadPlan(spec, repository, () if single is None else (single,), where)
    request = _request(index, 0, token, endpoint)
    with _network_errors(repository), urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as reply:
        shards = sorted(set(json.loads(reply.read())["weight_map"].values()))
    files = [_metadata(repository, shard, token, endpoint) for shard in shards]
    return DownloadPlan(spec, repository, (*(file for file in files if file is not None), index), where)


def download(name: str, **options: Any) -> Path:
    """Fetch the weights of a network; see :func:`download_steps`.

    Returns
    -------
    folder : Path
        Where they are, found from now on by every run.
    """
    return collect(download_steps(name, **options))


def download_steps(
    name: str,
    *,
    source: Repository | Literal["auto"] = "auto",
    token: str | None = None,
    endpoint: str | None = None,
    folder: str | Path | None = None,
) -> Job[Path]:
    """Fetch the weights step by step; closing the job cancels, and the next one goes on.

    Parameters
    ----------
    name, source, token, endpoint, folder
        As in :func:`plan_download`.

    Yields
    ------
    progress : Progress
        In bytes; the first message names size and licence.

    Raises
    ------
    InputError
        With what to do, when something stands in the way; what was fetched so far is kept.
    """
    yield Progress(0, 1, f"asking for {spec_of(name).label}")
    plan = plan_download(name, source=source, token=token, endpoint=endpoint, folder=folder)
    size = f"{plan.nbytes / 1e6:,.0f} MB"
    yield Progress(0, plan.nbytes, f"{plan.spec.label}: {size} from {plan.repository}, under the {plan.licence}")
    _check_disk(plan)
    before = 0
    for file in plan.files:
        for done in _fetch(plan, file, token, endpoint):
            yield Progress(before + done, plan.nbytes, f"{plan.spec.label}: {(before + done) / 1e6:,.0f} of {size}")
        before += file.nbytes
    note = {"repository": plan.repository, "licence": plan.licence, "files": {file.name: file.etag for file in plan.files}}
    with _disk_errors(plan.folder):
        (plan.folder / "source.json").write_text(json.dumps(note, indent=1), encoding="utf-8")
    return plan.folder


def fetched_bytes(name: str) -> int:
    """Count what unfinished downloads of a network have brought so far."""
    folders = (download_folder(spec_of(name), repository) for repository in get_args(Repository))
    return sum(part.stat().st_size for folder in folders for part in folder.glob("*.part"))


def _fetch(plan: DownloadPlan, file: RemoteFile, token: str | None, endpoint: str | None) -> Iterator[int]:
    """Fetch one file; yields how many bytes there are."""
    final = plan.folder / file.name
    if final.is_file() and final.stat().st_size == file.nbytes:
        yield file.nbytes
        return
    part = _part(plan.folder, file)
    start = part.stat().st_size if part.is_file() else 0
    if start > file.nbytes:
        part.unlink()
        start = 0
    if start < file.nbytes:
        with _network_errors(plan.repository), _disk_errors(plan.folder):
            request = _request(file, start, token, endpoint)
            with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as reply:
                start = start if reply.status == http.HTTPStatus.PARTIAL_CONTENT else 0
                with part.open("r+b" if start else "wb") as target:
                    target.seek(start)
                    while block := reply.read(_BLOCK):
                        target.write(block)
                        start += len(block)
                        yield start
    _check_whole(part, file)
    os.replace(part, final)
    yield file.nbytes


def _part(folder: Path, file: RemoteFile) -> Path:
    """Name of an unfinished file; with its tag, so that another version is not glued to it."""
    return folder / f"{file.name}.{re.sub(r'[^0-9a-zA-Z]', '', file.etag)[:12]}.part"


def _check_whole(part: Path, file: RemoteFile) -> None:
    size = part.stat().st_size
    if size != file.nbytes:
        raise InputError(
            f"The download of {file.name} ended at {size / 1e6:,.1f} of {file.nbytes / 1e6:,.1f} MB", "the whole file", _GO_ON
        )
    if not re.fullmatch(r"[0-9a-f]{64}", file.etag):
        return  # small files have a tag of another kind
    digest = hashlib.sha256()
    with part.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    if digest.hexdigest() != file.etag:
        part.unlink()
        raise InputError(
            f"{file.name} arrived damaged (SHA-256 {digest.hexdigest()[:8]}...)",
            f"SHA-256 {file.etag[:8]}...",
            "Run the download again; if it happens twice, try another network",
        )


def _check_disk(plan: DownloadPlan) -> None:
    with _disk_errors(plan.folder):
        plan.folder.mkdir(parents=True, exist_ok=True)
    here = sum(
        path.stat().st_size
        for file in plan.files
        for path in (plan.folder / file.name, _part(plan.folder, file))
        if path.is_file()
    )
    free, needed = shutil.disk_usage(plan.folder).free, plan.nbytes - here + _SPARE_BYTES
    if free < needed:
        raise InputError(
            f"The disk of {plan.folder} has {free / 1e6:,.0f} MB free",
            f"{needed / 1e6:,.0f} MB",
            "Free some space, or set NAPARI_DINOV3_CACHE to a folder on another disk",
        )


def _request(file: RemoteFile, start: int, token: str | None, endpoint: str | None) -> urllib.request.Request:
    from huggingface_hub import constants
    from huggingface_hub.utils import build_hf_headers

    headers = build_hf_headers(token=token, library_name="napari-dinov3")
    if urlsplit(file.address).netloc != urlsplit(endpoint or constants.ENDPOINT).netloc:
        headers.pop("authorization", None)  # the token is the hub's business, not its storage provider's
    headers["Accept-Encoding"] = "identity"
    if start:
        headers["Range"] = f"bytes={start}-"
    return urllib.request.Request(file.address, headers=headers)


def _metadata(
    repository: str, name: str, token: str | None, endpoint: str | None, *, absent_is_none: bool = False
) -> RemoteFile | None:
    try:
        from huggingface_hub import get_hf_file_metadata, hf_hub_url
        from huggingface_hub.errors import EntryNotFoundError
    except ImportError as error:
        raise MissingDependencyError(
            "A download needs huggingface_hub", "this package installed", 'Run: pip install "napari-dinov3[dinov3]"'
        ) from error
    with _network_errors(repository):
        try:
            found = get_hf_file_metadata(hf_hub_url(repository, name, endpoint=endpoint), token=token, timeout=_TIMEOUT_SECONDS)
        except EntryNotFoundError:
            if absent_is_none:
                return None
            raise
    return RemoteFile(name, int(found.size or 0), found.etag or "", found.location)


@contextlib.contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    import errno

    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
            raise InputError(f"The disk of {folder} is full", "room for the weights", f"Free some space. {_GO_ON}") from error
        if isinstance(error, PermissionError):
            raise InputError(
                f"{folder} cannot be written", "a folder of your own", "Set NAPARI_DINOV3_CACHE to a folder you may write to"
            ) from error
        raise


@contextlib.contextmanager
def _network_errors(repository: str) -> Iterator[None]:
    """Turn what the hub and the network answer into what the user can do about it."""
    from huggingface_hub import errors

    page, mirror = f"https://huggingface.co/{repository}", "or use source='mirror', which needs neither token nor permission"
    try:
        yield
    except InputError:
        raise
    except errors.LocalTokenNotFoundError as error:
        raise _RefusedError(
            f"{repository} needs a Hugging Face token, and none is kept on this computer",
            "a token",
            f"Make one at https://huggingface.co/settings/tokens and run: hf auth login; {mirror}",
        ) from error
    except errors.GatedRepoError as error:
        raise _RefusedError(
            f"Access to {repository} is not granted",
            "an account that Meta has let in, and its token",
            f"Log in at {page}, accept the licence and wait for the answer; {mirror}",
        ) from error
    except (errors.RepositoryNotFoundError, errors.EntryNotFoundError) as error:
        raise _RefusedError(
            f"{repository} does not show these weights to this account",
            "a repository that is public, or a token with access to it",
            f"Look at {page} and run: hf auth login; {mirror}",
        ) from error
    except errors.OfflineModeIsEnabled as error:
        raise InputError(
            "HF_HUB_OFFLINE is set, so nothing may be downloaded",
            "a computer that may go online",
            "Unset HF_HUB_OFFLINE, or copy the weights here and give their path",
        ) from error
    except Exception as error:
        if not _is_network_error(error):
            raise
        raise InputError(
            f"The connection to {repository} failed ({type(error).__name__}: {error})",
            "a network that reaches the hub",
            f"Check the connection or the proxy. {_GO_ON}. Or copy the weights here and give their path",
        ) from error


def _is_network_error(error: Exception) -> bool:
    """Tell errors of the network from those of the disk and of programming; the hub's HTTP library differs by version."""
    if isinstance(error, urllib.error.URLError | http.client.HTTPException | ConnectionError | TimeoutError):
        return True
    return type(error).__module__.partition(".")[0] in {"httpx", "httpx2", "httpcore", "requests", "urllib3", "huggingface_hub"}
