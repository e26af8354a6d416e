"""Sealed files: every flipped bit is found, the same content is the same bytes, and no pickle is run."""

import io
import json
import pickle
import struct
import zipfile

import pytest
import torch
from safetensors.torch import load, save

from evolvent.storage.sealed import MARK, pack_state, pack_weights, seal, unpack_state, unpack_weights

STATE = {"step": 3, "none": None, "list": [1.5, {"x": torch.arange(6.0)}], "seed": 2**40}
WEIGHTS = {"b.weight": torch.randn(3, 2), "a.bias": torch.zeros(5, dtype=torch.float64)}
METADATA = {"recipe": "toy", "step": "3", "arguments": "{}", "evolvent": "0"}


def test_what_is_packed_is_unpacked():
    state = unpack_state(pack_state(STATE))
    assert torch.equal(state["list"][1]["x"], torch.arange(6.0))
    assert (state["step"], state["none"], state["seed"]) == (3, None, 2**40)
    weights, metadata = unpack_weights(pack_weights(WEIGHTS, METADATA))
    assert metadata == METADATA
    assert all(torch.equal(weights[name], WEIGHTS[name]) for name in WEIGHTS)


@pytest.mark.parametrize(
    ("content", "unpack"),
    [(pack_state(STATE), unpack_state), (pack_weights(WEIGHTS, METADATA), unpack_weights)],
    ids=["state", "weights"],
)
def test_any_flipped_bit_and_any_cut_is_found(content, unpack):
    """A bit in every seventh byte, and every thirteenth length."""
    for place in range(0, len(content), 7):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        with pytest.raises(ValueError):
            unpack(bytes(damaged))
    for length in range(0, len(content), 13):
        with pytest.raises(ValueError):
            unpack(content[:length])


def test_others_can_read_what_is_sealed():
    archive = pack_state(STATE)
    assert torch.load(io.BytesIO(archive), weights_only=True)["step"] == 3
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        assert opened.comment.startswith(MARK)
    assert load(pack_weights(WEIGHTS, METADATA)).keys() == WEIGHTS.keys()


def test_the_same_weights_are_the_same_bytes_whatever_the_order():
    """safetensors itself writes its metadata in an order that changes from call to call."""
    backwards = dict(reversed(WEIGHTS.items())), dict(reversed(METADATA.items()))
    assert len({pack_weights(WEIGHTS, METADATA) for _ in range(10)} | {pack_weights(*backwards)}) == 1


def test_weights_without_a_checksum_are_refused():
    with pytest.raises(ValueError, match="carries no checksum"):
        unpack_weights(save(WEIGHTS, METADATA))


class Bomb:
    """Unpickled, it would call `print`."""

    def __reduce__(self):
        return (print, ("a pickle was run",))


def test_no_pickle_in_a_checkpoint_is_run(capsys):
    buffer = io.BytesIO()
    torch.save({"trainer": Bomb()}, buffer)
    for content in (buffer.getvalue(), pickle.dumps(Bomb()) + bytes(2)):
        with pytest.raises(Exception):  # noqa: B017  whatever it is, it is not run
            unpack_state(seal(content))
    assert capsys.readouterr().out == ""


def test_a_model_file_has_no_place_for_a_pickle():
    header = json.dumps({"__metadata__": METADATA | {"sha256": "0" * 64}}).encode()
    with pytest.raises(ValueError, match="checksum"):
        unpack_weights(struct.pack("<Q", len(header)) + header)
