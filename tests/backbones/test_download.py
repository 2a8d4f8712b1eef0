"""Downloads from a hub of our own: progress, cancel, resume, and every way it can go wrong."""

from __future__ import annotations

import errno
import hashlib
import shutil
import threading
from collections import namedtuple
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

pytest.importorskip("huggingface_hub", reason="the [dinov3] extra is not installed")

from napari_dinov3.backbones.dinov3_models import spec_of
from napari_dinov3.backbones.download import download, download_steps, plan_download
from napari_dinov3.backbones.sources import find_weights
from napari_dinov3.errors import InputError

SPEC = spec_of("dinov3-vits16")
CONTENT = bytes(range(256)) * (5 << 12)  # 5 MiB
ETAG = hashlib.sha256(CONTENT).hexdigest()


class Hub(ThreadingHTTPServer):
    """Serves one file as the hub does; remembers what was asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.etag, self.status, self.error_code, self.cut_at, self.ranges_work = ETAG, 200, "", None, True
        self.ranges: list[str | None] = []
        self.tokens: list[str | None] = []
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Stay quiet when a client goes away in the middle, which is what some tests do."""


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        hub = self.server
        hub.tokens.append(self.headers.get("authorization"))
        status, code = hub.status, hub.error_code
        if status == 200 and not self.path.endswith("model.safetensors"):
            status, code = 404, "EntryNotFound"
        if status != 200:
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start = 0
        if body:
            asked = self.headers.get("Range")
            hub.ranges.append(asked)
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and hub.ranges_work else 0
        self.send_response(206 if start else 200)
        self.send_header("ETag", f'"{hub.etag}"')
        self.send_header("X-Repo-Commit", "c0ffee")
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        if body:
            self.wfile.write(CONTENT[start : hub.cut_at])
            self.close_connection = True


