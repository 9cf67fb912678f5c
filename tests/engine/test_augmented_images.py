"""Trainings on images with other pixels, and on mixtures of images: against hand-written loops, and resumed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from test_resume import resumed_exactly
from torch.nn import functional
from training_bench import Recorder, Setup

from tunewise.conformance.toy_data import toy_images
from tunewise.data.augment_pictures import changed_picture, crop_of
from tunewise.data.augment_settings import AugmentConfig
from tunewise.data.mixed_pixels import drawn_mixture, mixture_generator
from tunewise.data.picture import decode
from tunewise.engine import augmented_pictures as room
from tunewise.engine.augmented_pictures import AugmentedPictures
from tunewise.engine.course import Course
from tunewise.engine.encode import encode
from tunewise.engine.events import Planned, Step
from tunewise.errors import ModelError
from tunewise.types import DataBundle

ALL = {"crop": 0.5, "flip": 0.5, "colour": {"hue": 0.1}, "rand_augment": {"magnitude": 12}}
CASES = {
    "pixels": ({"augment": ALL, "batch_size": 3, "accumulate": 2, "save_steps": 2}, [5]),
    "mixtures": ({"augment": {"flip": 0.5, "mixup": 0.4, "cutmix": 1.0}, "save_steps": 3}, [4, 8]),
}
PLAIN = {
    "dropout": 0.0,
    "learning_rate": 1e-3,
    "options": {"head_rate": 1},
    "weight_decay": 0.0,
    "max_grad_norm": 0.0,
    "schedule": "constant",
    "warmup": 0,
    "keep_best": False,
}


@pytest.fixture(autouse=True)
def fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNEWISE_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def images() -> DataBundle:
    data, _ = toy_images(24, 9, 24)
    return replace(data, splits={**data.splits, "test": replace(data.splits["validation"], name="test")})


@pytest.fixture
def of_images(training: Callable[..., Setup], images: DataBundle) -> Callable[..., Setup]:
    """`of_images(method, **settings)`: a training on 24 images of 24x24 pixels; the model reads other sizes."""

    def make(method: str = "full", data: DataBundle = images, **settings: Any) -> Setup:
        return training(method, family="vit", data=data, **settings)

    return make


def with_targets(data: DataBundle, task: str) -> DataBundle:
    """The same images with several labels, or a number, each."""
    generator, splits = np.random.default_rng(1), {}
    for name, split in data.splits.items():
        if task == "multilabel":
            targets = (generator.random((len(split), 3)) < 0.5).astype(np.float32)
        else:
            targets = generator.normal(size=len(split)).astype(np.float32)
        splits[name] = replace(split, targets=targets)
    labels = data.schema.labels if task == "multilabel" else ()
    return replace(data, splits=splits, schema=replace(data.schema, task=task, labels=labels))


def test_images_are_what_pillow_makes_of_them(of_images: Callable[..., Setup]) -> None:
    """Every row by itself: from its file where a part is cut out, from the bytes that are kept where none is."""
    setup = of_images()
    split, processor = setup.job.data.splits["train"], setup.net.processor
    plain, targets = encode(split.texts, setup.net), torch.as_tensor(split.targets)
    _, height, width = processor.shape
    assert (height, width) != (24, 24)
    for augment in (ALL, {**ALL, "crop": 0}, {"flip": 0.5}):
        config, changed = AugmentConfig(**augment), 0
        drawn = AugmentedPictures(processor, split, plain, config, 3)
        rows = np.array([7, 2, 19, 2])
        found = drawn.read(rows, 4, targets, 11)
        batch = found.batch(rows)["pixel_values"]
        for place, row in enumerate(rows.tolist()):
            image = Image.fromarray(plain.stored[row].transpose(1, 2, 0).copy())
            if config.crop:
                image, _ = decode(split.texts[row][0].read())
                image = image.crop(crop_of(image.size, config, 3, 4, row)).resize((width, height), processor.resample)
            made = np.asarray(changed_picture(image, config, 3, 4, row)).transpose(2, 0, 1)
            wanted = made * processor.scale_C[:, None, None] + processor.shift_C[:, None, None]
            assert torch.equal(batch[place], torch.from_numpy(wanted.astype(np.float32)))
            changed += not np.array_equal(made, plain.stored[row])
        assert found.changed == changed and found.targets_of(rows).tolist() == split.targets[rows].tolist()


def test_neither_order_nor_step_nor_threads_matter(
    of_images: Callable[..., Setup], monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = of_images()
    split = setup.job.data.splits["train"]
    targets, pixels = torch.as_tensor(split.targets), encode(split.texts, setup.net)

    def read(rows: list[int], epoch: int = 1, step: int = 0, seed: int = 0) -> dict[int, torch.Tensor]:
        drawn = AugmentedPictures(setup.net.processor, split, pixels, AugmentConfig(**ALL), seed)
        found = drawn.read(np.array(rows), epoch, targets, step).batch(np.array(rows))["pixel_values"]
        return dict(zip(rows, found, strict=True))

    whole, other = read(list(range(24))), read(list(range(24)), seed=1)
    assert sum(torch.equal(whole[row], other[row]) for row in whole) < 2
    monkeypatch.setattr(room, "each", lambda work, items: [work(item) for item in reversed(items)][::-1])
    for rows in ([5], [9, 5, 20]):
        for row, values in read(rows, step=8).items():
            assert torch.equal(values, whole[row])
        assert not torch.equal(read(rows, epoch=2)[5], whole[5])


@pytest.mark.parametrize("case", CASES)
def test_resumed_is_uninterrupted(case: str, of_images: Callable[..., Setup]) -> None:
    settings, steps = CASES[case]
    resumed_exactly(of_images, steps, **{"epochs": 3, "dropout": 0.2, **settings})


def test_what_draws_nothing_changes_no_bit_and_another_seed_does(of_images: Callable[..., Setup]) -> None:
    plain, unchanged = of_images(at="a", epochs=1), of_images(at="b", epochs=1, augment={"flip": 1e-12})
    for setup in (plain, unchanged):
        setup.train()
    assert plain.digest == unchanged.digest
    assert unchanged.job.observers.warnings[-1] == (
        "augmentation (flip 1e-12): of 24 images read in training, 0 had other pixels than in the data"
    )
    again, other = (of_images(at=f"c{seed}", epochs=1, augment=ALL, seed=seed) for seed in (0, 1))
    third = of_images(at="d", epochs=1, augment=ALL, seed=0)
    for setup in (again, other, third):
        setup.train()
    assert again.digest == third.digest != plain.digest != other.digest != again.digest


def test_a_crop_of_the_whole_image_is_the_image(of_images: Callable[..., Setup]) -> None:
    """Of square images, that a processor resizes as a crop is: least share 1 leaves only all of it."""
    plain, cropped = of_images(at="a", epochs=1), of_images(at="b", epochs=1, augment={"crop": 1.0})
    for setup in (plain, cropped):
        setup.train()
    assert plain.digest == cropped.digest


# ---- mixtures


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
@pytest.mark.parametrize("task", ["classification", "multilabel", "regression"])
def test_mixtures_are_those_of_a_hand_written_loop(
    kind: str, task: str, of_images: Callable[..., Setup], images: DataBundle
) -> None:
    """Losses and weights, with AdamW of torch, soft targets, and batches that are halves of a step."""
    data = images if task == "classification" else with_targets(images, task)
    recorder, alpha = Recorder(), 0.6
    settings = {**PLAIN, "data": data, "augment": {kind: alpha}, "epochs": 1, "seed": 1, "batch_size": 4}
    settings |= {"accumulate": 2, "objective": {"standardize": False}}
    setup, peer = of_images(at="a", observers=[recorder], **settings), of_images(at="b", **settings)
    setup.train()
    model, split = peer.net.model, data.splits["train"]
    pixels = encode(split.texts, peer.net)
    _, height, width = peer.net.processor.shape
    adamw = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0)
    course, losses = Course(pixels.lengths, peer.job.config, 1), []
    model.train()
    for step in range(course.total_steps):
        rows = np.unique(course.rows(step))
        assert len(rows) == 8
        mixture = drawn_mixture(
            8, (width, height), *((alpha, 0.0) if kind == "mixup" else (0.0, alpha)), mixture_generator(1, step)
        )
        values, other = (pixels.batch(some)["pixel_values"] for some in (rows, rows[mixture.order_R]))
        if kind == "mixup":
            values = mixture.share * values + (1 - mixture.share) * other
        else:
            left, upper, right, lower = mixture.box
            values[..., upper:lower, left:right] = other[..., upper:lower, left:right]
        targets = torch.as_tensor(split.targets)
        one, two = targets[rows], targets[rows[mixture.order_R]]
        outputs, share = model(pixel_values=values).logits, mixture.share
        if task == "classification":
            soft = share * functional.one_hot(one, 3) + (1 - share) * functional.one_hot(two, 3)
            loss = functional.cross_entropy(outputs, soft)
        elif task == "multilabel":
            loss = functional.binary_cross_entropy_with_logits(outputs, share * one + (1 - share) * two)
        else:  # the gradient of the mixed target, the loss of both
            constant = share * (1 - share) * (one - two).square().mean()
            loss = (outputs.squeeze(-1) - share * one - (1 - share) * two).square().mean() + constant
        adamw.zero_grad()
        loss.backward()
        adamw.step()
        losses.append(loss.item())
    np.testing.assert_allclose([event.loss for event in recorder.of(Step)], losses, rtol=1e-3)
    for name, weights in setup.weights.items():
        if not name.endswith("k_proj.bias"):  # no gradient but rounding
            torch.testing.assert_close(weights, peer.weights[name], rtol=5e-3, atol=5e-4, msg=name)


def test_classes_that_weigh_more_weigh_more_in_mixtures(of_images: Callable[..., Setup], images: DataBundle) -> None:
    """The mean is over the weights of both targets, rows that are read twice in a step included."""
    recorder = Recorder()
    data = images
    settings = {**PLAIN, "data": data, "augment": {"mixup": 1.0}, "max_steps": 1, "batch_size": 6, "seed": 2}
    weights = {name: float(2 + number) for number, name in enumerate(data.schema.labels)}
    settings |= {"objective": {"class_weights": weights}, "balanced_batches": True, "observers": [recorder]}
    setup = of_images(at="a", **settings)
    setup.train()
    peer = of_images(at="b", **settings)
    split, pixels = data.splits["train"], encode(data.splits["train"].texts, peer.net)
    course = Course(pixels.lengths, peer.job.config, 2, split.targets)
    read = AugmentedPictures(peer.net.processor, split, pixels, AugmentConfig(mixup=1.0), 2)
    rows = course.rows(0)
    found = read.read(rows, 0, torch.as_tensor(split.targets), 0)
    per_class = torch.tensor([weights[name] for name in data.schema.labels])
    logits = peer.net.model.train()(**found.batch(rows)).logits
    sums, count = torch.zeros(()), 0.0
    for share, targets in ((found.share, found.targets_of(rows)), (1 - found.share, found.others_of(rows))):
        each = per_class[targets] * functional.cross_entropy(logits, targets, reduction="none")
        sums, count = sums + share * each.sum(), count + share * float(per_class[targets].sum())
    (event,) = recorder.of(Step)
    assert event.loss == pytest.approx(float(sums.detach()) / count, rel=1e-4)


# ---- who reads what


def test_only_training_rows_are_changed(of_images: Callable[..., Setup], monkeypatch: pytest.MonkeyPatch) -> None:
    from tunewise.engine import train as module
    from tunewise.engine.evaluation import evaluate

    seen: dict[str, list[np.ndarray]] = {}
    real = module.predict_logits
    for name, augment in (("plain", {}), ("changed", {**ALL, "mixup": 0.3, "cutmix": 1.0})):

        def spy(model: Any, inputs: Any, *args: Any, name: str = name, **more: Any) -> Any:
            pixels = getattr(inputs, "_inputs", inputs)
            seen.setdefault(name, []).append(np.array(pixels.stored))
            return real(model, inputs, *args, **more)

        monkeypatch.setattr(module, "predict_logits", spy)
        setup = of_images(at=name, augment=augment, epochs=1)
        trained = setup.train()
        evaluate(trained, setup.job.data, setup.job.evaluator, lambda: None)
    assert len(seen["plain"]) == len(seen["changed"]) > 1
    for one, other in zip(seen["plain"], seen["changed"], strict=True):
        assert np.array_equal(one, other)


def test_processors_that_give_no_colours_are_refused_but_for_mixtures(
    of_images: Callable[..., Setup], monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = of_images(augment={"flip": 0.5})
    setup.net.processor = replace(setup.net.processor, scale_C=None, shift_C=None)
    with pytest.raises(ModelError, match=r"flip 0\.5 changes bytes of red, green and blue") as problem:
        setup.train()
    assert "preprocessor_config.json" in problem.value.where
    mixed = of_images(at="b", augment={"mixup": 0.5}, max_steps=1)
    mixed.net.processor = replace(mixed.net.processor, scale_C=None, shift_C=None)
    mixed.train()


def test_blue_may_come_first(of_images: Callable[..., Setup]) -> None:
    """A processor that gives blue, green, red: colours are changed as of any other."""
    setup = of_images()
    split, usual = setup.job.data.splits["train"], setup.net.processor

    class Turned(type(usual)):
        def geometry(self, image: Any) -> np.ndarray:
            return super().geometry(image)[::-1]

    turned = Turned(usual.whole, usual.scale_C, usual.shift_C)
    assert (usual.order, turned.order) == ((0, 1, 2), (2, 1, 0))
    targets, rows, config = torch.as_tensor(split.targets), np.arange(6), AugmentConfig(**ALL)
    found = []
    for processor in (usual, turned):
        setup.net.processor = processor
        pixels = encode(split.texts, setup.net)
        found.append(AugmentedPictures(processor, split, pixels, config, 0).read(rows, 0, targets, 0).inputs.stored)
    assert np.array_equal(found[0], found[1][:, ::-1])


def test_what_a_solver_does_without_is_told(of_images: Callable[..., Setup]) -> None:
    recorder = Recorder()
    setup = of_images("features", augment={"flip": 0.5, "cutmix": 1.0}, observers=[recorder])
    setup.train()
    assert recorder.of(Planned)
    warnings = setup.job.observers.warnings
    assert "augmentation (flip 0.5) does not apply to a closed solver" in warnings
    assert "augmentation (cutmix) does not apply to a closed solver" in warnings
