"""Images of one thing, on pictures made here: what is altered is found, what only looks alike is not."""

import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

from finetune.data.copies import Copies, Pair, find_copies, label_conflicts, small_classes
from finetune.data.copies.copies import Components
from zoo.images import open_image, raw_pixels


def scene(seed, size=(240, 180)):
    """Random blobs and edges at all scales, as a photograph has them."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((size[1], size[0], 3))
    for cells in (3, 6, 12, 24, 48, 96):
        layer = rng.normal(size=(cells, cells, 3)).astype(np.float32)
        picture += cv2.resize(layer, size, interpolation=cv2.INTER_NEAREST) / np.sqrt(cells)
    picture = (picture - picture.min()) / np.ptp(picture)
    return Image.fromarray((255 * picture).astype(np.uint8))


def cropped(image, share):
    width, height = image.size
    return image.crop(
        (round(width * share), round(height * share), round(width * (1 - share)), round(height * (1 - share)))
    )


def stamped(image):
    image = image.copy()
    ImageDraw.Draw(image).text((20, 60), "SAMPLE", fill="white", font_size=30)
    return image


ALTERATIONS = {
    "saved as JPEG": lambda image: image,
    "half": lambda image: image.resize((image.width // 2, image.height // 2)),
    "crop of 10%": lambda image: cropped(image, 0.1),
    "turned by 10 degrees": lambda image: image.rotate(10, Image.Resampling.BICUBIC),
    "on its side": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "mirrored": ImageOps.mirror,
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.6),
    "grey": lambda image: image.convert("L").convert("RGB"),
    "blurred": lambda image: image.filter(ImageFilter.GaussianBlur(1)),
    "watermark": stamped,
}


@pytest.fixture
def found(tmp_path, empty_cache):
    """Save pictures and look for copies; features that are all the same leave the decision to geometry."""

    def find(images, order=None, features=None):
        paths = []
        for place, image in enumerate(images):
            path = tmp_path / f"{place}.png"
            if isinstance(image, bytes):
                path.write_bytes(image)
            else:
                image.save(path)
            paths.append(path)
        X = np.ones((len(paths), 4), np.float32) if features is None else features
        pixels = (
            np.stack([raw_pixels(open_image(path)).reshape(-1) for path in paths]).astype(np.float32) / 255
        )
        digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
        order = np.arange(len(paths)) if order is None else order
        return find_copies([paths[i] for i in order], [digests[i] for i in order], X[order], pixels[order])

    return find


@pytest.mark.parametrize("name", ALTERATIONS)
def test_an_altered_copy_is_found_and_nothing_else(found, tmp_path, name):
    altered = tmp_path / "altered.jpg"
    ALTERATIONS[name](scene(0)).save(altered, quality=60)
    copies = found([scene(0), altered.read_bytes(), scene(1), scene(2)])
    assert [(pair.a, pair.b, pair.kind) for pair in copies.pairs] == [(0, 1, "scene")]
    assert 0.5 <= copies.pairs[0].score <= 1
    assert copies.groups.tolist() == [0, 0, 1, 2]


def test_equal_files_and_equal_pictures_are_told_from_scenes(found, tmp_path):
    file = tmp_path / "same.bmp"
    scene(0).save(file)
    copies = found([scene(0), scene(0), file.read_bytes(), scene(1)])
    assert [(pair.a, pair.b, pair.kind, pair.score) for pair in copies.pairs] == [
        (0, 1, "bytes", 1.0),
        (0, 2, "pixels", 1.0),
    ]


def test_pictures_of_one_colour_are_copies_only_if_equal(found, tmp_path):
    plain = [Image.new("RGB", (50, 50), colour) for colour in ("white", "white", "black")]
    file = tmp_path / "same.bmp"
    plain[0].save(file)
    copies = found([*plain, file.read_bytes()])
    assert [(pair.a, pair.b, pair.kind) for pair in copies.pairs] == [(0, 1, "bytes"), (0, 3, "pixels")]


def test_pictures_of_a_kind_are_no_copies(found):
    """The same coarse light and shade, as radiographs have it, with other detail."""
    shade = np.asarray(scene(0).filter(ImageFilter.GaussianBlur(12)), np.float32)
    kinds = []
    for seed in range(1, 6):
        detail = np.asarray(scene(seed), np.float32) - np.asarray(
            scene(seed).filter(ImageFilter.GaussianBlur(12)), np.float32
        )
        kinds.append(Image.fromarray(np.clip(shade + detail, 0, 255).astype(np.uint8)))
    assert found(kinds).pairs == ()


def test_drawings_on_one_template_are_no_copies(found):
    """A form filled in twice: most lines are the same, what matters is not."""
    drawn = []
    for words in ("alpha", "omega"):
        image = Image.new("RGB", (240, 240), "white")
        draw = ImageDraw.Draw(image)
        draw.ellipse((20, 20, 220, 220), outline="black", width=6, fill="gold")
        draw.rectangle((60, 90, 180, 150), outline="black", width=4, fill="white")
        draw.text((70, 100), words, fill="black", font_size=36)
        drawn.append(image)
    assert found(drawn).pairs == ()
    assert found([drawn[0], ImageOps.mirror(drawn[0])]).n_images == 2


def test_what_is_far_by_features_and_light_is_never_opened(found, monkeypatch):
    monkeypatch.setattr("finetune.data.copies.kept.read_file", None)
    copies = found([scene(seed) for seed in range(4)], features=np.eye(4, dtype=np.float32))
    assert copies.pairs == ()


def many():
    """Three scenes in several versions each, and two alone."""
    images = [scene(seed) for seed in range(5)]
    for seed in range(3):
        images += [cropped(scene(seed), 0.08), ImageOps.mirror(scene(seed)), stamped(scene(seed))]
    return images


def test_order_changes_no_group(found):
    images = many()
    order = np.random.default_rng(0).permutation(len(images))
    groups, shuffled = found(images).groups, found(images, order).groups
    same = groups[:, None] == groups
    assert np.array_equal(same[np.ix_(order, order)], shuffled[:, None] == shuffled)
    assert sorted(np.bincount(groups)) == [1, 1, 4, 4, 4]


def test_a_second_run_opens_nothing_and_finds_the_same(found, monkeypatch):
    first = found(many())
    monkeypatch.setattr("finetune.data.copies.kept.read_file", None)
    monkeypatch.setattr("finetune.data.copies.verify.compare", None)
    again = found(many())
    assert again.pairs == first.pairs
    assert again.groups.tolist() == first.groups.tolist()


def test_the_number_of_threads_changes_nothing(found, monkeypatch, tmp_path):
    first = found(many())
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "another"))
    monkeypatch.setattr("zoo.parallel.threads", lambda: 1)
    assert found(many()).pairs == first.pairs


def test_opencv_keeps_its_threads(found):
    before = cv2.getNumThreads()
    found(many()[:6])
    assert cv2.getNumThreads() == before


def test_few_images_are_no_trouble(found):
    assert found([scene(0)]).n_groups == 0


def test_components_are_numbered_in_order():
    components = Components(5)
    assert components.connect(4, 2)
    assert components.connect(2, 0)
    assert not components.connect(0, 4)
    assert components.labels().tolist() == [0, 1, 0, 2, 0]


def test_counts_of_groups():
    copies = Copies((), np.array([0, 1, 1, 2, 1, 0]))
    assert (copies.n_groups, copies.n_images, copies.largest) == (2, 5, 3)


def test_label_conflicts_list_the_surest_first():
    pairs = [
        Pair(0, 1, "scene", 0.9),
        Pair(2, 3, "bytes", 1.0),
        Pair(4, 5, "scene", 0.99),
        Pair(1, 4, "scene", 0.8),
    ]
    labels = np.array([0, 1, 0, 1, 0, 1])
    assert [(p.a, p.b) for p in label_conflicts(pairs, labels)] == [(2, 3), (4, 5), (0, 1), (1, 4)]


def test_small_classes_are_counted():
    labels = [0, 0, 0, 0, 1, 1, 1]
    groups = [7, 7, 7, 8, 1, 2, 3]
    (small,) = small_classes(groups, labels)
    assert (small.label, small.n_images, small.n_groups, small.largest) == (0, 4, 2, 3)
    assert small_classes(groups, labels, least=2) == []


def shared(name):
    folder = Path(__file__).parents[5] / "shared" / "data" / name
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    return folder


def test_exposures_of_one_tile_are_one_group(found):
    """Photographs are numbered in the order they were taken: six exposures of each tile follow each other."""
    paths = (shared("magnetic-tiles") / "MT_Blowhole").glob("*.jpg")
    numbered = sorted(paths, key=lambda path: int(path.stem.rpartition("_")[2]))[1:19]
    copies = found([open_image(path) for path in numbered])
    assert copies.groups.tolist() == [0] * 6 + [1] * 6 + [2] * 6


def test_radiographs_of_different_people_are_no_copies(found):
    images = [open_image(path) for path in sorted((shared("radiographs") / "NORMAL").iterdir())[:12]]
    for image in images:
        image.thumbnail((400, 400))
    assert found(images).pairs == ()
