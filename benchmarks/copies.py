"""How well and how fast images of one thing are found.

    python benchmarks/copies.py groups FOLDER [--suffix .jpg] [--sheet pairs.png]
    python benchmarks/copies.py recall FOLDER
    python benchmarks/copies.py cost FOLDER
    python benchmarks/copies.py tiles FOLDER INTO
    python benchmarks/copies.py pictures docs/images/copies.jpg

``groups``: how many groups a folder has, with a sheet of the pairs to look at. ``recall``: of 60 images, each
altered in twelve ways, how many are found among all images; and of their nearest five, how many are wrongly
joined to them. ``cost``: processor time of the search beside that of extracting the features, each with an
empty store, and of a second search. ``tiles``: make a large folder without copies out of a small one, by
cutting each image into 5 x 5 pieces that do not overlap. ``pictures``: draw pairs made of scikit-learn's two
photographs, with what the search says of each.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import sklearn.datasets
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps

from finetune.data.copies import find_copies
from zoo.backbone import load
from zoo.features.fill import compute
from zoo.features.spaces import BackboneSpace, RawPixels
from zoo.images.decode import open_image

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}
PICKED = 60


def crop(image, share):
    left, top = round(image.width * share), round(image.height * share)
    return image.crop((left, top, image.width - left, image.height - top))


def watermark(image):
    image = image.copy()
    font = ImageFont.load_default(size=max(10, image.width // 8))
    place = (image.width * 0.08, image.height * 0.4)
    ImageDraw.Draw(image, "RGBA").text(place, "SAMPLE PHOTO", font=font, fill=(255, 255, 255, 160))
    return image


ALTERATIONS = {
    "JPEG 40": lambda image: image,
    "half": lambda image: image.resize((image.width // 2, image.height // 2), Image.Resampling.BICUBIC),
    "crop 5%": lambda image: crop(image, 0.05),
    "crop 10%": lambda image: crop(image, 0.1),
    "rotation 10": lambda image: image.rotate(10, Image.Resampling.BICUBIC),
    "rotation 90": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "mirror": ImageOps.mirror,
    "brightness +30%": lambda image: ImageEnhance.Brightness(image).enhance(1.3),
    "brightness -40%": lambda image: ImageEnhance.Brightness(image).enhance(0.6),
    "grey": lambda image: ImageOps.grayscale(image).convert("RGB"),
    "watermark": watermark,
    "blur": lambda image: image.filter(ImageFilter.GaussianBlur(max(image.size) / 200)),
}


def images_of(folder, suffix=""):
    """Paths of a folder's images, at any depth; of one suffix only, where one is named."""
    wanted = {suffix} if suffix else SUFFIXES
    return sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in wanted)


def described(paths, backbone):
    return compute(paths, [BackboneSpace(backbone), RawPixels()])


def search(found):
    return find_copies(found.paths, found.digests, *found.matrices)


def groups(given):
    found = described(images_of(given.folder, given.suffix), load("efficientnet_lite0"))
    copies = search(found)
    if given.sheet:
        sheet(found.paths, copies.pairs, given.sheet)
    kinds = [pair.kind for pair in copies.pairs]
    return {
        "images": len(found.paths),
        "groups": copies.n_groups,
        "images in groups": copies.n_images,
        "largest group": copies.largest,
        **{f"pairs, {kind}": kinds.count(kind) for kind in ("bytes", "pixels", "scene")},
    }


