"""What generated images are judged by: a classifier that is named, or one trained on the images with their classes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_files import file_of, noise, write_photos
from PIL import Image

from tunewise.data.given_images import given_picture
from tunewise.engine import image_classifier
from tunewise.engine.image_classifier import LabelledImages, load_extractor
from tunewise.engine.image_features import Extractor, named_extractor
from tunewise.engine.stop import Stop
from tunewise.errors import DataError, Interrupted, ModelError, RecipeError
from tunewise.evaluate.image_figures import check_one_extractor, image_figures
from tunewise.recipe import recipe_from
from tunewise.run import run
from tunewise.types import Split

SIDE = 24


def digits() -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's digits as uint8 (N, 8, 8), and what they are, in an order drawn once."""
    from sklearn.datasets import load_digits

    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    return (data.images * 255 / 16).round().astype(np.uint8)[order], data.target[order].astype(np.int64)


def split_of(name: str, pixels_NHW: np.ndarray, targets_N: np.ndarray) -> Split:
    rows = tuple((given_picture(place, Image.fromarray(pixels)),) for place, pixels in enumerate(pixels_NHW))
    return Split(name, rows, targets_N, np.arange(1, len(rows) + 1), "digits")


@pytest.fixture(scope="module")
def of_digits(tmp_path_factory) -> tuple[Extractor, LabelledImages, Path]:
    pixels, targets = digits()
    train = split_of("train", pixels[:1200], targets[:1200])
    validation = split_of("validation", pixels[1200:1400], targets[1200:1400])
    images = LabelledImages(train, validation, tuple("0123456789"), side=8)
    kept = tmp_path_factory.mktemp("classifier") / "extractor"
    return load_extractor(None, Path(), images, kept), images, kept


def small(images: LabelledImages, rows: int = 40) -> LabelledImages:
    def first(split: Split) -> Split:
        return Split(split.name, split.texts[:rows], split.targets[:rows], split.rows[:rows], split.source)

    return LabelledImages(first(images.train), first(images.validation), images.labels, 8)


# ---------------------------------------------------------------- trained on the images


def test_it_tells_digits_apart_that_it_has_not_seen(of_digits):
    extractor, _, _ = of_digits
    pixels, targets = digits()
    found = extractor(list(pixels[1400:]))
    assert found.features_ND.shape == (397, 64) and found.features_ND.dtype == np.float64
    np.testing.assert_allclose(found.probabilities_NC.sum(axis=1), 1)
    assert (found.probabilities_NC.argmax(axis=1) == targets[1400:]).mean() >= 0.95
    told = re.match(r"features of a classifier trained on these images \(10 classes, accuracy (\S+)", found.extractor)
    assert 0.95 <= float(told[1]) <= 1 and "on 200 validation images" in found.extractor
    assert found.sha256 == extractor.sha256


def test_other_digits_are_near_and_noise_is_far(of_digits):
    extractor, _, _ = of_digits
    pixels, _ = digits()
    real, others = extractor(list(pixels[:300])), extractor(list(pixels[1400:1700]))
    random = extractor(list(np.random.default_rng(0).integers(0, 256, (300, 8, 8), dtype=np.uint8)))
    near, far = (image_figures(real, images, resamples=100).figures for images in (others, random))
    for name in ("fid", "kid"):
        assert far[name].interval[0] > 5 * near[name].interval[1]
    assert near["inception_score"].value > 5 and far["inception_score"].value < near["inception_score"].value


def test_it_is_trained_once_and_again_to_the_same_bits(of_digits, tmp_path, monkeypatch):
    extractor, images, _ = of_digits
    monkeypatch.setattr(image_classifier, "STEPS", 3)
    monkeypatch.setattr(image_classifier, "EPOCHS", 1)
    few = small(images)
    state = torch.random.get_rng_state()
    first, again = (load_extractor(None, Path(), few, tmp_path / place / "kept") for place in ("a", "b"))
    assert torch.equal(torch.random.get_rng_state(), state)  # whoever trains beside it draws the same
    assert first.sha256 == again.sha256 != extractor.sha256

    def never(*_: Any) -> None:
        raise AssertionError("it is trained a second time")

    monkeypatch.setattr(image_classifier, "train_classifier", never)
    kept_one = load_extractor(None, Path(), few, tmp_path / "a" / "kept")
    assert (kept_one.name, kept_one.sha256) == (first.name, first.sha256)
    assert not list((tmp_path / "a" / "kept").glob("work*"))
    with pytest.raises(AssertionError, match="second time"):  # of other images
        load_extractor(None, Path(), small(images, 39), tmp_path / "a" / "kept")
    weights = tmp_path / "b" / "kept" / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x07")
    with pytest.raises(AssertionError, match="second time"):  # damaged
        load_extractor(None, Path(), few, tmp_path / "b" / "kept")


