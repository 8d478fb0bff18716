"""Layouts, stores, augmentation and batches: what is drawn is a function of the seed and the position alone."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from i2i.data.batches import BatchDataset, batches_from, draw, from_unit, to_unit
from i2i.data.builtin import line_groups, load_layout, split_of
from i2i.data.layout import find_layout
from i2i.data.store import Loading, PictureStore
from i2i.data.transforms import Augmenter
from i2i.data.two_domains import TwoDomains
from i2i.errors import ConfigError, DataError

from .conftest import draw as draw_picture
from .conftest import make_set, small_config

CPU = torch.device("cpu")


def store(pictures: list[Path], size: int = 16, budget: int = 2**20) -> PictureStore:
    from i2i.data.layout import Picture

    loading = Loading(3, size, "square", (255, 255, 255))
    return PictureStore([Picture(path) for path in pictures], loading, budget, lambda items: items)


def test_two_folders_are_found_at_any_depth(tmp_path: Path) -> None:
    draw_picture(tmp_path / "trainA/x/y/one.JPG", 0)
    draw_picture(tmp_path / "trainB/two.png", 1)
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
        draw_picture(tmp_path / name, 0)
    layout = find_layout(tmp_path, paired=True)
    pairs = [(a.path.name, b.path.name) for a, b in zip(layout.train.a, layout.train.b, strict=True)]
    assert pairs == [("2.png", "2.jpg"), ("4.png", "4.png")]
    assert sorted(path.name for path in layout.unmatched) == ["1.png", "3.png"]


def test_two_partners_of_one_picture_are_named(tmp_path: Path) -> None:
    for name in ("trainA/x.png", "trainA/x.jpg", "trainB/x.png"):
        draw_picture(tmp_path / name, 0)
    assert len(find_layout(tmp_path, paired=False).train.a) == 2
    with pytest.raises(DataError, match=r"x\.jpg and .*x\.png would both be the partner of x"):
        find_layout(tmp_path, paired=True)


def test_side_by_side_pictures_are_cut_in_the_middle(tmp_path: Path) -> None:
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
        ({"trainA": 1, "trainB": 0}, "no pictures"),
        ({"train": 0}, "no pictures"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, folders: dict[str, int], expected: str) -> None:
    make_set(tmp_path, **folders)
    for folder in folders:
        (tmp_path / folder).mkdir(exist_ok=True)
    with pytest.raises(DataError, match=expected):
        find_layout(tmp_path, paired=False)


def test_every_picture_is_drawn_once_in_an_epoch() -> None:
    first = [draw(7, "A", 10, position) for position in range(10)]
    second = [draw(7, "A", 10, position) for position in range(10, 20)]
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second
    assert first != [draw(8, "A", 10, position) for position in range(10)]


def test_batches_do_not_depend_on_workers_start_or_memory(toy_set: Path) -> None:
    config = small_config("cyclegan", toy_set)
    data = TwoDomains.read(config, paired=False)
    dataset = data.dataset(config, (0, 1))
    straight = list(islice(batches_from(dataset, 0, workers=0, device=CPU), 6))
    with_workers = list(islice(batches_from(dataset, 0, workers=2, device=CPU), 6))
    late = list(islice(batches_from(dataset, 3, workers=0, device=CPU), 3))
    from_disk = TwoDomains.read(small_config("cyclegan", toy_set, "data.memory_gib=0"), paired=False)
    assert data.a.in_memory
    assert not from_disk.a.in_memory
    uncached = list(islice(batches_from(from_disk.dataset(config, (0, 1)), 0, workers=0, device=CPU), 6))
    for one, other in [*zip(straight, with_workers, strict=True), *zip(straight[3:], late, strict=True)]:
        assert torch.equal(one.a, other.a)
        assert torch.equal(one.other(), other.other())
    assert all(torch.equal(one.a, other.a) for one, other in zip(straight, uncached, strict=True))
    assert not torch.equal(straight[0].a, straight[1].a)
    assert straight[0].a.shape == (2, 3, 16, 16)


def test_processes_share_a_batch_without_overlap(toy_set: Path) -> None:
    config = small_config("cyclegan", toy_set, "training.batch_size=4")
    data = TwoDomains.read(config, paired=False)
    whole = data.dataset(config, (0, 1))[2]
    parts = [data.dataset(config, (rank, 2))[2] for rank in range(2)]
    assert torch.equal(torch.stack([parts[0].a, parts[1].a], 1).flatten(0, 1), whole.a)


def test_pairs_share_geometry_and_photometry_touches_the_input_only(tmp_path: Path) -> None:
    root = make_set(tmp_path, trainA=5)
    pictures = sorted((root / "trainA").iterdir())
    pair = store(pictures, 20)

    def sides(*extra: dict[str, object]) -> tuple[torch.Tensor, torch.Tensor]:
        augmenter = Augmenter(16, flip=True, extra=extra)
        dataset = BatchDataset(pair, pair, paired=True, augmenter=augmenter, batch_size=8, seed=0)
        drawn = dataset[0]
        assert drawn.b is not None
        return drawn.a, drawn.b

    a, b = sides({"name": "RandomRotate90", "p": 1.0})
    assert torch.equal(a, b)
    changed, target = sides({"name": "InvertImg", "p": 1.0})
    assert torch.equal(changed, 255 - target)


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
def test_augmentations_that_would_spoil_the_pictures_are_refused(transform: dict[str, object], channels: int) -> None:
    augmenter = Augmenter(16, flip=False, extra=[transform | {"p": 0.01}])
    with pytest.raises(ConfigError, match=str(transform["name"])):
        augmenter.check([channels], 20)


def test_previews_fall_back_to_training_pictures(tmp_path: Path) -> None:
    root = make_set(tmp_path, trainA=2, trainB=2, testA=1, testB=1)
    for name in ("testA", "testB"):
        (root / name / "picture00.png").write_bytes(b"")
    config = small_config("cyclegan", root)
    assert len(TwoDomains.read(config, paired=False).preview(config, CPU).a) == 2


def test_a_picture_that_vanishes_is_named_with_and_without_workers(tmp_path: Path) -> None:
    root = make_set(tmp_path, trainA=2, trainB=2)
    config = small_config("cyclegan", root, "data.memory_gib=0")
    dataset = TwoDomains.read(config, paired=False).dataset(config, (0, 1))
    (root / "trainA/picture01.png").unlink()
    for workers in (0, 1):
        with pytest.raises(DataError, match=r"^[^\n]*picture01\.png: no such file$"):
            next(batches_from(dataset, 0, workers=workers, device=CPU))


def test_unreadable_pictures_are_left_out_on_both_sides_of_a_pair(tmp_path: Path) -> None:
    root = make_set(tmp_path, trainA=4, trainB=4)
    (root / "trainA/picture01.png").write_bytes(b"no picture")
    (root / "trainB/picture02.png").write_bytes(b"")
    config = small_config("cyclegan", root)
    paired = TwoDomains.read(config, paired=True)
    names = [[picture.name.stem for picture in side.pictures] for side in (paired.a, paired.b)]
    assert names == [["picture00", "picture03"]] * 2
    np.testing.assert_array_equal(paired.a[1], store([root / "trainA/picture03.png"], 18)[0])
    unpaired = TwoDomains.read(config, paired=False)
    assert (len(unpaired.a), len(unpaired.b)) == (3, 3)
    assert len(unpaired.problems()) == 2
    assert "picture01.png" in unpaired.problems()[0]


def test_the_shorter_side_fits_where_asked(tmp_path: Path) -> None:
    root = make_set(tmp_path, trainA=2, trainB=2)
    config = small_config("cyclegan", root, "data.fit=shorter", "data.load_size=20")
    data = TwoDomains.read(config, paired=False)
    assert data.a[0].shape == (20, 24, 3)
    assert data.dataset(config, (0, 1))[0].a.shape == (2, 3, 16, 16)
    assert data.preview(config, CPU).a.shape == (2, 3, 16, 16)


def test_channels_follow_the_configuration(toy_set: Path) -> None:
    config = small_config("cyclegan", toy_set, "data.channels_a=1", "data.channels_b=4", "method.identity_weight=0")
    batch = TwoDomains.read(config, paired=False).preview(config, CPU)
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
    codes = {picture.path.stem for picture in [*train.a, *test.a]}
    assert "1F600" in codes
    assert not any("1F3FB" in code or code.startswith("1F1E6-") for code in codes)
    assert all(split_of(picture.path.stem) == "test" for picture in test.a)
    outlines = [picture.read(3, (0, 0, 0)) for picture in train.a]
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
