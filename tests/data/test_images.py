from __future__ import annotations

import numpy as np
import torch

from tunewise.data.images import Images


def test_a_batch_holds_the_pixels_of_its_rows_in_their_order():
    pixels = np.arange(4 * 3 * 2 * 2, dtype=np.float32).reshape(4, 3, 2, 2)
    images = Images(pixels)
    assert len(images) == 4 and images.lengths.tolist() == [1, 1, 1, 1] and images.lengths.dtype == np.int64
    for rows in ([2, 0], np.array([2, 0])):
        batch = images.batch(rows)
        assert list(batch) == ["pixel_values"] and batch["pixel_values"].dtype == torch.float32
        assert np.array_equal(batch["pixel_values"].numpy(), pixels[[2, 0]])


def test_a_batch_is_a_copy():
    images = Images(np.zeros((2, 3, 2, 2), dtype=np.float32))
    images.batch([0, 1])["pixel_values"].add_(1)
    assert not images.pixels.any()
