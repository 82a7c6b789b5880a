"""Which images stand out, which are masks, and that ordinary ones are left alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from finetune.data.dataset import Dataset
from finetune.data.masks import masks_beside_photographs, masks_by_colours, without_masks
from finetune.data.quality import quality_notices
from finetune.data.statistics import COLUMNS, ImageStatistics, column

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "data"


def photograph(seed, size=(120, 90)):
    """Overlapping ellipses in bright colours, with noise: sharp, in colour, different each time."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", size, tuple(rng.integers(60, 200, 3).tolist()))
    draw = ImageDraw.Draw(image)
    for _ in range(25):
        x, y = rng.integers(0, size[0]), rng.integers(0, size[1])
        w, h = rng.integers(5, 40, 2)
        draw.ellipse((x, y, x + w, y + h), fill=tuple(rng.integers(0, 256, 3).tolist()))
    pixels = np.asarray(image, dtype=float) + rng.normal(0, 4, (size[1], size[0], 3))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def statistics(*images):
    space = ImageStatistics()
    return space.run(np.stack([space.prepare(image) for image in images]))


def value(image, name):
    return float(column(statistics(image), name)[0])


def dataset_of(*names):
    n = len(names)
    return Dataset("", tuple(Path(name) for name in names), np.zeros(n, np.int64), ("a",))


PHOTOGRAPHS = [photograph(seed) for seed in range(40)]


def noticed(*odd):
    """The notices of forty photographs and some others, by kind."""
    images = [*PHOTOGRAPHS, *odd]
    dataset = dataset_of(*[f"{i}.png" for i in range(40)], *[f"odd{i}.png" for i in range(len(odd))])
    return {notice.kind: notice for notice in quality_notices(dataset, statistics(*images))}


ODD = {
    "dark": photograph(100).point(lambda v: v * 0.2),
    "bright": photograph(101).point(lambda v: 235 + v * 0.07),
    "blurred": photograph(102, (480, 360)).filter(ImageFilter.GaussianBlur(12)),
    "nearly empty": Image.new("RGB", (120, 90), (90, 120, 200)),
    "odd shape": photograph(104, (900, 90)),
    "tiny": photograph(105, (24, 18)),
    "grey": photograph(106).convert("L").convert("RGB"),
    "constant": Image.new("RGB", (120, 90), (3, 3, 3)),
    "few colours": photograph(107).quantize(12).convert("RGB"),
    "enlarged": photograph(108, (30, 22)).resize((120, 88), Image.Resampling.NEAREST),
}
ImageDraw.Draw(ODD["nearly empty"]).line((5, 5, 25, 8), fill="red", width=2)


def test_ordinary_photographs_are_left_alone():
    assert noticed() == {}


@pytest.mark.parametrize("kind", ODD)
def test_odd_images_are_named(kind):
    found = noticed(ODD[kind])
    assert found[kind].count == 1
    assert found[kind].examples == ("odd0.png",)
    assert "(odd0.png)" in found[kind].message


def test_a_smoothly_enlarged_thumbnail_is_blurred():
    assert "blurred" in noticed(photograph(3, (32, 24)).resize((640, 480), Image.Resampling.BICUBIC))


def test_worst_first_and_ten_at_most():
    dark = [photograph(50).point(lambda v, k=i: v * (0.02 + 0.015 * k)) for i in range(12, 0, -1)]
    found = noticed(*dark)["dark"]
    assert found.count == 12
    assert found.examples == tuple(f"odd{i}.png" for i in range(11, 1, -1))


def test_what_all_images_are_like_is_not_odd():
    """Grey photographs, dark ones, drawings: nothing to say where all are so."""
    for change in (
        lambda image: image.convert("L").convert("RGB"),
        lambda image: image.point(lambda v: v * 0.2),
        lambda image: image.quantize(3).convert("RGB"),
        lambda image: image.resize((24, 18)),
    ):
        images = [change(image) for image in PHOTOGRAPHS]
        names = [f"{i}.png" for i in range(40)]
        assert quality_notices(dataset_of(*names), statistics(*images)) == []


def test_statistics_by_hand():
    half = Image.new("RGB", (40, 20), "black")
    half.paste((255, 0, 0), (20, 0, 40, 20))
    row = dict(zip(COLUMNS, statistics(half)[0].tolist(), strict=True))
    assert (row["width"], row["height"], row["n_colours"]) == (40, 20, 2)
    assert row["top_colours"] == 1
    assert row["dark_end"] == 0
    assert row["bright_end"] == pytest.approx(76 / 255)  # red's luma
    assert row["colour"] == 1
    assert row["content"] == 0.5
    assert row["sharpness"] == pytest.approx(72 / 76)  # rounding could account for 4 levels