def test_a_stop_leaves_nothing(of_digits, tmp_path):
    _, images, _ = of_digits
    stop = Stop()
    stop.requested = True
    with pytest.raises(Interrupted):
        load_extractor(None, Path(), small(images), tmp_path / "kept", stop=stop)
    assert not (tmp_path / "kept").exists() and not list(tmp_path.glob("*tmp*"))


def test_without_name_or_classes_there_is_nothing_to_judge_by(of_digits, tmp_path):
    _, images, _ = of_digits
    with pytest.raises(RecipeError, match="need a classifier") as problem:
        load_extractor(None, Path(), None, tmp_path / "kept")
    assert "inception_v3" in problem.value.fix
    one = small(images)
    one.train.targets[:] = 3
    with pytest.raises(DataError, match="of one class"):
        load_extractor(None, Path(), one, tmp_path / "kept")
    none = LabelledImages(images.train, small(images, 0).validation, images.labels, 8)
    with pytest.raises(DataError, match="no validation images"):
        load_extractor(None, Path(), none, tmp_path / "kept")


def test_it_reads_larger_images_larger(of_digits):
    _, images, _ = of_digits
    large = split_of("train", np.zeros((3, 100, 100), np.uint8), np.zeros(3, np.int64))
    assert images.pixels == 32
    assert LabelledImages(large, large, ("a",)).pixels == 64
    assert LabelledImages(large, large, ("a",), side=32).pixels == 32


# ---------------------------------------------------------------- named


