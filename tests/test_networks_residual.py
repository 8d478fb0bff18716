"""The residual players against the papers: published sizes, and plain restatements with the same weights."""

from __future__ import annotations

from typing import TypeVar

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from i2i.batch import DataSpec
from i2i.config.resolve import resolve_config
from i2i.errors import ConfigError
from i2i.losses.penalties import r1_penalty
from i2i.networks.attention import SelfAttention
from i2i.networks.residual import (
    ConditionalBatchNorm,
    Conditioning,
    DownBlock,
    ResidualDiscriminator,
    ResidualGenerator,
    UpBlock,
)
from i2i.networks.stages import stage_outputs
from i2i.storage.weights import parameter_count

Net = TypeVar("Net", bound=nn.Module)
# By image size, multiples of the width: the generator's first maps and after its blocks; after the discriminator's.
TABLES = {
    16: ([4, 4, 4], [4, 4, 4]),
    32: ([4, 4, 4, 4], [4, 4, 4, 4]),
    64: ([16, 16, 8, 4, 2], [1, 2, 4, 8, 16]),
    128: ([16, 16, 8, 4, 2, 1], [1, 2, 4, 8, 16, 16]),
    256: ([16, 16, 8, 8, 4, 2, 1], [1, 2, 4, 8, 8, 16, 16]),
    512: ([16, 16, 8, 8, 4, 2, 1, 1], [1, 1, 2, 4, 8, 8, 16, 16]),
}


def colours(size: int, classes: int = 0) -> DataSpec:
    return DataSpec(size, 3, 3, classes)


def randomized(network: Net, seed: int = 1) -> Net:
    torch.manual_seed(seed)
    for parameter in network.parameters():
        nn.init.normal_(parameter, 0.0, 0.3)
    return network.eval()