@pytest.fixture
def hub(monkeypatch, tmp_path):
    monkeypatch.setenv("NAPARI_DINOV3_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_the_plan_tells_size_and_licence_and_fetches_nothing(hub):
    plan = plan_download(SPEC.name, endpoint=hub.url)
    assert (plan.nbytes, plan.repository) == (len(CONTENT), SPEC.mirror)
    assert "DINOv3 License" in plan.licence and "https://" in plan.licence
    assert hub.ranges == []


def test_a_download_reports_bytes_and_is_found_afterwards(hub):
    events = []
    job = download_steps(SPEC.name, endpoint=hub.url)
    while True:
        try:
            events.append(next(job))
        except StopIteration as stop:
            folder = stop.value
            break
    assert "5 MB" in events[1].message and "DINOv3 License" in events[1].message
    assert [event.done for event in events] == sorted(event.done for event in events)
    assert events[-1].done == events[-1].total == len(CONTENT)
    assert (folder / "model.safetensors").read_bytes() == CONTENT
    assert not list(folder.glob("*.part"))
    found = find_weights(SPEC)
    assert (found.source, found.path) == ("mirror", folder)


def test_a_cancelled_download_goes_on_where_it_stopped(hub):
    job = download_steps(SPEC.name, endpoint=hub.url)
    while next(job).done < 2 << 20:
        pass
    job.close()
    assert find_weights(SPEC) is None
    folder = download(SPEC.name, endpoint=hub.url)
    assert hub.ranges[0] is None
    assert int(hub.ranges[1].removeprefix("bytes=").rstrip("-")) >= 2 << 20
    assert (folder / "model.safetensors").read_bytes() == CONTENT


def test_a_server_that_cannot_resume_is_asked_for_everything(hub):
    hub.cut_at = 3 << 20
    with pytest.raises(InputError):
        download(SPEC.name, endpoint=hub.url)
    hub.cut_at, hub.ranges_work = None, False
    assert (download(SPEC.name, endpoint=hub.url) / "model.safetensors").read_bytes() == CONTENT


def test_a_connection_that_breaks_says_how_far_it_came_and_goes_on(hub):
    hub.cut_at = 3 << 20
    with pytest.raises(InputError, match="it goes on where it stopped"):
        download(SPEC.name, endpoint=hub.url)
    assert find_weights(SPEC) is None
    hub.cut_at = None
    download(SPEC.name, endpoint=hub.url)
    assert hub.ranges[1] is not None


def test_a_second_download_fetches_nothing(hub):
    download(SPEC.name, endpoint=hub.url)
    download(SPEC.name, endpoint=hub.url)
    assert len(hub.ranges) == 1


def test_damage_on_the_way_is_noticed_and_not_kept(hub):
    hub.etag = "0" * 64
    with pytest.raises(InputError, match=r"arrived damaged \(SHA-256"):
        download(SPEC.name, endpoint=hub.url)
    assert find_weights(SPEC) is None
    assert not list(find_parts())


def find_parts():
    from napari_dinov3.backbones.sources import download_folder

    return download_folder(SPEC).glob("*.part")


def test_another_version_is_not_glued_to_an_unfinished_one(hub):
    hub.etag = "1" * 64
    job = download_steps(SPEC.name, endpoint=hub.url)
    while next(job).done < 1 << 20:
        pass
    job.close()
    hub.etag = ETAG
    download(SPEC.name, endpoint=hub.url)
    assert hub.ranges == [None, None]


@pytest.mark.parametrize(
    ("status", "code", "source", "message"),
    [
        (403, "GatedRepo", "meta", r"Access to facebook/.* is not granted.*accept the licence.*source='mirror'"),
        (401, "RepoNotFound", "meta", r"does not show these weights.*hf auth login.*source='mirror'"),
        (404, "RepoNotFound", "mirror", "does not show these weights"),
        (500, "", "mirror", "connection to timm/.* failed"),
    ],
)
def test_what_the_hub_answers_becomes_what_to_do(hub, status, code, source, message):
    hub.status, hub.error_code = status, code
    with pytest.raises(InputError, match=message):
        download(SPEC.name, endpoint=hub.url, source=source, token="hf_secret")


def test_the_token_goes_to_the_hub(hub):
    download(SPEC.name, endpoint=hub.url, source="meta", token="hf_secret")
    assert set(hub.tokens) == {"Bearer hf_secret"}


def test_without_a_network_the_message_says_so():
    with pytest.raises(InputError, match=r"connection to timm/.* failed.*Check the connection.*copy the weights"):
        download(SPEC.name, endpoint="http://127.0.0.1:9")


def test_a_disk_without_room_is_told_before_anything_is_fetched(hub, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 9, 1_000_000))
    with pytest.raises(InputError, match=r"has 1 MB free.*105 MB.*NAPARI_DINOV3_CACHE"):
        download(SPEC.name, endpoint=hub.url)
    assert hub.ranges == []


class _FullDisk:
    """A file on a disk that has room for 2 MiB and no more."""

    def __init__(self, file: object) -> None:
        self.file, self.room = file, 2 << 20

    def __enter__(self) -> _FullDisk:
        return self

    def __exit__(self, *error: object) -> None:
        self.file.close()

    def seek(self, place: int) -> None:
        self.file.seek(place)

    def write(self, block: bytes) -> None:
        taken = block[: self.room]
        self.file.write(taken)
        self.room -= len(taken)
        if len(taken) < len(block):
            raise OSError(errno.ENOSPC, "No space left on device")


def test_a_disk_that_fills_up_on_the_way_is_told_and_the_download_goes_on(hub, monkeypatch):
    opened = Path.open

    def on_full_disk(path: Path, mode: str = "r", *how: object, **more: object) -> object:
        file = opened(path, mode, *how, **more)
        return _FullDisk(file) if path.suffix == ".part" and "r" not in mode.replace("r+", "") else file

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", on_full_disk)
        with pytest.raises(InputError, match=r"The disk of .* is full.*room for the weights.*goes on where it stopped"):
            download(SPEC.name, endpoint=hub.url)
    assert find_weights(SPEC) is None
    (part,) = find_parts()
    assert 0 < part.stat().st_size <= 2 << 20 and CONTENT.startswith(part.read_bytes())
    folder = download(SPEC.name, endpoint=hub.url)
    assert hub.ranges[1] == f"bytes={2 << 20}-"
    assert (folder / "model.safetensors").read_bytes() == CONTENT
    assert not list(find_parts())