def resnet(folder: Path, classes: int = 5, head: bool = True) -> Any:
    from transformers import ResNetConfig, ResNetForImageClassification, ResNetModel
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 12], depths=[1, 1], layer_type="basic", num_labels=classes)
    torch.manual_seed(0)
    model = (ResNetForImageClassification if head else ResNetModel)(config).eval()
    model.save_pretrained(folder)
    ViTImageProcessorPil(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
    return model


def test_features_and_probabilities_are_those_of_transformers(tmp_path):
    model = resnet(tmp_path / "net")
    images = [noise(seed, 40, 30 + seed) for seed in range(7)]
    extractor = named_extractor("net", tmp_path)
    found = extractor(images, batch_size=3)
    from transformers import AutoImageProcessor

    processor = AutoImageProcessor.from_pretrained(tmp_path / "net", backend="pil")
    with torch.no_grad():
        pixels = processor(images, return_tensors="pt")["pixel_values"]
        pooled = model.resnet(pixels).pooler_output.flatten(1)
        probabilities = torch.softmax(model(pixels).logits, dim=1)
    np.testing.assert_allclose(found.features_ND, pooled.numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.probabilities_NC, probabilities.numpy(), rtol=1e-4, atol=1e-6)
    assert extractor.name == "features of resnet 'net'" and extractor.classes == 5


def test_images_may_come_in_any_form(tmp_path):
    resnet(tmp_path / "net")
    extractor, image = named_extractor("net", tmp_path), noise(1)
    (tmp_path / "a.png").write_bytes(file_of(image))
    forms = [image, np.asarray(image), tmp_path / "a.png", file_of(image), given_picture(0, image)]
    features = extractor(forms).features_ND
    np.testing.assert_allclose(features, np.tile(features[0], (5, 1)), rtol=1e-5)
    grey = np.asarray(image.convert("L"))
    features = extractor([grey, grey[..., None], np.repeat(grey[..., None], 3, axis=2)]).features_ND
    np.testing.assert_allclose(features, np.tile(features[0], (3, 1)), rtol=1e-5)
    for wrong in (grey / 255, grey[None, None], np.zeros((4, 4, 4), np.uint8)):
        with pytest.raises(DataError, match="image 2 is an array of"):
            extractor([grey, wrong])
    with pytest.raises(DataError, match="no images"):
        extractor([])


def test_a_run_of_image_classification_is_one_whatever_its_method(tmp_path):
    resnet(tmp_path / "net", head=False)
    photos = write_photos(tmp_path / "photos")
    for method in ("features", "head"):
        recipe = {
            "model": "net",
            "data": {
                split: f"photos@{name}"
                for split, name in {"train": "train", "validation": "val", "test": "test"}.items()
            },
            "method": method,
            "train": {"epochs": 1, "threads": 1, "precision": "fp32", "device": "cpu"},
            "evaluate": {"resamples": 100, "looked_at": 0},
        }
        run(recipe_from(recipe), tmp_path / method, folder=tmp_path)
    from tunewise.engine.text_model import load

    files = sorted(photos.rglob("*.png"))[:5]
    digests = set()
    for method in ("features", "head"):
        extractor = named_extractor(method, tmp_path)
        found = extractor(files)
        np.testing.assert_allclose(found.probabilities_NC, load(tmp_path / method).scores(files), rtol=1e-5, atol=1e-7)
        assert found.features_ND.shape == (5, 12) and extractor.name == f"features of the run '{method}'"
        digests.add(extractor.sha256)
    assert len(digests) == 2
    with pytest.raises(DataError, match="different extractors"):
        check_one_extractor(dict(zip("ab", digests, strict=True)))


def test_a_net_without_output_layer_has_features_but_no_probabilities(tmp_path):
    resnet(tmp_path / "net", head=False)
    extractor = named_extractor("net", tmp_path)
    found = extractor([noise(seed) for seed in range(60)])
    assert found.probabilities_NC is None and extractor.classes == 0
    assert extractor.sha256 == named_extractor("net", tmp_path).sha256
    assert extractor.name == "features of resnet 'net', without classes"


def test_weights_or_processing_that_differ_are_another_extractor(tmp_path):
    model = resnet(tmp_path / "net")
    first = named_extractor("net", tmp_path).sha256
    assert named_extractor(str(tmp_path / "net"), Path("/")).sha256 == first  # whatever it is called
    file = tmp_path / "net" / "preprocessor_config.json"
    stored = file.read_text()
    file.write_text(json.dumps({**json.loads(stored), "image_mean": [0.4, 0.5, 0.5]}))
    assert named_extractor("net", tmp_path).sha256 != first
    file.write_text(stored)
    model.resnet.embedder.embedder.normalization.running_mean[0] += 1e-3
    model.save_pretrained(tmp_path / "net")
    assert named_extractor("net", tmp_path).sha256 != first


def test_pickled_weights_are_not_loaded(tmp_path):
    (tmp_path / "pt_inception-2015-12-05.pth").write_bytes(b"\x80\x02}q\x00.")
    with pytest.raises(ModelError, match="pickles as a rule") as problem:
        named_extractor("pt_inception-2015-12-05.pth", tmp_path)
    assert "do not compare with published ones" in problem.value.fix.replace("\n", " ")
    with pytest.raises(ModelError, match="no model folder"):
        named_extractor("./nothing here", tmp_path)


def test_a_run_on_texts_is_refused(tmp_path, tiny_bert):
    (tmp_path / "rows.csv").write_text("text,label\n" + "".join(f"good {n},a\nbad {n},b\n" for n in range(20)))
    recipe = {
        "model": str(tiny_bert),
        "data": {"train": "rows.csv", "label": "label"},
        "method": "head",
        "train": {"max_steps": 1, "threads": 1, "precision": "fp32", "device": "cpu"},
        "evaluate": {"resamples": 100},
    }
    run(recipe_from(recipe), tmp_path / "run", folder=tmp_path)
    with pytest.raises(ModelError, match="for classification of texts"):
        named_extractor("run", tmp_path)


def test_inception_of_timm(tmp_path):
    pytest.importorskip("timm", reason="timm is not installed")
    from tunewise.conformance.models import make_folder

    make_folder("timm-inception", tmp_path / "inception_v3")
    found = named_extractor("inception_v3", tmp_path)([noise(seed, 90, 80) for seed in range(2)])
    assert found.features_ND.shape == (2, 2048) and "inception" in found.extractor
