"""The pictures of the colour-order check differ in the order of their colours and in nothing else."""

import io

import numpy as np
from PIL import Image

import zoo
from finetune.checks.spaces import SwappedChannels
from zoo.features.spaces import BackboneSpace, prepared
from zoo.images.decode import EncodedImage


def test_exchanged_colours_are_decoded_at_the_same_scale():
    pixels = np.random.default_rng(0).integers(256, size=(1300, 1500, 3)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG")
    image = EncodedImage(file.getvalue(), "large")
    space = BackboneSpace(zoo.load("efficientnet_lite0"))
    assert space.reduction(1500, 1300) == 2
    assert np.array_equal(prepared(SwappedChannels(space), image)[..., ::-1], prepared(space, image))
