"""Sealed files: what a run saves carries its own SHA-256, and nothing in it is believed before that is checked.

    a checkpoint   the archive of torch.save, the sum in the archive's comment (`unzip -z` shows it)
    a model        safetensors, the sum in the header's metadata; the same weights are the same bytes

A checkpoint holds tensors and plain containers and is loaded as such (`weights_only`): no pickle in a run folder is
ever executed. ValueError for whatever is wrong with a file.
"""

import hashlib
import io
import json
import struct
from typing import Any

import safetensors
import torch
from safetensors.torch import load, save

MARK = b"evolvent sha256 "
NUM_COMMENT_BYTES = len(MARK) + 64


def pack_state(state: dict[str, Any]) -> bytes:
    """Tensors and plain containers as a sealed archive."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return seal(buffer.getvalue())


def seal(archive: bytes) -> bytes:
    """A zip archive without a comment, with its sum as its comment."""
    comment = MARK + hashlib.sha256(archive).hexdigest().encode()
    # A zip archive ends with the length of its comment, two bytes that are 0 here, and the comment.
    return archive[:-2] + struct.pack("<H", len(comment)) + comment


def unpack_state(content: bytes) -> dict[str, Any]:
    """The state in a sealed archive, on the CPU."""
    body, comment = content[: -NUM_COMMENT_BYTES - 2], content[-NUM_COMMENT_BYTES:]
    if not comment.startswith(MARK):
        raise ValueError("it is cut short, or carries no checksum")
    archive = body + bytes(2)
    if hashlib.sha256(archive).hexdigest().encode() != comment.removeprefix(MARK):
        raise ValueError("its content does not fit its checksum")
    if not archive.startswith(b"PK"):  # torch would read older formats, too
        raise ValueError("it is no archive of torch.save")
    state = torch.load(io.BytesIO(archive), map_location="cpu", weights_only=True)
    if not isinstance(state, dict):
        raise ValueError("it holds no state")
    return state


def pack_weights(weights: dict[str, torch.Tensor], metadata: dict[str, str]) -> bytes:
    """Weights and metadata as a sealed safetensors file."""
    header, body = _split(save(weights))
    header["__metadata__"] = metadata | {"sha256": _sum(header, metadata, body)}
    text = json.dumps(header, sort_keys=True).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + body


def unpack_weights(content: bytes) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Weights and metadata of a sealed safetensors file."""
    try:
        weights = load(content)
    except safetensors.SafetensorError as error:
        raise ValueError(f"is not a safetensors file, or is damaged ({error})") from error
    header, body = _split(content)
    metadata = header.pop("__metadata__", {})
    if "sha256" not in metadata:
        raise ValueError("was not written by this evolvent: its header carries no checksum")
    if metadata.pop("sha256") != _sum(header, metadata, body):
        raise ValueError("is damaged: its content does not fit its checksum")
    return weights, metadata


def _split(content: bytes) -> tuple[dict[str, Any], bytes]:
    """The header of a safetensors file, and what comes after it."""
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def _sum(header: dict[str, Any], metadata: dict[str, str], body: bytes) -> str:
    """The SHA-256 of all of a safetensors file but the sum itself."""
    digest = hashlib.sha256(json.dumps([header, metadata], sort_keys=True).encode())
    digest.update(body)
    return digest.hexdigest()
