"""Sets of one domain: folders with and without labels, IDX files, built-in digits, and points."""

from __future__ import annotations

import gzip
import shutil
import struct
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from i2i.batch import Batch
from i2i.data.batches import batches_from, from_unit
from i2i.data.collection import find_collection
from i2i.data.idx import read_idx
from i2i.data.points import Points, ring_centres
from i2i.errors import ConfigError, DataError

from .conftest import Run, draw, make_set, small_arguments
from .toys import dataset_of, prepare

CPU = torch.device("cpu")


def write_idx(path: Path, values: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> None:
    content = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape) + values.tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.fixture
def idx_set(tmp_path: Path) -> Path:
    images = np.arange(5 * 8 * 8, dtype=np.uint8).reshape(5, 8, 8)
    write_idx(tmp_path / "train-images-idx3-ubyte.gz", images)
    write_idx(tmp_path / "train-labels-idx1-ubyte", np.array([2, 0, 1, 2, 0], np.uint8))
    return tmp_path


def test_labels_come_from_folders_in_order_of_their_names(labelled_set: Path) -> None:
    collection = find_collection(str(labelled_set), size=16)
    assert collection.labels == ("blue", "green", "red")
    assert collection.train.labels == [0] * 5 + [1] * 4 + [2] * 3
    assert collection.test.labels == [0, 1, 2]


@pytest.mark.parametrize("broken", [False, True])
def test_a_batch_has_the_label_of_each_image(labelled_set: Path, tmp_path: Path, broken: bool) -> None:
    """Also where an image cannot be read, and another takes its place."""
    train = Path(shutil.copytree(labelled_set, tmp_path / "set"), "train")
    if broken:
        (train / "green/image00.png").write_text("no image")
    config, data = prepare("cgan", train.parent, "training.batch_size=6")
    names = ("blue", "green", "red")
    assert (config.data.labels, data.size) == (names, 12)
    drawn = list(islice(batches_from(dataset_of(config, data), 0, workers=0, device=CPU), 2))
    found: list[Path] = []
    for image, label in ((image, label) for batch in drawn for image, label in zip(*pair(batch), strict=True)):
        files = [file for file in sorted((train / names[label]).iterdir()) if file.read_bytes()[:4] == b"\x89PNG"]
        (file,) = [file for file in files if np.array_equal(seen_by_training(file), image)]
        found.append(file)
    assert len(set(found)) == 12 - broken  # an epoch shows each


def pair(batch: Batch) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.uint8]], list[int]]:
    """The images (N, H, W, C) of a batch, and their labels."""
    assert batch.label is not None
    return from_unit(batch.a).permute(0, 2, 3, 1).numpy(), batch.label.tolist()