def test_sharpness_of_a_ramp_by_hand():
    """From 0 to 200 over k pixels it bends by 200 / k at both ends, of which 4 may be rounding."""
    for k in (2, 5, 10):
        ramp = np.clip((np.arange(256) - 100) * 200 // k, 0, 200).astype(np.uint8)
        image = Image.fromarray(np.tile(ramp, (64, 1))).convert("RGB")
        assert value(image, "sharpness") == pytest.approx((200 / k - 4) / 200)
    blurred = [image.filter(ImageFilter.GaussianBlur(radius)) for radius in (1, 2, 4)]
    values = [value(image, "sharpness") for image in blurred]
    assert values == sorted(values, reverse=True)


def test_masks_are_found_by_name_and_by_pixels(tmp_path):
    mask = Image.new("L", (60, 60))
    ImageDraw.Draw(mask).ellipse((10, 10, 40, 40), fill=255)
    for name in ("1.jpg", "1_mask.png", "2.jpg", "2.png", "3.jpg", "3.png", "4.png", "thing_mask.png"):
        image = photograph(int(name[0]) if name[0].isdigit() else 9, (60, 60))
        (mask if name in ("1_mask.png", "2.png", "4.png") else image).save(tmp_path / name)
    names = sorted(path.name for path in tmp_path.iterdir())
    dataset = dataset_of(*[str(tmp_path / name) for name in names])

    def called(places):
        return [names[i] for i in places]

    assert called(masks_beside_photographs(dataset)) == ["1_mask.png", "2.png"]
    rest, _ = without_masks(dataset, masks_beside_photographs(dataset))
    (notice,) = rest.notices
    assert (notice.kind, notice.count) == ("masks", 2)
    assert notice.message.endswith("--keep-masks keeps them.")
    rows = statistics(*[Image.open(path).convert("RGB") for path in rest.paths])
    assert [rest.paths[i].name for i in masks_by_colours(rest, rows)] == ["4.png"]


def test_folders_of_masks_are_found_and_classes_of_that_name_are_not(tmp_path):
    mask = Image.new("L", (60, 60))
    ImageDraw.Draw(mask).rectangle((10, 10, 40, 40), fill=255)
    paths = []
    for name in (
        "cat/images/1.jpg",
        "cat/Masks/1.png",
        "cat/Masks/2_mask.png",
        "cat/images/2.jpg",
        "mask/1.jpg",
    ):
        paths.append(tmp_path / name)
        paths[-1].parent.mkdir(parents=True, exist_ok=True)
        (mask if name.endswith("png") else photograph(7, (60, 60))).save(paths[-1])
    for name in ("none/1.jpg", "mask/2.png", "none/2.png"):
        paths.append(tmp_path / name)
        paths[-1].parent.mkdir(exist_ok=True)
        (mask if name == "mask/2.png" else photograph(8, (60, 60))).save(paths[-1])
    dataset = replace(dataset_of(*paths), labels=np.array([0, 0, 0, 0, 1, 2, 1, 2]), classes=("a", "b", "c"))
    assert masks_beside_photographs(dataset).tolist() == [1, 2]


def test_drawings_of_a_class_among_photographs_of_another_are_no_masks():
    images = [image.quantize(2).convert("RGB") for image in PHOTOGRAPHS[:4]] + PHOTOGRAPHS[4:20]
    dataset = dataset_of(*[f"all/{i}.png" for i in range(20)])
    rows = statistics(*images)
    assert masks_by_colours(dataset, rows).tolist() == [0, 1, 2, 3]
    labels = np.repeat([0, 1], [4, 16])
    assert len(masks_by_colours(replace(dataset, labels=labels, classes=("a", "b")), rows)) == 0


def test_smallest_images():
    for size in ((1, 1), (1, 300), (2, 2), (3, 3), (5000, 2)):
        assert np.isfinite(statistics(Image.new("RGB", size, (9, 9, 9)))).all()
        names = [f"{i}.png" for i in range(3)]
        rows = statistics(*[Image.new("RGB", size, (9, 9, i)) for i in range(3)])
        assert [notice.kind for notice in quality_notices(dataset_of(*names), rows)] == ["constant"]


def test_a_folder_of_drawings_in_two_colours_is_no_folder_of_masks():
    images = [image.quantize(2).convert("RGB") for image in PHOTOGRAPHS[:8]]
    dataset = dataset_of(*[f"a/{i}.png" for i in range(8)])
    assert len(masks_by_colours(dataset, statistics(*images))) == 0


@pytest.mark.skipif(not SHARED.is_dir(), reason="the example photographs are not here")
def test_masks_of_magnetic_tiles():
    from finetune.data.read import read

    dataset = read(SHARED / "magnetic-tiles")
    stems = np.unique([str(path.with_suffix("")) for path in dataset.paths], return_inverse=True)[1]
    assert stems.max() == 1343
    dataset = dataset.subset(np.flatnonzero(stems % 7 == 0))  # all of them take some seconds
    masks = masks_beside_photographs(dataset)
    assert len(masks) == 192
    assert {dataset.paths[i].suffix for i in masks} == {".png"}


@pytest.mark.skipif(not SHARED.is_dir(), reason="the example photographs are not here")
@pytest.mark.parametrize("name", ["ants-bees", "sign-digits", "radiographs"])
def test_no_masks_elsewhere(name):
    from finetune.data.read import read

    assert len(masks_beside_photographs(read(SHARED / name))) == 0
