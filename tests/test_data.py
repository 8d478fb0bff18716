"""Layouts, stores, augmentation and batches: what is drawn is a function of the seed and the position alone."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from i2i.batch import Batch
from i2i.config.schema import Config
from i2i.data.batches import BatchDataset, batches_from, draw, from_unit, to_unit
from i2i.data.builtin import line_groups, load_layout, split_of
from i2i.data.layout import find_layout
from i2i.data.store import ImageStore, Loading, PixelMemory
from i2i.data.transforms import Augmenter
from i2i.data.two_domains import TwoDomains
from i2i.data.unreadable import UnreadableItems
from i2i.errors import ConfigError, DataError

from .conftest import draw as draw_image
from .conftest import make_set, small_config
from .toys import dataset_of, prepare, stream_of, two_domains

CPU = torch.device("cpu")


def store(images: list[Path], size: int = 16, budget: int = 2**20) -> ImageStore:
    from i2i.data.layout import ImageFile

    loading = Loading(3, size, "square", (255, 255, 255))
    return ImageStore([ImageFile(path) for path in images], loading, budget, lambda items: items)


def test_two_folders_are_found_at_any_depth(tmp_path: Path) -> None:
    draw_image(tmp_path / "trainA/x/y/one.JPG", 0)
    draw_image(tmp_path / "trainB/two.png", 1)
    layout = find_layout(tmp_path, paired=False)
    assert (layout.kind, len(layout.train.a), len(layout.train.b), layout.train.paired) == ("two folders", 1, 1, False)


def test_pairs_are_matched_by_stem_and_never_by_order(tmp_path: Path) -> None:
    for name in (
        "trainA/1.png",
        "trainA/2.png",
        "trainA/sub/4.png",
        "trainB/2.jpg",
        "trainB/3.png",
        "trainB/sub/4.png",
    ):
        draw_image(tmp_path / name, 0)
    layout = find_layout(tmp_path, paired=True)
    pairs = [(a.path.name, b.path.name) for a, b in zip(layout.train.a, layout.train.b, strict=True)]
    assert pairs == [("2.png", "2.jpg"), ("4.png", "4.png")]
    assert sorted(path.name for path in layout.unmatched) == ["1.png", "3.png"]


def test_two_partners_of_one_image_are_named(tmp_path: Path) -> None:
    for name in ("trainA/x.png", "trainA/x.jpg", "trainB/x.png"):
        draw_image(tmp_path / name, 0)
    assert len(find_layout(tmp_path, paired=False).train.a) == 2
    with pytest.raises(DataError, match=r"x\.jpg and .*x\.png would both be the partner of x"):
        find_layout(tmp_path, paired=True)


def test_side_by_side_images_are_cut_in_the_middle(tmp_path: Path) -> None:
    strip = np.zeros((4, 10, 3), np.uint8)
    strip[:, 5:] = 255
    (tmp_path / "train").mkdir()
    Image.fromarray(strip).save(tmp_path / "train/a.png")
    layout = find_layout(tmp_path, paired=True)
    left, right = layout.train.a[0].read(3, (0, 0, 0)), layout.train.b[0].read(3, (0, 0, 0))
    assert (left.max(), right.min(), left.shape, right.shape) == (0, 255, (4, 5, 3), (4, 5, 3))


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        ({}, "found neither"),
        ({"trainA": 1}, "trainB/ is missing"),
        ({"trainA": 1, "trainB": 0}, "no images"),
        ({"train": 0}, "no images"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, folders: dict[str, int], expected: str) -> None:
    make_set(tmp_path, **folders)
    for folder in folders:
        (tmp_path / folder).mkdir(exist_ok=True)
    with pytest.raises(DataError, match=expected):
        find_layout(tmp_path, paired=False)


def test_every_image_is_drawn_once_in_an_epoch() -> None:
    first = [draw(7, "A", 10, position) for position in range(10)]
    second = [draw(7, "A", 10, position) for position in range(10, 20)]
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second
    assert first != [draw(8, "A", 10, position) for position in range(10)]


def test_batches_do_not_depend_on_workers_start_or_memory(toy_set: Path) -> None:
    config = small_config("cyclegan", toy_set)
    data = two_domains(config, paired=False)
    dataset = dataset_of(config, data)
    straight = list(islice(batches_from(dataset, 0, workers=0, device=CPU), 6))
    with_workers = list(islice(batches_from(dataset, 0, workers=2, device=CPU), 6))
    late = list(islice(batches_from(dataset, 3, workers=0, device=CPU), 3))
    from_disk = two_domains(small_config("cyclegan", toy_set, "data.memory_gib=0"), paired=False)
    assert data.in_memory
    assert not from_disk.in_memory
    uncached = list(islice(batches_from(dataset_of(config, from_disk), 0, workers=0, device=CPU), 6))
    for one, other in [*zip(straight, with_workers, strict=True), *zip(straight[3:], late, strict=True)]:
        assert torch.equal(one.a, other.a)
        assert torch.equal(one.other(), other.other())
    assert all(torch.equal(one.a, other.a) for one, other in zip(straight, uncached, strict=True))
    assert not torch.equal(straight[0].a, straight[1].a)
    assert straight[0].a.shape == (2, 3, 16, 16)


def test_processes_share_a_batch_without_overlap(toy_set: Path) -> None:
    config = small_config("cyclegan", toy_set, "training.batch_size=4")
    data = two_domains(config, paired=False)
    whole = dataset_of(config, data)[2]
    parts = [dataset_of(config, data, rank, 2)[2] for rank in range(2)]
    assert torch.equal(torch.stack([parts[0].a, parts[1].a], 1).flatten(0, 1), whole.a)


def test_pairs_share_geometry_and_photometry_touches_the_input_only(tmp_path: Path) -> None:
    root = make_set(tmp_path, trainA=5)
    images = sorted((root / "trainA").iterdir())
    pair = store(images, 20)

    def sides(*extra: dict[str, object], input_side: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
        augmenter = Augmenter(16, flip=True, extra=extra, input_side=input_side)
        known = UnreadableItems(5)
        dataset = BatchDataset(pair, pair, paired=True, augmenter=augmenter, batch_size=8, seed=0, unreadable=known)
        drawn = dataset[0]
        assert drawn.b is not None
        return drawn.a, drawn.b

    a, b = sides({"name": "RandomRotate90", "p": 1.0})
    assert torch.equal(a, b)
    changed, target = sides({"name": "InvertImg", "p": 1.0})
    assert torch.equal(changed, 255 - target)
    target, changed = sides({"name": "InvertImg", "p": 1.0}, input_side=1)
    assert torch.equal(changed, 255 - target)


@pytest.mark.parametrize("arch", ["pix2pix", "bicyclegan"])
def test_what_is_translated_is_recoloured_in_either_direction(arch: str, toy_set: Path) -> None:
    inverted = "data.augment=[{name: InvertImg, p: 1.0}]"
    for direction in ("AtoB", "BtoA"):
        settings = (f"method.direction={direction}", "data.flip=false")
        one, other = (next(stream_of(*prepare(arch, toy_set, *settings, *more))) for more in ((), (inverted,)))
        sides = [(one.a, other.a), (one.other(), other.other())]
        changed, same = sides if direction == "AtoB" else reversed(sides)
        torch.testing.assert_close(changed[1], -changed[0])
        assert torch.equal(same[0], same[1])


def test_transforms_are_tried_on_crops(toy_set: Path) -> None:
    sizes = ("data.load_size=20", "data.augment=[{name: RandomResizedCrop, size: [%d, %d], p: 1.0}]")
    assert dataset_of(*prepare("cyclegan", toy_set, sizes[0], sizes[1] % (16, 16)))[0].a.shape[2:] == (16, 16)
    with pytest.raises(ConfigError, match="RandomResizedCrop cannot be used"):
        dataset_of(*prepare("cyclegan", toy_set, sizes[0], sizes[1] % (20, 20)))


def test_crops_and_flips_are_drawn_apart() -> None:
    rows = np.repeat(np.arange(20, dtype=np.uint8)[:, None], 20, axis=1)  # a pixel's row, and in the second channel
    image = np.stack([rows, rows.T, rows], axis=-1)  # its column
    augmenter, seen = Augmenter(16, flip=True), set()
    for seed in range(2**40, 2**40 + 400):
        crop = augmenter.single(image, seed)
        top, first, last = crop[0, 0, 0], crop[0, 0, 1], crop[0, -1, 1]
        np.testing.assert_array_equal(crop[:, :, 0], rows[top : top + 16, :16])
        assert abs(int(first) - int(last)) == 15
        seen.add((int(top), min(int(first), int(last)), bool(first > last)))
        for side in augmenter.pair(image, image[:, :, ::-1], seed=seed):
            np.testing.assert_array_equal(side[:, :, 1], crop[:, :, 1])
    assert len(seen) == 5 * 5 * 2


def test_transforms_are_drawn_apart() -> None:
    augmenter = Augmenter(2, flip=False, extra=[{"name": "VerticalFlip"}, {"name": "HorizontalFlip"}])
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    assert len({augmenter.single(image, seed).tobytes() for seed in range(40)}) == 4


def test_augmentations_that_do_not_exist_are_named() -> None:
    with pytest.raises(ConfigError, match="no transform 'ColourJitter'; did you mean ColorJitter"):
        Augmenter(16, flip=False, extra=[{"name": "ColourJitter"}])
    with pytest.raises(ConfigError, match="no parameter 'brightnes'"):
        Augmenter(16, flip=False, extra=[{"name": "ColorJitter", "brightnes": 0.2}])


@pytest.mark.parametrize(
    ("transform", "channels"),
    [
        ({"name": "Normalize"}, 3),
        ({"name": "ToFloat"}, 3),
        ({"name": "Resize", "height": 8, "width": 8}, 3),
        ({"name": "RandomCrop", "height": 100, "width": 100}, 3),
        ({"name": "HueSaturationValue"}, 1),
    ],
)
def test_augmentations_that_would_spoil_the_images_are_refused(transform: dict[str, object], channels: int) -> None:
    augmenter = Augmenter(16, flip=False, extra=[transform | {"p": 0.01}])
    with pytest.raises(ConfigError, match=str(transform["name"])):
        augmenter.check([np.full((20, 20, channels), 128, np.uint8)])


def test_previews_fall_back_to_training_images(tmp_path: Path) -> None:
    root = make_set(tmp_path, trainA=2, trainB=2, testA=1, testB=1)
    for name in ("testA", "testB"):
        (root / name / "image00.png").write_bytes(b"")
    config = small_config("cyclegan", root)
    assert len(two_domains(config, paired=False).preview(config.training.sample_count).a) == 2


def cut_short(path: Path) -> Path:
    """Leaves the file its header alone: only decoding finds the damage."""
    path.write_bytes(path.read_bytes()[:60])
    return path


def batches(data: TwoDomains, config: Config, *, first: int = 0, count: int = 8, workers: int = 0) -> list[Batch]:
    dataset, unreadable = dataset_of(config, data), data.unreadable
    return list(islice(batches_from(dataset, first, workers=workers, device=CPU, unreadable=unreadable), count))


def equal(one: Batch, other: Batch) -> bool:
    return torch.equal(one.a, other.a) and torch.equal(one.other(), other.other())


@pytest.mark.parametrize("paired", [False, True])
def test_an_unreadable_image_is_replaced_by_position_and_nothing_else_changes(tmp_path: Path, paired: bool) -> None:
    root = make_set(tmp_path, trainA=6, trainB=6)
    config = small_config("cyclegan", root, "training.batch_size=1")
    whole = batches(two_domains(config, paired=paired), config, count=12)
    bad = cut_short(root / "trainB/image02.png")
    data = two_domains(config, paired=paired)
    assert data.problems() == []  # nothing has been decoded yet
    seen = batches(data, config, count=12)
    stream = "pair" if paired else "B"
    shown = [number for number in range(12) if draw(0, stream, 6, number) == 2]
    assert len(shown) == 2
    assert [number for number in range(12) if not equal(whole[number], seen[number])] == shown
    assert all(torch.equal(whole[number].a, seen[number].a) != paired for number in shown)
    assert len(data.problems()) == 1
    assert str(bad) in data.problems()[0]
    for settings in ({"workers": 2}, {"first": shown[0], "count": 12 - shown[0]}):
        again = two_domains(config, paired=paired)
        later = batches(again, config, **{"count": 12} | settings)
        assert all(map(equal, seen[-len(later) :], later))
        assert again.problems() == data.problems()


def test_one_image_is_replaced_by_others_in_turn(tmp_path: Path) -> None:
    root = make_set(tmp_path, trainA=6, trainB=6)
    cut_short(root / "trainB/image02.png")
    # Without crops and flips an item is the same each time that it is drawn.
    config = small_config("cyclegan", root, "training.batch_size=1", "data.load_size=16", "data.flip=false")
    seen = batches(two_domains(config, paired=False), config, count=48)
    shown = [seen[number].b for number in range(48) if draw(0, "B", 6, number) == 2]
    assert len(shown) == 8
    assert len({image.numpy().tobytes() for image in shown if image is not None}) > 2


def test_what_one_process_has_decoded_no_other_reads_again(tmp_path: Path) -> None:
    for workers in (0, 2):
        root = make_set(tmp_path / str(workers), trainA=3, trainB=5)
        config = small_config("cyclegan", root, "training.batch_size=1")
        data = two_domains(config, paired=False)
        first = batches(data, config, count=5, workers=workers)
        for path in root.rglob("*.png"):
            path.unlink()
        again = batches(data, config, count=5, workers=workers)
        assert all(map(equal, first, again))
        assert data.problems() == []


@pytest.mark.parametrize("workers", [0, 2])
def test_a_set_larger_than_memory_is_decoded_once_with_room_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setenv("I2I_CACHE", str(tmp_path / "cache"))
    root = make_set(tmp_path / "data", trainA=3, trainB=5)
    settings = ["training.batch_size=1", "data.memory_gib=0"]
    [note] = two_domains(small_config("cyclegan", root, *settings), paired=False).notes()
    assert "the rest is decoded each time; data.memory_gib=1 or data.disk_gib=1 would keep them" in note
    config = small_config("cyclegan", root, *settings, "data.disk_gib=1")
    data = two_domains(config, paired=False)
    assert data.in_memory
    assert f"kept on the disk, in {tmp_path / 'cache'}, until the run ends" in data.notes()[0]
    first = batches(data, config, count=5, workers=workers)
    for path in root.rglob("*.png"):
        path.unlink()
    assert all(map(equal, first, batches(data, config, count=5, workers=workers)))
    assert not list((tmp_path / "cache").iterdir())  # a process that is killed leaves nothing behind


def test_a_disk_without_room_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_set(tmp_path / "data", trainA=1, trainB=1)
    monkeypatch.setenv("I2I_CACHE", str(root / "trainA/image00.png"))
    with pytest.raises(ConfigError, match=r"data.disk_gib: cannot reserve 0.0 GiB"):
        two_domains(small_config("cyclegan", root, "data.memory_gib=0", "data.disk_gib=1"), paired=False)


def test_domains_share_the_memory_by_need(tmp_path: Path) -> None:
    root = make_set(tmp_path, trainA=1, trainB=5)
    six = 6 * 18 * 18 * 3  # half of it would not hold B
    for count, fits in ((six, True), (six - 1, False)):
        config = small_config("cyclegan", root, f"data.memory_gib={count / 2**30}", "training.batch_size=1")
        data = two_domains(config, paired=False)
        assert data.in_memory == fits
    first = batches(data, config, count=5)
    (root / "trainA/image00.png").unlink()  # drawn at once, and so among those that are kept
    assert all(map(equal, first, batches(data, config, count=5)))
    assert data.problems() == []


def test_images_larger_than_the_sample_said_are_decoded_again() -> None:
    memory = PixelMemory(3, 18, 10 / 2**30)
    pixels = np.arange(6, dtype=np.uint8).reshape(1, 2, 3)
    for number in range(3):
        memory.put(number, pixels + number)
    kept = memory.get(0, pixels.dtype)
    assert kept is not None
    np.testing.assert_array_equal(kept, pixels)
    assert memory.get(1, pixels.dtype) is None
    assert memory.get(2, pixels.dtype) is None


def test_data_without_a_readable_image_is_refused_before_training(tmp_path: Path) -> None:
    root = make_set(tmp_path, trainA=2, trainB=5)
    config = small_config("cyclegan", root)
    for path in sorted((root / "trainB").iterdir()):
        path.write_text("no image")
        if path.name == "image03.png":
            with pytest.raises(DataError, match=r"more than 3 of 7 items.*image00\.png.*i2i data check"):
                two_domains(config, paired=False)
    with pytest.raises(DataError, match=r"no image of domain B can be read; first: .*image00\.png"):
        two_domains(config, paired=False)
    for path in (root / "trainA").iterdir():
        cut_short(path)
    make_set(root, trainB=5, testA=1, testB=1)
    with pytest.raises(DataError, match=r"none of 2 items can be read; first: .*image0"):
        batches(two_domains(config, paired=False), config)


def test_unreadable_images_drop_both_sides_of_a_pair(tmp_path: Path) -> None:
    root = make_set(tmp_path, trainA=4, trainB=4)
    (root / "trainA/image01.png").write_bytes(b"no image")
    cut_short(root / "trainB/image02.png")
    config = small_config("cyclegan", root, "training.batch_size=4", "data.flip=false", "data.load_size=16")
    paired = two_domains(config, paired=True)
    assert len(paired.problems()) == 1
    assert "image01.png: not an image" in paired.problems()[0]
    left = store([root / f"trainA/image0{number}.png" for number in (0, 3)])
    expected = {left[number].tobytes() for number in range(2)}
    shown = from_unit(batches(paired, config, count=1)[0].a).permute(0, 2, 3, 1).contiguous().numpy()
    assert {pixels.tobytes() for pixels in shown} == expected
    assert len(paired.problems()) == 2
    assert len(paired.preview(config.training.sample_count).a) == 2


def test_the_shorter_side_fits_where_asked(tmp_path: Path) -> None:
    root = make_set(tmp_path, trainA=2, trainB=2)
    config = small_config("cyclegan", root, "data.fit=shorter", "data.load_size=20")
    data = two_domains(config, paired=False)
    assert data.sources["A"][0].shape == (20, 24, 3)
    assert dataset_of(config, data)[0].a.shape == (2, 3, 16, 16)
    assert data.preview(config.training.sample_count).a.shape == (2, 3, 16, 16)


def test_channels_follow_the_configuration(toy_set: Path) -> None:
    config = small_config("cyclegan", toy_set, "data.channels_a=1", "data.channels_b=4", "method.identity_weight=0")
    batch = two_domains(config, paired=False).preview(config.training.sample_count)
    assert (batch.a.shape[1], batch.other().shape[1]) == (1, 4)


def test_pixels_survive_the_unit_range() -> None:
    pixels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    unit = to_unit(pixels, CPU)
    assert [unit.min().item(), unit.max().item()] == [-1, 1]
    assert torch.equal(from_unit(unit), pixels)


def test_openmoji_is_rendered_split_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = load_layout("openmoji", size=16, paired=True)
    train, test = layout.train, layout.test
    assert 1700 < len(train.a) < 2100
    assert abs(len(test.a) / (len(train.a) + len(test.a)) - 0.15) < 0.02
    assert layout.unmatched == []
    codes = {image.path.stem for image in [*train.a, *test.a]}
    assert "1F600" in codes
    assert not any("1F3FB" in code or code.startswith("1F1E6-") for code in codes)
    assert all(split_of(image.path.stem) == "test" for image in test.a)
    outlines = [image.read(3, (0, 0, 0)) for image in train.a]
    assert all((pixels == 255).any() for pixels in outlines[:50])
    assert len({pixels.tobytes() for pixels in outlines}) == len(outlines)
    before = layout.root.stat().st_mtime_ns
    assert load_layout("openmoji", size=16, paired=True).root.stat().st_mtime_ns == before


def test_outlines_keep_line_groups_at_any_depth() -> None:
    opening, coloured = '<svg xmlns="http://www.w3.org/2000/svg">', '<g id="color"><path d="a"/></g>'
    outline = line_groups(f'{opening}{coloured}<g id="man"><g id="line-2"><path d="b"/></g></g></svg>')
    assert outline is not None
    assert 'd="b"' in outline
    assert 'd="a"' not in outline
    assert line_groups(f"{opening}{coloured}</svg>") is None


def test_large_photographs_are_drafted_where_the_settings_say_so(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    for folder in ("two/trainA", "two/trainB", "one/train"):
        (tmp_path / folder).mkdir(parents=True)
        Image.fromarray(pixels).resize((640, 480)).save(tmp_path / folder / "photograph.jpg")

    def first(arch: str, data: str, drafts: bool) -> torch.Tensor:
        return next(stream_of(*prepare(arch, tmp_path / data, f"data.jpeg_drafts={drafts}", "data.flip=false"))).a

    for arch, data in (("cyclegan", "two"), ("dcgan", "one")):
        apart = (first(arch, data, True) - first(arch, data, False)).abs()
        assert 0 < apart.max() < 0.5, arch
