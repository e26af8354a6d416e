"""Every test runs on one thread, with shapes in public signatures checked, and with warnings as errors."""

import pytest
import torch
from jaxtyping import install_import_hook

torch.set_num_threads(1)
install_import_hook("evolvent", "shape_check.check").__enter__()


@pytest.fixture(params=["cpu", "cuda"])
def device(request, monkeypatch):
    """Each that there is; float32 is float32 there, not TF32, and no algorithm is chosen by the clock."""
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    return request.param


@pytest.fixture
def no_pictures(monkeypatch):
    """A picture of the plane takes half a second and has its own tests."""
    monkeypatch.setattr("evolvent.pictures.save", lambda *_, **__: None)


@pytest.fixture
def toy(tmp_path):
    """A recipe in a file, and the words that train it."""
    from tiny import RECIPE  # after the hook above

    (tmp_path / "toy.py").write_text(RECIPE.format(keyword="lr", first="pass"))
    return ["train", f"{tmp_path}/toy.py:toy", "--out", f"{tmp_path}/run"]