def seen_by_training(file: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """The file at the size of training, read by Pillow alone."""
    return np.asarray(Image.open(file).convert("RGB").resize((16, 16), Image.Resampling.BICUBIC))


def test_images_without_folders_have_no_labels(tmp_path: Path, i2i: Run) -> None:
    draw(tmp_path / "set/deep/a.png", 0)
    draw(tmp_path / "set/b.png", 1)
    assert find_collection(str(tmp_path / "set"), size=16).labels == ()
    result = i2i(*small_arguments("cgan", tmp_path / "set", tmp_path / "run"))
    assert result.code == 2
    assert "needs labels" in result.err
    assert not (tmp_path / "run").exists()


def test_stray_images_beside_label_folders_are_never_dropped(labelled_set: Path, tmp_path: Path) -> None:
    data = make_set(tmp_path / "data", **{"train/red": 2, "train/blue": 2})
    draw(data / "train/stray.png", 0)
    collection = find_collection(str(data), size=16)
    assert (len(collection.train.images), collection.labels) == (5, ())


def test_a_single_folder_is_no_label(tmp_path: Path) -> None:
    collection = find_collection(str(make_set(tmp_path / "data", **{"train/red": 2})), size=16)
    assert (len(collection.train.images), collection.labels) == (2, ())


def test_idx_files_are_read_with_their_labels(idx_set: Path) -> None:
    config, data = prepare("cgan", idx_set)
    assert (config.data.channels_a, config.data.labels) == (1, ("0", "1", "2"))
    collection = find_collection(str(idx_set), size=16)
    assert collection.train.labels == [2, 0, 1, 2, 0]
    assert collection.train.images[1].read(1, (255, 255, 255))[0, :3, 0].tolist() == [64, 65, 66]
    assert data.describe() == "5 images with 3 labels"


@pytest.mark.parametrize("damage", [b"", b"\x00\x00\x09\x01\x00\x00\x00\x01\x07", b"\x00\x00\x08\x03\x00\x00\x00\xff"])
def test_damaged_idx_files_are_named(idx_set: Path, damage: bytes) -> None:
    (idx_set / "train-labels-idx1-ubyte").write_bytes(damage)
    with pytest.raises(DataError, match="train-labels-idx1-ubyte is not a whole IDX file"):
        find_collection(str(idx_set), size=16)
    (idx_set / "train-images-idx3-ubyte.gz").write_bytes(damage)
    with pytest.raises(DataError, match="is not a whole IDX file"):
        read_idx(idx_set / "train-images-idx3-ubyte.gz")


def test_a_damaged_gzip_file_is_named(idx_set: Path) -> None:
    content = bytearray((idx_set / "train-images-idx3-ubyte.gz").read_bytes())
    content[10] = 255  # no such kind of block
    (idx_set / "train-images-idx3-ubyte.gz").write_bytes(content)
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz is not a whole IDX file"):
        find_collection(str(idx_set), size=16)


def test_idx_files_come_in_pairs(idx_set: Path) -> None:
    (idx_set / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="IDX files come in pairs"):
        find_collection(str(idx_set), size=16)


def test_idx_files_of_different_lengths_are_named(idx_set: Path) -> None:
    write_idx(idx_set / "train-labels-idx1-ubyte", np.array([2, 0, 1, 2], np.uint8))
    with pytest.raises(DataError, match=r"holds \(5, 8, 8\) and .*-labels-idx1-ubyte \(4,\): not images and labels"):
        find_collection(str(idx_set), size=16)


def test_channels_follow_the_images(tmp_path: Path) -> None:
    for number in range(3):
        draw(tmp_path / f"{number}.png", number, mode="L")
    assert prepare("gan", tmp_path)[0].data.channels_a == 1
    draw(tmp_path / "coloured.png", 3)
    assert prepare("gan", tmp_path)[0].data.channels_a == 3


def test_the_built_in_digits_are_split_by_number() -> None:
    collection = find_collection("digits", size=16)
    assert collection.labels == tuple("0123456789")
    assert len(collection.train.images) + len(collection.test.images) == 1797
    assert 200 < len(collection.test.images) < 330
    assert collection.is_grey()
    images, labels = load_digits(return_X_y=True)
    for part in (collection.train, collection.test):
        for image, label in list(zip(part.images, part.labels, strict=True))[::50]:
            number = int(image.name.name)
            assert label == labels[number]
            plain = (images[number].reshape(8, 8, 1) * 255 / 16).round()
            np.testing.assert_array_equal(image.read(1, (255, 255, 255)), plain)


def test_folders_of_two_domains_are_pointed_out(toy_set: Path) -> None:
    with pytest.raises(DataError, match=r"holds two domains.*trainA"):
        find_collection(str(toy_set), size=16)


def test_labels_are_used_only_where_a_recipe_asks(labelled_set: Path) -> None:
    assert prepare("gan", labelled_set)[0].data.labels == ()
    assert prepare("gan", labelled_set, "method.labels=optional")[0].data.labels == ("blue", "green", "red")
    assert prepare("gan", labelled_set, "method.labels=optional", "data.labels=[]")[0].data.labels == ()
    with pytest.raises(ConfigError, match=r"data\.labels"):
        prepare("cgan", labelled_set, "data.labels=[red, blue]")


def test_points_are_a_function_of_the_seed_and_the_batch_number() -> None:
    settings = ("image_size=1", "data.load_size=1", "training.batch_size=400")
    config, data = prepare("unrolled", Path("ring2d"), *settings)
    assert isinstance(data, Points)
    first, again = (list(islice(batches_from(dataset_of(config, data), 0, workers=0, device=CPU), 3)) for _ in range(2))
    for one, other in zip(first, again, strict=True):
        assert torch.equal(one.a, other.a)
    assert not torch.equal(first[0].a, first[1].a)
    assert first[0].a.shape == (400, 2, 1, 1)
    distances = torch.cdist(first[0].a.flatten(1), torch.from_numpy(ring_centres())).min(1).values
    assert distances.max() < 0.02 * 6
    half = next(batches_from(dataset_of(config, data, 1, 2), 0, workers=0, device=CPU))
    assert torch.equal(half.a, first[0].a[1::2])


def test_points_need_a_recipe_for_points(i2i: Run, tmp_path: Path) -> None:
    for arch, named in (("dcgan", "image_size=1"), ("cyclegan", "holds points")):
        result = i2i("train", "--arch", arch, "--data", "ring2d", "--run", tmp_path / "run")
        assert result.code == 2
        assert named in result.err


def test_data_check_counts_labels_and_finds_leaks(labelled_set: Path, tmp_path: Path, i2i: Run) -> None:
    result = i2i("data", "check", labelled_set)
    assert result.code == 0
    for part in ("one domain", "train      12", "test       3", "blue (5), green (4), red (3)", "unreadable 0"):
        assert part in result.out
    data = make_set(tmp_path / "data", **{"train/red": 2, "train/blue": 2})
    (data / "test/red").mkdir(parents=True)
    (data / "test/red/leaked.png").write_bytes((data / "train/red/image00.png").read_bytes())
    (data / "train/red/broken.png").write_text("no image")
    result = i2i("data", "check", data)
    assert result.code == 1
    assert "leaked.png: the same image as" in result.err
    assert "broken.png: not an image" in result.err


def test_data_check_tells_strips_from_single_images(tmp_path: Path, i2i: Run) -> None:
    draw(tmp_path / "strips/train/a.png", 0, size=(32, 16))
    draw(tmp_path / "single/train/a.png", 0, size=(16, 16))
    assert "side by side" in i2i("data", "check", tmp_path / "strips").out
    assert "one domain" in i2i("data", "check", tmp_path / "single").out
