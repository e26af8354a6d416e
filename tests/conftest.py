"""Every test runs on one thread, with shapes in public signatures checked, and with warnings as errors."""

import pytest
import torch
from jaxtyping import install_import_hook

torch.set_num_threads(1)
install_import_hook("evolvent", "shape_check.check").__enter__()


@pytest.fixture(params=["cpu", "cuda"])
def device(request):
    """Each that there is."""
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    return request.param


@pytest.fixture(autouse=True)
def float32_is_float32(monkeypatch):
    """And not TF32, in which a GPU convolves otherwise."""
    if torch.cuda.is_available():
        monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


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
