"""Every test runs on one thread, with shapes in public signatures checked, and with warnings as errors."""

import torch
from jaxtyping import install_import_hook

torch.set_num_threads(1)
install_import_hook("evolvent", "shape_check.check").__enter__()
