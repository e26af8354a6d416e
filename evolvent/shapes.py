"""Shapes, named once. Public signatures use these names; the tests check them at run time.

A score that returns [batch, 1] where [batch] is meant broadcasts silently to [batch, batch]: these names are
what catches it.
"""

from jaxtyping import Float, UInt8
from torch import Tensor

Points = Float[Tensor, "batch *event"]
"""Particles or data: one point of the sample space a row (an image, a point of the plane, a hidden code)."""

Hidden = Float[Tensor, "batch num_hidden"]
"""Hidden codes z, which a mapping takes to points."""

PerPoint = Float[Tensor, " batch"]
"""One number for each point: an energy, a log density."""

Scalar = Float[Tensor, ""]
"""One number: a loss, a vital sign."""

Pixels = UInt8[Tensor, "batch channel height width"]
"""Images as they are stored and shown, 0..255."""
