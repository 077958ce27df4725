"""Container images made of plain files: layers and a configuration.  Used by the cluster and the image builders."""

import fcntl
import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.cluster.harness.components import PAUSE_IMAGE
from tests.cluster.harness.paths import cache, fingerprint

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer: an uncompressed tar and its SHA-256."""

    path: Path
    digest: str


@dataclass(frozen=True, slots=True)
class Image:
    """A name (``model-serving.test/NAME:TAG``), layers from the bottom up, and how to start it (OCI names)."""

    reference: str
    layers: tuple[Layer, ...]
    start: Mapping[str, Any] = field(default_factory=dict)

    def write(self, archive: Path, *, without: Collection[str] = ()) -> Path:
        """Write an OCI archive; layers that the reader already has, by digest, are left out."""
        config = {
            "os": "linux",
            "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
            "config": dict(self.start),
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer.digest}" for layer in self.layers]},
        }
        with tarfile.open(archive, "w") as tar:
            layers = [_descriptor(LAYER, layer.digest, layer.path.stat().st_size) for layer in self.layers]
            start = _add_json(tar, CONFIG, config)
            body = {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": start,
                "layers": layers,
            }
            entry = _add_json(tar, MANIFEST, body)
            entry["annotations"] = {"io.containerd.image.name": self.reference}
            add_file(tar, "index.json", _dump({"schemaVersion": 2, "manifests": [entry]}))
            add_file(tar, "oci-layout", _dump({"imageLayoutVersion": "1.0.0"}))
            for layer in self.layers:
                if layer.digest not in without:
                    tar.add(layer.path, f"blobs/sha256/{layer.digest}")
        return archive


def image_name(name: str, layers: tuple[Layer, ...], start: Mapping[str, Any]) -> str:
    """A reference whose tag follows from the content."""
    tag = fingerprint([*(layer.digest.encode() for layer in layers), _dump(start)])
    return f"model-serving.test/{name}:{tag}"


def make_layer(key: str, fill: Callable[[tarfile.TarFile], None]) -> Layer:
    """The layer known under a key, filled now if it is not in the cache yet."""
    folder = cache() / "layers"
    folder.mkdir(exist_ok=True)
    path, note = folder / f"{key}.tar", folder / f"{key}.sha256"
    with (folder / f"{key}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two runs at once make it once
        if not (path.exists() and note.exists()):
            partial = path.with_suffix(".partial")
            with tarfile.open(partial, "w") as tar:
                fill(tar)
            with partial.open("rb") as content:
                note.write_text(hashlib.file_digest(content, "sha256").hexdigest())
            partial.rename(path)
    return Layer(path, note.read_text())


def pause_image(binaries: Path) -> Image:
    """What holds a pod's network open."""
    binary = (binaries / "pause").read_bytes()
    layer = make_layer(f"pause-{fingerprint([binary])}", lambda tar: add_file(tar, "pause", binary, mode=0o755))
    return Image(PAUSE_IMAGE, (layer,), {"Entrypoint": ["/pause"], "User": "65535:65535"})


def add_file(tar: tarfile.TarFile, name: str, content: bytes, *, mode: int = 0o644) -> None:
    """Add a file of root's, dated 1970 so that the same content gives the same layer."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    tar.addfile(entry, io.BytesIO(content))


def add_tree(tar: tarfile.TarFile, source: Path, target: str) -> None:
    """Add a folder: root's, readable by everybody, dated 1970, in order."""

    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = entry.mtime = 0
        entry.uname = entry.gname = "root"
        entry.mode |= 0o555 if entry.isdir() or entry.mode & 0o111 else 0o444
        return entry

    for path in sorted(source.rglob("*")):
        tar.add(path, f"{target}/{path.relative_to(source)}", recursive=False, filter=plain)


def _add_json(tar: tarfile.TarFile, kind: str, document: Mapping[str, Any]) -> dict[str, Any]:
    content = _dump(document)
    digest = hashlib.sha256(content).hexdigest()
    add_file(tar, f"blobs/sha256/{digest}", content)
    return _descriptor(kind, digest, len(content))


def _descriptor(kind: str, digest: str, size: int) -> dict[str, Any]:
    return {"mediaType": kind, "digest": f"sha256:{digest}", "size": size}


def _dump(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True).encode()
