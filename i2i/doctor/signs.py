"""Every sign that the doctor knows. A new one is a constant here, a figure of its name, and a paragraph in the docs."""

from __future__ import annotations

from i2i.doctor.sign import Sign

RIGHT_ANSWERS = Sign(
    "right_answers",
    "the discriminator wins: it tells almost all images right",
    "above",
    0.98,
    "lower its rate (optimizers.discriminator.lr) or its width, or regularise it",
    beside=("saturated_scores", 0.5),
)
SATURATED_SCORES = Sign(
    "saturated_scores",
    "the discriminator is sure of everything and teaches little",
    "above",
    0.95,
    "lower its rate, regularise it, or take method.objective=hinge or lsgan",
)
VANISHING_GRADIENT = Sign(
    "vanishing_gradient",
    "the generator's gradient has vanished",
    "below",
    0.01,
    "with method.objective=minimax take non_saturating; else lower the discriminator's rate and start anew",
)
SIGN_OF_REAL = Sign(
    "sign_of_real",
    "the discriminator knows every training image for real",
    "above",
    0.98,
    "gather more images, set discriminator_augmentation.mode=adaptive, or take a smaller discriminator",
    beside=("held_out_gap", 0.25),
)
HELD_OUT_GAP = Sign(
    "held_out_gap",
    "the discriminator learns the training images by heart: held-out ones look generated to it",
    "above",
    0.5,
    "gather more images, set discriminator_augmentation.mode=adaptive, take a smaller discriminator, or stop earlier",
)
DIVERSITY = Sign(
    "diversity",
    "the outputs are almost all alike (mode collapse)",
    "below",
    0.3,
    "lower the rates, take a larger batch or another method.objective, or start with another training.seed",
)
CHANGE = Sign(
    "change",
    "the output is the input",
    "below",
    0.02,
    "lower method.identity_weight and method.cycle_weight, or give the discriminator a higher rate",
)
TONES = Sign(
    "tones",
    "light and dark are exchanged between input and output (colour inversion)",
    "below",
    -0.3,
    "start with another training.seed, or raise method.identity_weight; ignore it where your domains differ so",
)
CHECKERBOARD = Sign(
    "checkerboard",
    "the outputs have a pattern of the generator's upsampling (checkerboard)",
    "above",
    5.0,
    "set networks.generator.upsample=resize where the network has it, or train longer",
)
SPOTS = Sign(
    "spots",
    "the outputs have white or black spots that images of neither domain have",
    "above",
    0.02,
    "lower the rates, take training.precision=fp32, or set training.ema",
)
BLOBS = Sign(
    "blobs",
    "large parts of the outputs are fully white, black or of a pure colour",
    "above",
    0.3,
    "lower the generator's rate, or start with another training.seed",
)
HIDDEN_SIGNAL = Sign(
    "hidden_signal",
    "the reconstruction needs detail that nobody sees: the generators hide the input in the output",
    "above",
    1.5,
    "set method.cycle_gradient=last (cyclegan), lower method.cycle_weight, or take a one-sided recipe (cut)",
)
EXPLODING = Sign(
    "exploding",
    "a loss explodes",
    "above",
    100.0,
    "lower the rates, or set training.clip_norm=1; a wasserstein critic needs its clip or gradient penalty",
)
OSCILLATING = Sign(
    "oscillating",
    "a loss swings by more than its size from one logged value to the next",
    "above",
    1.0,
    "lower the rates, or take a larger batch (training.accumulate)",
)
STALLED = Sign(
    "stalled",
    "the losses do not move at all",
    "below",
    1e-3,
    "raise the rates, or look for a player that has won (right_answers, vanishing_gradient)",
)
RATE_AT_ZERO = Sign(
    "rate_at_zero",
    "the learning rate is zero long before the end",
    "above",
    0.05,
    "end the run here, or start anew with another training.schedule",
    patience=1,
)
FEW_IMAGES = Sign(
    "few_images",
    "there are few images for this recipe",
    "below",
    1.0,
    "gather more, and if that is not done yet, augment what discriminators see "
    "(discriminator_augmentation.mode=adaptive, or fixed with a strength where scores have no sign)",
    patience=1,
)
FEW_STEPS = Sign(
    "few_steps",
    "so few steps are no training",
    "below",
    200,
    "give more time, or lower image_size, training.batch_size or networks.generator.width",
    patience=1,
)
NOT_FINITE = Sign(
    "not_finite",
    "a loss or gradient was not finite, and the run stopped",
    "above",
    0.0,
    "start a new run with lower rates, training.clip_norm=1 or training.precision=fp32",
    patience=1,
)

ALL = {sign.name: sign for sign in tuple(vars().values()) if isinstance(sign, Sign)}


def sign_of(tag: str) -> tuple[Sign, str] | None:
    """The sign of a curve, and where it was measured; None for a curve that is none of a sign."""
    kind, _, name = tag.partition("/")
    for sign in ALL.values() if kind == "health" else ():
        if name == sign.name or name.startswith(f"{sign.name}_"):
            return sign, name.removeprefix(sign.name).removeprefix("_")
    return None