def conv(x: Tensor, layer: nn.Module) -> Tensor:
    assert isinstance(layer, nn.Conv2d)
    return F.conv2d(x, layer.weight, layer.bias, padding=layer.kernel_size[0] // 2)


def test_parameter_counts_are_the_published_ones() -> None:
    imagenet = colours(128, 1000)
    with torch.device("meta"):
        # As counted by compare_gan, of Google Brain, for BigGAN at 128 px.
        generator = ResidualGenerator(
            imagenet, 120, width=96, attention=64, conditioning="shared", skip_z=True, spectral=False
        )
        assert parameter_count(generator) == 70_433_988
        discriminator = ResidualDiscriminator(imagenet, width=96, attention=64, spectral=False)
        assert parameter_count(discriminator) == 87_982_370
        # Brock et al. 2019, table 1, first row: the players of SAGAN together.
        sagan = ResidualGenerator(imagenet, 128, spectral=False), ResidualDiscriminator(imagenet, spectral=False)
        assert round(sum(map(parameter_count, sagan)) / 1e6, 1) == 81.5


@pytest.mark.parametrize("size", TABLES)
def test_maps_have_the_papers_sides_and_channels(size: int) -> None:
    up, down = TABLES[size]
    generator = ResidualGenerator(colours(size), 4, width=1, attention=0, spectral=False).eval()
    made = stage_outputs(generator, torch.zeros(1, 4)).values()
    assert [out.shape[1] for out in made] == up
    assert [out.shape[2:] for out in made] == [(4 * 2**i, 4 * 2**i) for i in range(len(up))]
    assert len(up) == size.bit_length() - 2

    discriminator = ResidualDiscriminator(colours(size), width=1, attention=0, spectral=False)
    seen = stage_outputs(discriminator, torch.zeros(1, 3, size, size)).values()
    sides = [max(size // 2**i, 8 if size <= 32 else 4) for i in range(1, len(down) + 1)]
    assert [out.shape[1] for out in seen] == down
    assert [out.shape[2:] for out in seen] == [(side, side) for side in sides]
    assert discriminator.feature_count == down[-1]


@pytest.mark.parametrize("size", TABLES)
def test_attention_follows_the_block_of_its_side(size: int) -> None:
    side = min(32, size // 2)
    assert ResidualGenerator.settings_for(size) == ResidualDiscriminator.settings_for(size) == {"attention": side}
    with torch.device("meta"):
        players = (
            ResidualGenerator(colours(size), 4, width=2, attention=side, spectral=False),
            ResidualDiscriminator(colours(size), width=2, attention=side, spectral=False),
        )
    for player in players:
        names = list(player.stages())
        block = f"up{side.bit_length() - 3}" if "up1" in names else f"block{(size // side).bit_length() - 1}"
        assert names[names.index("attention") - 1] == block
        assert sum(isinstance(module, SelfAttention) for module in player.modules()) == 1


def test_spectral_norm_brings_the_largest_singular_value_to_one() -> None:
    torch.manual_seed(0)
    generator = ResidualGenerator(colours(16, 3), 8, width=2, attention=8, init="normal")
    discriminator = ResidualDiscriminator(colours(16, 3), width=2, attention=8, init="normal")
    label = torch.tensor([0, 2])
    with torch.no_grad():
        for _ in range(60):
            discriminator(generator(torch.randn(2, 8), label), label)
    for player in (generator.eval(), discriminator.eval()):
        weighted = [layer for layer in player.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
        assert len(weighted) > 10
        for layer in weighted:
            largest = torch.linalg.matrix_norm(layer.weight.flatten(1), ord=2)
            assert abs(largest.item() - 1) < 0.02
    free = ResidualDiscriminator(colours(16), width=2, attention=8, spectral=False)
    assert not any(is_parametrized(module) for module in free.modules())


def test_attention_starts_as_the_identity() -> None:
    x = torch.randn(2, 8, 4, 6)
    assert torch.equal(SelfAttention(8)(x), x)


def test_attention_computes_what_the_paper_describes() -> None:
    attention = randomized(SelfAttention(16))
    x = torch.randn(2, 16, 4, 6)
    f, g, h = (conv(x, layer) for layer in (attention.key, attention.query, attention.value))
    f, h = F.max_pool2d(f, 2), F.max_pool2d(h, 2)
    assert (f.shape[1], g.shape[1], h.shape[1]) == (2, 2, 8)
    attended = torch.zeros(2, 8, 4, 6)
    for n in range(2):
        for row in range(4):
            for column in range(6):
                similarity = (f[n] * g[n, :, row, column, None, None]).sum(0).exp()
                attended[n, :, row, column] = (h[n] * similarity / similarity.sum()).sum((1, 2))
    torch.testing.assert_close(attention(x), x + attention.gamma * conv(attended, attention.output))


def test_conditional_batch_norm_is_one_affine_batch_norm_for_each_label() -> None:
    norm = ConditionalBatchNorm(4, length=2)
    x, label = torch.randn(6, 4, 3, 3) * 2 + 1, torch.tensor([0, 1, 1, 0, 1, 0])
    code = F.one_hot(label, 2).float()
    torch.testing.assert_close(norm(x, code), F.batch_norm(x, None, None, training=True))

    randomized(norm).train()
    assert norm.gain is not None
    assert norm.shift is not None
    found = norm(x, code)
    for number in range(2):
        affine = F.batch_norm(x, None, None, 1 + norm.gain[:, number], norm.shift[:, number], training=True)
        torch.testing.assert_close(found[label == number], affine[label == number])


def test_conditional_batch_norm_without_a_condition_is_plain() -> None:
    norm, x = ConditionalBatchNorm(4, length=0), torch.randn(3, 4, 2, 2)
    assert [name for name, _ in norm.named_parameters()] == ["norm.weight", "norm.bias"]
    torch.testing.assert_close(norm(x, torch.empty(3, 0)), F.batch_norm(x, None, None, training=True))


def test_blocks_compute_what_the_papers_describe() -> None:
    up, x, condition = randomized(UpBlock(4, 6, 3)), torch.randn(2, 4, 5, 5), torch.randn(2, 3)
    y = F.interpolate(F.relu(up.norm1(x, condition)), scale_factor=2)
    y = conv(F.relu(up.norm2(conv(y, up.conv1), condition)), up.conv2)
    torch.testing.assert_close(up(x, condition), y + conv(F.interpolate(x, scale_factor=2), up.skip))

    down = randomized(DownBlock(4, 6, down=True, first=False))
    x = torch.randn(2, 4, 6, 6)
    y = conv(F.relu(conv(F.relu(x), down.conv1)), down.conv2)
    torch.testing.assert_close(down(x), F.avg_pool2d(y, 2) + F.avg_pool2d(conv(x, down.skip), 2))

    first = randomized(DownBlock(4, 6, down=True, first=True))
    y = conv(F.relu(conv(x, first.conv1)), first.conv2)
    torch.testing.assert_close(first(x), F.avg_pool2d(y, 2) + conv(F.avg_pool2d(x, 2), first.skip))

    flat = randomized(DownBlock(4, 4, down=False, first=False))
    assert parameter_count(flat.skip) == 0
    torch.testing.assert_close(flat(x), x + conv(F.relu(conv(F.relu(x), flat.conv1)), flat.conv2))


@pytest.mark.parametrize("conditioning", ["class", "shared"])
@pytest.mark.parametrize("classes", [0, 3])
def test_every_piece_of_the_latent_enters_its_own_block(conditioning: Conditioning, classes: int) -> None:
    generator = randomized(
        ResidualGenerator(
            colours(32, classes), 12, width=2, attention=8, conditioning=conditioning, skip_z=True, spectral=False
        )
    )
    z, label = torch.randn(1, 12), torch.tensor([1])
    before = stage_outputs(generator, z, label)
    for piece, first_changed in enumerate(("project", "up1", "up2", "up3")):
        changed = z.clone()
        changed[:, 3 * piece : 3 * piece + 3] += 1
        after = stage_outputs(generator, changed, label)
        names = list(before)
        equal = [torch.equal(before[name], after[name]) for name in names]
        assert equal == [i < names.index(first_changed) for i in range(len(names))]
        assert not torch.equal(generator(z, label), generator(changed, label))


def test_a_latent_that_is_not_split_enters_once() -> None:
    generator = ResidualGenerator(colours(16), 10, width=2, attention=8)
    shapes = {
        name: tuple(buffer.shape) for name, buffer in generator.state_dict().items() if name.startswith("project")
    }
    assert shapes["project.0.parametrizations.weight.original"] == (8 * 16, 10)
    assert not any(parameter.shape[-1:] == (0,) for parameter in generator.parameters())


def test_blocks_share_one_embedding() -> None:
    generator = randomized(
        ResidualGenerator(colours(16, 3), 6, width=2, attention=0, conditioning="shared", embedding=5, spectral=False)
    )
    assert generator.embedding is not None
    assert generator.embedding.weight.shape == (3, 5)
    z = torch.randn(1, 6)
    red, green = (generator(z, torch.tensor([number])) for number in (0, 1))
    assert not torch.equal(red, green)
    with torch.no_grad():
        generator.embedding.weight[1] = generator.embedding.weight[0]
    assert torch.equal(generator(z, torch.tensor([1])), red)


@pytest.mark.parametrize("conditioning", ["class", "shared"])
def test_labels_matter_where_there_are_some(conditioning: Conditioning) -> None:
    def make(classes: int) -> ResidualGenerator:
        data = colours(16, classes)
        return randomized(ResidualGenerator(data, 6, width=2, attention=0, conditioning=conditioning, spectral=False))

    z, labels = torch.randn(1, 6), [torch.tensor([number]) for number in (0, 1)]
    assert not torch.equal(*(make(2)(z, label) for label in labels))
    assert torch.equal(*(make(0)(z, label) for label in labels))
    with pytest.raises(ValueError, match="needs labels"):
        make(2)(z)


def test_images_start_alike_for_all_labels() -> None:
    # Every gain starts at 1 and every shift at 0.
    generator = ResidualGenerator(colours(16, 2), 6, width=2, attention=8, conditioning="shared", skip_z=True).eval()
    z = torch.randn(1, 6)
    assert torch.equal(generator(z, torch.tensor([0])), generator(z, torch.tensor([1])))
    assert generator(z, torch.tensor([0])).abs().max() <= 1


def test_scores_are_the_projection_of_the_summed_maps() -> None:
    discriminator = randomized(ResidualDiscriminator(colours(16, 3), width=2, attention=8, spectral=False))
    x, label = torch.rand(4, 3, 16, 16) * 2 - 1, torch.tensor([0, 2, 1, 2])
    maps = stage_outputs(discriminator, x, label)["block3"]
    features = torch.relu(maps).sum(dim=3).sum(dim=2)
    head = discriminator.head
    assert head.embedding is not None
    expected = (
        features @ head.linear.weight[0] + head.linear.bias + (head.embedding.weight[:, label].T * features).sum(1)
    )
    torch.testing.assert_close(discriminator(x, label), expected)
    with pytest.raises(ValueError, match="needs labels"):
        discriminator(x)


@pytest.mark.parametrize("recipe", ["sagan", "biggan"])
def test_weights_load_into_networks_without_memory(recipe: str) -> None:
    settings = {key: value for key, value in resolve_config(recipe).networks["generator"].items() if key != "name"}

    def make() -> ResidualGenerator:
        return ResidualGenerator(colours(16, 2), 120, **settings | {"width": 2, "attention": 8})

    trained = make()
    trained(torch.randn(4, 120), torch.tensor([0, 1, 0, 1]))
    with torch.device("meta"):
        loaded = make()
    loaded.load_state_dict(trained.state_dict(), assign=True)
    z, label = torch.randn(2, 120), torch.tensor([0, 1])
    assert torch.equal(loaded.eval()(z, label), trained.eval()(z, label))


def test_a_penalty_on_slopes_reaches_the_attention() -> None:
    discriminator = randomized(ResidualDiscriminator(colours(16), width=4, attention=8))
    r1_penalty(discriminator, torch.randn(2, 3, 16, 16)).backward()  # type: ignore[no-untyped-call]
    gradient = discriminator.attention.gamma.grad
    assert gradient is not None
    assert gradient.abs() > 0


def test_sizes_outside_the_tables_are_refused() -> None:
    for size in (1, 8, 28, 48, 96, 1024):
        with pytest.raises(ConfigError, match=f"image_size {size}: .* 16, 32, 64"):
            ResidualGenerator(colours(size), 8)
        with pytest.raises(ConfigError, match=f"image_size {size}: .* 16, 32, 64"):
            ResidualDiscriminator(colours(size))


def test_latents_that_cannot_be_split_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"method.latent 120 cannot be split into 7 .* a multiple of 7"):
        ResidualGenerator(colours(256), 120, skip_z=True)


def test_attention_on_maps_that_do_not_occur_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"networks.generator.attention 64: .* sides 8, 16, 32; .* 0 for no attention"
    ):
        ResidualGenerator(colours(32), 8, width=2, attention=64)
    with pytest.raises(ConfigError, match=r"networks.discriminator.attention 32: .* sides 16, 8; "):
        ResidualDiscriminator(colours(32), width=2, attention=32)