def sheet(paths, pairs, target, side=150, across=5):
    """Draw pairs beside each other, for people to look at."""
    width, height = 2 * side + 10, side + 16
    page = Image.new("RGB", (across * width, -(-len(pairs) // across) * height), "dimgrey")
    draw = ImageDraw.Draw(page)
    for place, pair in enumerate(pairs):
        x, y = place % across * width, place // across * height
        for shift, which in ((0, pair.a), (side, pair.b)):
            page.paste(ImageOps.contain(open_image(paths[which]), (side, side)), (x + shift, y))
        draw.text((x, y + side), f"{pair.kind} {pair.score:.3f}", fill="white")
    page.save(target)


def pictures(given):
    """Pairs that show what is found and what is not; each is searched for by itself."""
    samples = Path(sklearn.datasets.__file__).parent / "images"
    china, flower = (open_image(samples / f"{name}.jpg") for name in ("china", "flower"))
    temple, roof = china.crop((130, 130, 490, 400)), china.crop((20, 60, 380, 330))
    bloom = flower.crop((160, 90, 520, 360))
    pairs = {
        "crop, JPEG 40": (temple, crop(temple, 0.1)),
        "turned by 10 degrees": (bloom, ALTERATIONS["rotation 10"](bloom)),
        "mirrored, darker": (temple, ALTERATIONS["brightness -40%"](ImageOps.mirror(temple))),
        "watermark": (bloom, watermark(bloom)),
        "the camera moved": (temple, roof),
        "less than a third": (temple, temple.crop((120, 90, 290, 190))),
        "another place": (china.crop((0, 230, 300, 427)), china.crop((330, 230, 630, 427))),
        "another thing": (temple, bloom),
    }
    backbone, side, across = load("efficientnet_lite0"), 130, 4
    page = Image.new("RGB", (across * (2 * side + 14), -(-len(pairs) // across) * (side + 2)), "white")
    draw, font, result = ImageDraw.Draw(page), ImageFont.load_default(12), {}
    for place, (name, pair) in enumerate(pairs.items()):
        x, y = place % across * (2 * side + 14), place // across * (side + 2)
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder) / "a.jpg", Path(folder) / "b.jpg"]
            for i, (path, image) in enumerate(zip(paths, pair, strict=True)):
                image.save(path, quality=40 if i and "JPEG" in name else 90)
                page.paste(ImageOps.contain(open_image(path), (side, side - 30)), (x + i * (side + 4), y))
            found = search(described(paths, backbone)).pairs
        result[name] = f"found, {found[0].score:.2f}" if found else "not found"
        draw.text((x, y + side - 28), f"{name}: {result[name]}", "black", font)
    page.save(given.into, quality=75)
    return result


def recall(given):
    backbone = load("efficientnet_lite0")
    paths = images_of(given.folder, given.suffix)
    found = described(paths, backbone)
    picked = np.sort(np.random.default_rng(0).choice(len(paths), PICKED, replace=False))
    plain = search(found).groups
    result = {"nearest five joined": f"{joined(found.matrices[0], plain, picked)} of {5 * PICKED}"}
    for name, alter in ALTERATIONS.items():
        with tempfile.TemporaryDirectory() as folder:
            altered = [Path(folder) / f"{place}.jpg" for place in picked]
            for place, path in zip(picked, altered, strict=True):
                alter(open_image(paths[place])).save(path, quality=40 if name == "JPEG 40" else 90)
            together = search(described([*paths, *altered], backbone)).groups
        hits = together[picked] == together[len(paths) :]
        result[name] = f"{hits.mean():.1%}"
        print(name, result[name], flush=True)
    return result


def joined(X, groups, picked):
    """How many of the five nearest of some images are in one group with them."""
    U = X / np.linalg.norm(X, axis=1, keepdims=True)
    products = U[picked] @ U.T
    products[np.arange(len(picked)), picked] = -1
    nearest = np.argsort(-products, axis=1)[:, :5]
    return int((groups[nearest] == groups[picked][:, None]).sum())


def cost(given):
    paths = images_of(given.folder, given.suffix)
    with tempfile.TemporaryDirectory() as folder:
        backbone = load("efficientnet_lite0")
        described(paths[:64], backbone)  # the engine is made ready
        os.environ["ZOO_CACHE"] = folder
        found, extraction = timed(lambda: described(paths, backbone))
        copies, first = timed(lambda: search(found))
        _, second = timed(lambda: search(found))
    return {
        "images": len(paths),
        "images in groups": copies.n_images,
        "extraction, s": round(extraction, 1),
        "search, s": round(first, 2),
        "search / extraction": f"{first / extraction:.1%}",
        "second search, s": round(second, 2),
    }


def timed(function):
    """Return what a function returns and the processor time that it took, in all threads."""
    start = time.process_time()
    return function(), time.process_time() - start


def tiles(given):
    """Cut each image of a folder into 5 x 5 pieces that do not overlap."""
    for place, path in enumerate(images_of(given.folder, given.suffix)):
        image = open_image(path)
        width, height = image.width // 5, image.height // 5
        for piece in range(25):
            left, top = piece % 5 * width, piece // 5 * height
            target = Path(given.into) / f"{place:04}-{piece:02}.jpg"
            target.parent.mkdir(parents=True, exist_ok=True)
            image.crop((left, top, left + width, top + height)).resize((4 * width, 4 * height)).save(target)
    return {"images": len(images_of(given.into))}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    for command in (groups, recall, cost, tiles, pictures):
        added = commands.add_parser(command.__name__)
        if command is not pictures:
            added.add_argument("folder")
        added.add_argument("--suffix", default="", help="images of this suffix only, such as .jpg")
        added.add_argument("--json", action="store_true")
        added.set_defaults(run=command)
        if command in (tiles, pictures):
            added.add_argument("into")
        if command is groups:
            added.add_argument("--sheet", help="draw the pairs into this file")
    given = parser.parse_args()
    result = given.run(given)
    if given.json:
        print(json.dumps(result))
        return
    for key, value in result.items():
        print(f"{key:24} {value}")


if __name__ == "__main__":
    main()
