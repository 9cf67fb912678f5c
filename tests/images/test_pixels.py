from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from image_files import file_of, noise, write_classes

from tunewise.commit import Cache
from tunewise.data.picture import MOST_PIXELS, decode, picture_of
from tunewise.data.pixels import Pixels
from tunewise.engine import pixels as room
from tunewise.engine.kept import Context
from tunewise.engine.pixels import encode_pictures
from tunewise.errors import DataError
from tunewise.evaluate.predict import predict_logits
from tunewise.models.located import LocatedModel
from tunewise.models.processor import load_processor


@pytest.fixture
def net(tmp_path) -> SimpleNamespace:
    located = LocatedModel("it", tmp_path, {}, "")
    processor, _ = load_processor(located, SimpleNamespace(image_size=20))
    return SimpleNamespace(processor=processor, located=located)


@pytest.fixture
def rows(tmp_path) -> list:
    paths = sorted(write_classes(tmp_path / "photos", 3).rglob("*.png"))
    return [(picture_of(path.name, path, None, MOST_PIXELS),) for path in paths]


def context(folder, limit=10**8) -> Context:
    return Context(Cache(folder / "cache", limit), None, "fp32", torch.device("cpu"), "photos")


def test_what_is_kept_is_what_is_made(net, rows, tmp_path, monkeypatch):
    monkeypatch.setattr(room, "AT_ONCE", 4)
    expected = np.stack([net.processor.geometry(decode(picture.read())[0]) for (picture,) in rows])
    plain, kept = encode_pictures(rows, net, None), encode_pictures(rows, net, context(tmp_path))
    assert isinstance(kept.stored, np.memmap) and not isinstance(plain.stored, np.memmap)
    for found in (plain, kept):
        assert found.stored.dtype == np.uint8 and np.array_equal(found.stored, expected)
    for number, (picture,) in enumerate(rows):  # the files are not needed any more
        if number % 2:
            picture.path.unlink()
    again = encode_pictures(rows, net, context(tmp_path))
    assert np.array_equal(again.stored, expected) and again.elsewhere_seconds >= 0
    batch = again.batch([5, 0])["pixel_values"].numpy()
    assert np.abs(batch - (expected[[5, 0]] / 127.5 - 1)).max() < 1e-6
    assert np.array_equal(again.stored, expected)  # a batch is a copy


def test_a_batch_holds_the_values_of_its_rows_in_their_order_as_a_copy():
    values = np.arange(4 * 3 * 2 * 2, dtype=np.float32).reshape(4, 3, 2, 2)
    pixels = Pixels(values.copy())
    assert len(pixels) == 4 and pixels.lengths.tolist() == [1, 1, 1, 1] and pixels.lengths.dtype == np.int64
    for rows in ([2, 0], np.array([2, 0])):
        batch = pixels.batch(rows)
        assert list(batch) == ["pixel_values"] and batch["pixel_values"].dtype == torch.float32
        assert np.array_equal(batch["pixel_values"].numpy(), values[[2, 0]])
        batch["pixel_values"].add_(1)
        assert np.array_equal(pixels.stored, values)


@pytest.mark.parametrize(("size", "most"), [((1, 1), 32), ((90, 90), 32), ((224, 224), 5), ((2000, 1000), 1)])
def test_large_images_make_small_batches_in_passes(size, most):
    """Of 32 rows of 90 x 90 pixels; 5 of 224 x 224 are 251,000 pixels, and 32 of 90 x 90 are 259,000."""
    asked = []

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, pixel_values):
            asked.append(len(pixel_values))
            return SimpleNamespace(logits=pixel_values[:, :, 0, 0])

    pixels = Pixels(np.broadcast_to(np.float32(0), (33, 3, *size)))
    assert predict_logits(Model(), pixels, 32).shape == (33, 3)
    assert max(asked) == most and sum(asked) == 33


def test_other_images_or_another_processor_are_another_entry(net, rows, tmp_path):
    store = context(tmp_path)
    first = encode_pictures(rows, net, store).stored
    assert np.array_equal(encode_pictures(rows[::-1], net, store).stored, first[::-1])
    other, _ = load_processor(net.located, SimpleNamespace(image_size=10))
    smaller = SimpleNamespace(processor=other, located=net.located)
    assert encode_pictures(rows, smaller, store).stored.shape == (9, 3, 10, 10)
    assert len([path for path in (tmp_path / "cache").iterdir() if len(path.name) == 64]) == 3


def test_without_room_pixels_stay_in_memory(net, rows, tmp_path):
    found = encode_pictures(rows, net, context(tmp_path, limit=100))
    assert np.array_equal(found.stored, encode_pictures(rows, net, None).stored)
    assert encode_pictures([], net, None).stored.shape == (0, 3, 20, 20)


def test_a_file_that_changed_meanwhile_is_told(net, rows):
    (picture,) = rows[4]
    picture.path.write_bytes(file_of(noise(99)))
    with pytest.raises(DataError, match="has changed") as told:
        encode_pictures(rows, net, None)
    assert told.value.where == picture.shown
    with pytest.raises(DataError, match="reads images"):
        encode_pictures([("a text",)], net, None)
