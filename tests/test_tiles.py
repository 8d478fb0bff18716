"""Sheets: where each image lies, what is between them, and that nothing changes its pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from i2i.data.images import Pixels, read_image
from i2i.demo import contact_sheet
from i2i.probes.filters import Excitation
from i2i.storage.runs import RunFolder
from i2i.tiles import tile
from i2i.training.logging import RunLog


def images(count: int, *shape: int) -> list[Pixels]:
    return list(np.random.default_rng(0).integers(0, 200, (count, *shape), np.uint8))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_images_lie_row_by_row_between_gaps_in_a_frame(channels: int) -> None:
    own = images(5, 4, 6, channels)
    sheet = tile(own, 3, gap=2, frame=1, background=255)
    assert sheet.shape == (2 * 4 + 2 + 2, 3 * 6 + 2 * 2 + 2, channels)
    for number, (top, left) in enumerate([(1, 1), (1, 9), (1, 17), (7, 1), (7, 9)]):
        np.testing.assert_array_equal(sheet[top : top + 4, left : left + 6], own[number])
        sheet[top : top + 4, left : left + 6] = 255
    assert (sheet == 255).all()


def test_without_gaps_a_sheet_is_the_images_and_nothing_else() -> None:
    own = images(6, 4, 6, 3)
    expected = np.concatenate([np.concatenate(own[:3], axis=1), np.concatenate(own[3:], axis=1)])
    np.testing.assert_array_equal(tile(own, 3), expected)


def test_the_contact_sheet_has_triples_twice_as_large_on_grey() -> None:
    own = images(24, 4, 4, 3)
    sheet = contact_sheet([own[i : i + 3] for i in range(0, 24, 3)])
    assert sheet.shape == (8 + 2 * 16, 8 + 4 * 32, 3)
    for number in range(8):
        top, left = 8 + number // 4 * 16, 8 + number % 4 * 32
        triple = np.concatenate(own[3 * number : 3 * number + 3], axis=1)
        for place in ((0, 0), (0, 1), (1, 0), (1, 1)):
            np.testing.assert_array_equal(sheet[top + place[0] : top + 8 : 2, left + place[1] : left + 24 : 2], triple)
        sheet[top : top + 8, left : left + 24] = 160
    assert (sheet == 160).all()


def test_a_preview_is_one_column_of_its_rows(tmp_path: Path) -> None:
    rows = torch.stack([torch.full((3, 2, 6), value) for value in (-1.0, 0.0, 2.0)])
    rows[1, 2] = 1.0
    log = RunLog(RunFolder(tmp_path), 0)
    log.images(7, {"AtoB": rows})
    log.close()
    sheet = read_image(tmp_path / "samples/step-00000007-AtoB.png")
    assert sheet.shape == (6, 6, 3)
    assert [sheet[row, 0].tolist() for row in range(6)] == [[0] * 3] * 2 + [[128, 128, 255]] * 2 + [[255] * 3] * 2


def test_gradients_stand_in_a_row_for_each_unit() -> None:
    gradients = torch.zeros(2, 3, 1, 32, 32)
    gradients[1, 2] = 5.0
    sheet = Excitation(torch.zeros(2, 3), torch.zeros(2, 3, 1, 32, 32), gradients, (1,)).sheet()
    assert sheet.shape == (2 * 68 + 4, 3 * 68 + 4, 1)
    assert (sheet[4:68, 4:68] == 128).all()
    assert (sheet[72:136, 140:204] == 255).all()
