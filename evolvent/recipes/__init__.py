"""Recipes: whole experiments, one function each. A recipe's keywords are its command line."""

from evolvent.recipes import cifar10, digits, faces, images, textures, toys

RECIPES = {
    "digits": digits.digits,
    "digits-adversarial": digits.digits_adversarial,
    "digits-cooperative": digits.digits_cooperative,
    "digits-gcn": digits.digits_gcn,
    "digits-wgcn": digits.digits_wgcn,
    "digits-multigrid": digits.digits_multigrid,
    "toy-ring": toys.toy_ring,
    "toy-ring-gcn": toys.toy_ring_gcn,
    "texture-frame": textures.texture_frame,
    "texture-gcn": textures.texture_gcn,
    "images": images.images,
    "cifar10": cifar10.cifar10,
    "cifar10-amortized": cifar10.cifar10_amortized,
    "cifar10-ggcn": cifar10.cifar10_ggcn,
    "cifar10-gcn": cifar10.cifar10_gcn,
    "cifar10-wgcn": cifar10.cifar10_wgcn,
    "cifar10-multigrid": cifar10.cifar10_multigrid,
    "faces64-ggcn": faces.faces64_ggcn,
}
"""By the name that the command line knows them under; the first is what runs when no name is given."""
