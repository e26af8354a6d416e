"""What is learned from: sources that draw data, in the plane (toys) and in pictures (images, textures)."""

from evolvent.data.images import Images
from evolvent.data.named import NAMED
from evolvent.data.packaged import TEXTURES, digits, texture
from evolvent.data.pixels import to_particles, to_pixels
from evolvent.data.readers import from_array, from_file, from_folder, load
from evolvent.data.streams import Stream
from evolvent.data.textures import Crops, split_texture
from evolvent.data.toys import Checkerboard, Grid, Mixture, Moons, Ring

__all__ = [
    "NAMED",
    "TEXTURES",
    "Checkerboard",
    "Crops",
    "Grid",
    "Images",
    "Mixture",
    "Moons",
    "Ring",
    "Stream",
    "digits",
    "from_array",
    "from_file",
    "from_folder",
    "load",
    "split_texture",
    "texture",
    "to_particles",
    "to_pixels",
]
