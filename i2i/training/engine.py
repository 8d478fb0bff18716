"""One training step: draws the step's seed, runs a method's updates, and steps each player's optimiser.

The engine knows nothing of files and displays. Its state is everything that the next step depends on.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer

from i2i.batch import Batch
from i2i.build import build_method, recompute_activations
from i2i.compiling import uncompiled
from i2i.config.schema import Config
from i2i.device import DTYPES, capabilities, raise_if_out_of_memory
from i2i.doctor.curves import GRADIENT_NORM
from i2i.errors import ConfigError, TrainingStopped
from i2i.methods.base import SIGN_OF_REAL, Method, Progress, Update, ending
from i2i.methods.contract import require_contract, require_update, trained_parameters
from i2i.networks.at_inference import as_at_inference
from i2i.seeding import derive_seed
from i2i.training.augmenting import AdaptiveAugmentation
from i2i.training.average import WeightAverage
from i2i.training.replay import CudaRecorder, Replay
from i2i.training.schedule import make_optimizer, rate_factor
from i2i.world import average_over_ranks, world


class Computed(NamedTuple):
    """An update that is ready to be applied.

    Attributes:
        player: whose.
        gradients: of each of the player's parameters; None for one that the losses do not depend on.
        tags: of ``numbers``.
        numbers: (count,), its losses and scores, and at last the norm of the gradient before clipping.
    """

    player: str
    gradients: list[Tensor | None]
    tags: list[str]
    numbers: Tensor


class Engine:
    """The method of ``config`` on ``device`` with its optimisers; ``config`` names a resolved precision.

    Attributes:
        silent: the players that have not been updated yet, by this process.
    """

    def __init__(self, config: Config, device: torch.device) -> None:
        training = config.training
        self.config, self.device = config, device
        torch.manual_seed(derive_seed(training.seed, "weights"))
        try:
            self.method = build_method(config.model).to(device)
        except RuntimeError as error:
            raise_if_out_of_memory(error)
            raise
        require_contract(self.method)
        self.method.recomputes = training.accumulate > 1
        if training.checkpoint_activations:
            recompute_activations(self.method)
        self.parameters = trained_parameters(self.method.players())
        if not self.parameters:
            raise ConfigError(f"method {self.method.name} only translates; train a recipe, such as --arch cyclegan")
        if set(self.parameters) != set(config.optimizers):
            raise ConfigError(
                f"optimizers: method {self.method.name} has the players {', '.join(self.parameters)}, "
                f"and the configuration names {', '.join(config.optimizers)}"
            )
        self.optimizers = {
            player: make_optimizer(parameters, config.optimizers[player], fused=capabilities(device).fused)
            for player, parameters in self.parameters.items()
        }
        self.scaler = torch.amp.GradScaler(device.type, enabled=training.precision == "fp16")
        images = training.batch_size * training.accumulate
        self.average = None if training.ema is None else WeightAverage(self.method.averaged(), training.ema, images)
        self.step_count = 0
        self.silent = set(self.parameters)
        self.augmentation = self._augmentation()
        replayed = training.graphs and not self.against_replay()
        self.replay: Replay[Computed] | None = Replay(CudaRecorder()) if replayed else None

    def step(self, batches: Iterator[Batch], progress: float) -> dict[str, Tensor]:
        """Runs one training step; ``progress`` is the fraction of the run that is done.

        Returns:
            Every loss and score, and the norm of each player's gradient, by its TensorBoard tag, as detached scalars:
            means over ranks and micro-batches, and over the updates where a player has several in a step.

        Raises:
            NotFinite: a loss or gradient is not finite, and its update was not applied. An accelerator leaves out such
                an update by itself, and whoever reads the values finds out.
        """
        torch.manual_seed(derive_seed(self.config.training.seed, "step", self.step_count))
        self.method.progress = Progress(self.step_count, self.step_count * self.images_per_step, progress)
        for player, optimizer in self.optimizers.items():
            rate = self.config.optimizers[player].lr * rate_factor(progress, self.config.training.schedule)
            for group in optimizer.param_groups:
                group["lr"] = rate
        recorded: defaultdict[str, list[Tensor]] = defaultdict(list)
        for update in self._updates(batches):
            self.silent.discard(update.player)
            for tag, number in self._apply(update).items():
                recorded[tag].append(number)
        if not recorded:
            raise ConfigError(f"method {self.method.name}: updates yields no update in a step")
        values = {tag: each[0] if len(each) == 1 else torch.stack(each).mean() for tag, each in recorded.items()}
        if self.average is not None:
            self.average.update(self.step_count)
        if self.augmentation is not None:
            tag_of_sign = f"score/{SIGN_OF_REAL}"
            signs = {tag.removeprefix(tag_of_sign): sign for tag, sign in values.items() if tag.startswith(tag_of_sign)}
            values |= {f"augmentation/strength{whose}": now for whose, now in self.augmentation.strengths().items()}
            self.augmentation.adapt(signs, self.images_per_step, self.method.progress)
        self.step_count += 1
        return values

    def rates(self) -> dict[str, float]:
        """The learning rate that each player's last update used."""
        return {player: optimizer.param_groups[0]["lr"] for player, optimizer in self.optimizers.items()}

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on, besides the batches."""
        return {
            "method": self.method.state_dict(),
            "optimizers": {player: optimizer.state_dict() for player, optimizer in self.optimizers.items()},
            "parameters": self._names(),
            "scaler": self.scaler.state_dict(),
            "average": self.average.state_dict() if self.average else {},
            "augmentation": self.augmentation.state_dict() if self.augmentation else {},
            "step": self.step_count,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over the state of ``state_dict``."""
        names = self._names()
        if state.get("parameters", names) != names:  # optimisers know parameters by their order
            raise ValueError(f"the players of {self.method.name} have other parameters, or list them in another order")
        self.method.load_state_dict(state["method"])
        for player, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][player])
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(state["scaler"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        if self.augmentation is not None:
            self.augmentation.load_state_dict(state["augmentation"])
        self.step_count = state["step"]

    def _names(self) -> dict[str, list[str]]:
        """The names of each player's parameters, in the order of its optimiser."""
        names = {id(parameter): name for name, parameter in self.method.named_parameters()}
        return {player: [names[id(each)] for each in own] for player, own in self.parameters.items()}

    def inference_weights(self) -> dict[str, Tensor]:
        """What ``translate`` needs: the averaged weights where there is an average."""
        if self.average is None:
            return self.method.inference_state()
        with self.average.applied():
            return {key: value.clone() for key, value in self.method.inference_state().items()}

    @contextmanager
    def at_inference(self) -> Iterator[Method]:
        """The method as its weight file would give it: averaged weights, layers as the recipe wants them."""
        averaged = nullcontext() if self.average is None else self.average.applied()
        wanted = self.config.inference.model_dump()
        with torch.no_grad(), averaged, as_at_inference([self.method], **wanted), uncompiled():
            yield self.method

    def preview(self, batch: Batch) -> dict[str, Tensor]:
        """The method's preview as inference would draw it."""
        with self.at_inference() as method:
            return method.preview(batch)

    def _augmentation(self) -> AdaptiveAugmentation | None:
        """The augmentation of what the method's discriminators see; "auto" is for whoever knows the data."""
        config = self.config.discriminator_augmentation
        if config.mode in ("auto", "none"):
            return None
        discriminators = {ending(name): judge.network for name, judge in self.method.judges().items()}
        made = AdaptiveAugmentation(config, discriminators, self.method.judged_channels, self.device)
        self.method.augmentation = made
        self.method.follows_signs = config.mode == "adaptive"
        return made

    def against_replay(self) -> str:
        """Why ``training.graphs`` has no effect here; empty if it has."""
        training, method = self.config.training, self.method
        reasons = {
            "networks are compiled (training.compile)": training.compile,
            f"the device is {self.device.type}, and not cuda": self.device.type != "cuda",
            f"method {method.name} does not say that it can be": "replayable" not in vars(type(method)),
            "several processes exchange gradients": world().size > 1,
            "gradients are accumulated": training.accumulate > 1,
            "activations are computed again (checkpoint_activations)": training.checkpoint_activations,
            "in fp16 the host decides whether a step is left out": training.precision == "fp16",
        }
        return next((reason for reason, holds in reasons.items() if holds), "")

    def autocast(self) -> AbstractContextManager[None]:
        """Within the context networks compute in the precision of the training."""
        dtype = DTYPES[self.config.training.precision]
        return torch.autocast(self.device.type, dtype, enabled=dtype != torch.float32)

    def _updates(self, batches: Iterator[Batch]) -> Iterator[Computed]:
        """The updates of a step, each computed when the one before has been applied."""
        if self.replay is None:
            return self._computed(batches)
        return self.replay(self._computed, batches, self.method.variant())

    def _computed(self, batches: Iterator[Batch]) -> Iterator[Computed]:
        """All that a step does on the device but for its optimisers."""
        streams = [self.method.updates(batches) for _ in range(self.config.training.accumulate)]
        if not all(isinstance(stream, Iterator) for stream in streams):
            raise ConfigError(f"method {self.method.name}: updates has to yield its updates, not to return them")
        while (update := self._compute(streams)) is not None:
            yield update

    def _compute(self, streams: list[Iterator[Update]]) -> Computed | None:
        """The next update of every micro-batch, all of the same player; None at the end."""
        players: list[str | None] = []
        values: dict[str, list[Tensor]] = {}
        for stream in streams:
            with self.autocast():
                update = next(stream, None)
            if update is not None:
                require_update(update, self.method, self.parameters)
            players.append(None if update is None else update.player)
            if players[-1] != players[0]:
                raise ValueError(f"{self.method.name}: micro-batches of one step update {players[0]} and {players[-1]}")
            if update is None:
                continue
            if len(players) == 1:
                self.optimizers[update.player].zero_grad(set_to_none=True)
            loss = torch.stack(list(update.losses.values())).sum() / len(streams)
            torch.autograd.backward(self.scaler.scale(loss), inputs=self.parameters[update.player])
            for name, value in update.losses.items():
                values.setdefault(f"loss/{update.player}/{name}", []).append(value.detach().float())
            for name, value in update.scores.items():
                values.setdefault(f"score/{name}", []).append(value.detach().float())
        player = players[0]
        if player is None:
            return None
        gradients = [parameter.grad for parameter in self.parameters[player]]
        there = [gradient for gradient in gradients if gradient is not None]
        numbers = torch.stack([own[0] if len(own) == 1 else torch.stack(own).mean() for own in values.values()])
        average_over_ranks([*there, numbers])
        self.scaler.unscale_(self.optimizers[player])
        norm = get_total_norm(there).detach()
        tags = [*values, f"{GRADIENT_NORM}{player}"]
        return Computed(player, gradients, tags, torch.cat([numbers, norm[None]]))

    def _apply(self, update: Computed) -> dict[str, Tensor]:
        """Steps the player's optimiser, and returns what is known of the update by tag.

        On an accelerator an update whose gradients or losses are not finite moves no weight; that is decided there, and
        the host does not wait for it.
        """
        player, optimizer, clip_norm = update.player, self.optimizers[update.player], self.config.training.clip_norm
        numbers = update.numbers if self.replay is None else update.numbers.clone()
        named = dict(zip(update.tags, numbers.unbind(), strict=True))
        if not capabilities(self.device).asynchronous:
            for tag, number in named.items():
                require_finite({tag: number.item()}, f"step {self.step_count + 1}", player)
        for parameter, gradient in zip(self.parameters[player], update.gradients, strict=True):
            parameter.grad = gradient
        norm = named[f"{GRADIENT_NORM}{player}"]
        if clip_norm is not None:
            clip_grads_with_norm_(self.parameters[player], clip_norm, norm)
        if self.scaler.is_enabled():
            self.scaler.step(optimizer)
            self.scaler.update()
            # The loss scaling of fp16 skips a step whose gradient overflows, which then moves nothing.
            named[f"health/skipped_{player}"] = (~norm.isfinite()).float()
            named[f"{GRADIENT_NORM}{player}"] = torch.nan_to_num(norm, 0.0, 0.0, 0.0)
        elif capabilities(self.device).asynchronous:
            step_where(optimizer, [each for each in update.gradients if each is not None], numbers.isfinite().all())
        else:
            optimizer.step()
        return named

    @property
    def images_per_step(self) -> int:
        """How many images of the source domain one step takes, over all processes."""
        training = self.config.training
        return training.batch_size * training.accumulate * self.method.batches_per_step


def step_where(optimizer: Optimizer, gradients: list[Tensor], finite: Tensor) -> None:
    """Steps ``optimizer`` if ``finite``, a boolean on the device, says so; the host does not ask.

    Fused optimisers leave a step out themselves, as they do where fp16 overflows. Others step on gradients of zero,
    which moves no weight of RMSprop.
    """
    if getattr(optimizer, "_step_supports_amp_scaling", False):
        leaving_out: Any = optimizer  # torch's own GradScaler speaks to its optimisers by these attributes
        leaving_out.grad_scale, leaving_out.found_inf = None, (~finite).float()
        try:
            optimizer.step()
        finally:
            del leaving_out.grad_scale, leaving_out.found_inf
        return
    bad = ~finite
    for gradient in gradients:
        gradient.masked_fill_(bad, 0.0)
    optimizer.step()


class NotFinite(TrainingStopped):
    """A loss or a gradient is not finite.

    Attributes:
        player: whose it is; empty for a score, which nobody minimises.
    """

    def __init__(self, message: str, player: str = "") -> None:
        super().__init__(message)
        self.player = player


def require_finite(values: Mapping[str, float], when: str, player: str = "") -> None:
    """Raises NotFinite if one of ``values`` is not finite.

    Args:
        values: by their TensorBoard tags.
        when: the step or steps that they are of.
        player: whose they are, where the tags do not say it.
    """
    for tag, value in values.items():
        if math.isfinite(value):
            continue
        kind, _, name = tag.partition("/")
        if kind == "loss":
            player, _, term = name.partition("/")
            raise NotFinite(f"the {player}'s loss {term} ({tag}) became {value} in {when}", player)
        if tag.startswith(GRADIENT_NORM):
            player = tag.removeprefix(GRADIENT_NORM)
            raise NotFinite(f"the {player}'s gradient ({tag}) became {value} in {when}", player)
        raise NotFinite(f"{tag} became {value} in {when}", player)
