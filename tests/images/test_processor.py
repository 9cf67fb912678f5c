from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from image_files import noise

from tunewise.data.pixels import Pixels
from tunewise.errors import ModelError
from tunewise.models.located import LocatedModel
from tunewise.models.processor import load_processor

CONFIG = SimpleNamespace(num_channels=3, image_size=20)
PROCESSORS = {
    "ViTImageProcessor": {"size": {"height": 20, "width": 20}},
    "DeiTImageProcessor": {"size": {"height": 25, "width": 25}, "crop_size": {"height": 20, "width": 20}},
    "ConvNextImageProcessor": {"size": {"shortest_edge": 20}, "crop_pct": 0.875},
    "MobileNetV2ImageProcessor": {"size": {"shortest_edge": 24}, "crop_size": {"height": 20, "width": 20}},
    "EfficientNetImageProcessor": {"size": {"height": 20, "width": 20}, "include_top": True, "rescale_offset": True},
    "MobileViTImageProcessor": {"size": {"shortest_edge": 24}, "crop_size": {"height": 20, "width": 20}},
    "CLIPImageProcessor": {"size": {"shortest_edge": 20}, "crop_size": {"height": 20, "width": 20}},
    "BitImageProcessor": {"size": {"shortest_edge": 24}, "crop_size": {"height": 20, "width": 20}},
}


def located(folder, options=None, text=None) -> LocatedModel:
    if options is not None or text is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(options) if text is None else text)
    return LocatedModel("it", folder, {}, "")


@pytest.mark.parametrize("name", PROCESSORS)
def test_bytes_with_scale_and_shift_are_what_transformers_gives(tmp_path, name):
    from transformers import AutoImageProcessor

    model = located(tmp_path, {"image_processor_type": name, **PROCESSORS[name]})
    processor, notes = load_processor(model, CONFIG)
    own = AutoImageProcessor.from_pretrained(tmp_path, backend="pil")
    images = [noise(1, 40, 30), noise(2, 21, 57), noise(3, 20, 20), noise(4, 9, 13, 1)]
    expected = np.stack(own(images, return_tensors="np")["pixel_values"])
    stored = np.stack([processor.geometry(image) for image in images])
    found = Pixels(stored, processor.scale_C, processor.shift_C).batch(np.arange(4))["pixel_values"].numpy()
    assert notes == [] and stored.dtype == np.uint8 and found.dtype == np.float32
    assert found.shape == expected.shape == (4, *processor.shape) and np.abs(found - expected).max() <= 1e-5
    assert np.ptp(found) > 0.5


def test_a_folder_without_a_processor_takes_a_default_that_is_told(tmp_path):
    processor, (note,) = load_processor(located(tmp_path), CONFIG)
    assert processor.shape == (3, 20, 20) and "20x20" in note and "mean 0.5" in note
    image = noise(1, 20, 20)
    found = Pixels(processor.geometry(image)[None], processor.scale_C, processor.shift_C).batch([0])["pixel_values"]
    assert np.abs(found[0].numpy() - (np.asarray(image).transpose(2, 0, 1) / 127.5 - 1)).max() < 1e-6
    assert load_processor(located(tmp_path), SimpleNamespace())[0].shape == (3, 224, 224)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"image_processor_type": "NoSuchImageProcessor"}, "cannot be loaded"),
        ({"image_processor_type": "ViTImageProcessor", "size": {"height": 10**6, "width": 10}}, "sides of 1 to 4,096"),
        ({"image_processor_type": "ViTImageProcessor", "size": 0}, "sides of 1 to 4,096"),
        ({"image_processor_type": "ViTImageProcessor", "size": {"shortest_edge": 24}}, "of different sizes"),
        ({"image_processor_type": "ViTImageProcessor", "size": {"height": "a", "width": 3}}, "cannot be loaded"),
        ({"auto_map": {"AutoImageProcessor": "code.Own"}}, "cannot be loaded"),
        ([1, 2], "cannot be loaded"),
    ],
    ids=lambda value: "" if isinstance(value, str) else str(value)[:60],
)
def test_a_file_that_is_none_is_refused(tmp_path, options, why):
    (tmp_path / "code.py").write_text("raise SystemExit('code of a model folder was run')")
    with pytest.raises(ModelError, match=why) as told:
        load_processor(located(tmp_path, options), CONFIG)
    assert told.value.where.endswith("preprocessor_config.json") and told.value.fix


def test_damaged_json_and_other_channels_are_refused(tmp_path):
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_processor(located(tmp_path, text="{"), CONFIG)
    with pytest.raises(ModelError, match="images of 1 channels"):
        load_processor(located(tmp_path, {}), SimpleNamespace(num_channels=1))
