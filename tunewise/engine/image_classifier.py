"""A small classifier of the user's own images, where no other extractor is named: trained once, and kept beside runs.

It goes through the same training as every model; what is particular is that its model is made on the spot, of random
weights. Shape legend: N images, C classes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tunewise.commit import Series, commit_folder, read_manifest, verify
from tunewise.commit.files import discard
from tunewise.commit.lock import turn
from tunewise.engine.device import Tuned
from tunewise.engine.events import Observers
from tunewise.engine.handover import save_model
from tunewise.engine.image_features import Extractor, named_extractor, renamed, run_extractor
from tunewise.engine.job import Job
from tunewise.engine.pixels import decoded
from tunewise.engine.settings import TrainConfig
from tunewise.engine.stop import Stop
from tunewise.engine.train import Trained, train
from tunewise.errors import DataError, RecipeError, StoreError
from tunewise.evaluate.evaluator import Evaluator
from tunewise.evaluate.settings import EvaluateConfig
from tunewise.methods import find_method
from tunewise.models.load import load_net
from tunewise.models.locate import check_folder
from tunewise.objectives import ObjectiveConfig, make_objective
from tunewise.types import DataBundle, Schema, Split

MODEL, WORK = "model", "work"
FORMAT = 1
"""Raised where another classifier is made of the same images."""
SMALL, LARGE = 32, 64
"""Pixels of a side that it reads; the larger of images of more than 48 pixels."""
FEATURES = 64
BATCH = 64
STEPS, EPOCHS = 200, 5
"""It trains for so many steps, or so many epochs where these are more."""
LEARNING_RATE = 5e-3
_LOOKED_AT = 100  # images, to see how large they are


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """What a classifier can be trained on: rows of one picture, with the number of their class (N,) as targets.

    Attributes:
        side: pixels of a side of the images that are generated; None for what most of these have.
    """

    train: Split
    validation: Split
    labels: tuple[str, ...]
    side: int | None = None

    @property
    def fingerprint(self) -> str:
        """sha256 of everything that decides the classifier besides the libraries."""
        digest = hashlib.sha256(json.dumps([FORMAT, self.labels, self.pixels]).encode())
        for split in (self.train, self.validation):
            digest.update(np.asarray(split.targets, dtype=np.int64).tobytes())
            for (picture,) in split.texts:
                digest.update(picture.encode())
        return digest.hexdigest()

    @property
    def pixels(self) -> int:
        """Pixels of a side that the classifier reads."""
        side = self.side
        if side is None:
            side = int(np.median([max(decoded(picture).size) for (picture,) in self.train.texts[:_LOOKED_AT]]))
        return SMALL if side <= (SMALL + LARGE) / 2 else LARGE

    @property
    def bundle(self) -> DataBundle:
        schema = Schema("classification", (), "class", self.labels, image="image")
        return DataBundle({"train": self.train, "validation": self.validation}, schema, (), self.fingerprint)


def load_extractor(
    named: str | None,
    folder: Path,
    images: LabelledImages | None,
    kept: Path,
    *,
    tuned: Tuned | None = None,
    observers: Observers | None = None,
    stop: Stop | None = None,
) -> Extractor:
    """What generated images are judged by: the classifier that the user names, else one that is trained on the labelled
    images, once: it is kept, and all runs that ask for the same one with the same `kept` get it.

    Args:
        named: see `named_extractor`; None where the recipe names none.
        folder: what a relative path starts from.
        images: None where they have no classes.
        kept: the folder of the classifier that is trained, of a run or better of a comparison.
        observers: are told of its training: not those of a run, whose log would hold these steps among its own.

    Raises:
        RecipeError: none is named, and there are no classes to train one on.
        ModelError: see `named_extractor`.
        DataError: see `train_classifier`.
    """
    tuned = tuned or Tuned("cpu", "fp32", torch.get_num_threads())
    if named is not None:
        return named_extractor(named, folder, tuned.device)
    if images is None:
        raise RecipeError(
            "FID, KID and Inception score need a classifier whose features they are made of: none is named, and images "
            "without classes cannot train one",
            fix="name the folder of an image classifier (timm's inception_v3, or one of yours), or give classes",
        )
    stop = stop or Stop()
    with turn(kept.with_name(f".{kept.name}.lock"), stop.check):
        about = _kept(kept, images.fingerprint)
        if about is None:
            about = train_classifier(images, kept, tuned, observers or Observers(), stop)
    return renamed(run_extractor(str(kept), kept / MODEL, tuned.device), _name(about))


def _name(about: Mapping[str, Any]) -> str:
    return (
        f"features of a classifier trained on these images ({about['classes']} classes, accuracy "
        f"{about['accuracy']:.3f} on {about['validation']:,} validation images, {about['majority']:.3f} by the most "
        "frequent class)"
    )


def _kept(folder: Path, fingerprint: str) -> dict[str, Any] | None:
    """What the manifest of a classifier says, where it is whole and of these images."""
    if not folder.is_dir():
        return None
    try:
        verify(folder)
        about = read_manifest(folder)["about"]
    except StoreError:  # it is made again, from the same images to the same weights
        return None
    return about if about.get("fingerprint") == fingerprint else None


def train_classifier(
    images: LabelledImages, folder: Path, tuned: Tuned, observers: Observers, stop: Stop
) -> dict[str, Any]:
    """Trains a small residual net from random weights, always the same, and commits it in the place of what is there.
    Its batch norms follow the data in training and stand still afterwards. Returns what the manifest says of it.

    Raises:
        DataError: images of one class, or no images to validate by.
        Interrupted: a stop was asked for; nothing is kept.
    """
    _check_classes(images)
    about: dict[str, Any] = {}

    def write(staging: Path) -> None:
        work = staging / WORK
        with torch.random.fork_rng():
            trained = _trained(images, work, tuned, observers, stop)
        found = trained.outputs_of(images.validation, BATCH, stop.check).argmax(axis=1)
        counts = np.bincount(np.asarray(images.train.targets), minlength=len(images.labels))
        about.update(
            fingerprint=images.fingerprint,
            classes=int((counts > 0).sum()),
            accuracy=float((found == images.validation.targets).mean()),
            majority=float((images.validation.targets == counts.argmax()).mean()),
            validation=len(images.validation),
        )
        decision = {"threshold": None, "positive": None}
        save_model(trained, "transformers", staging / MODEL, images.bundle.schema, decision, lambda size: _card(about))
        discard(work)

    commit_folder(folder, write, about, replace=True)
    return about


def _trained(images: LabelledImages, work: Path, tuned: Tuned, observers: Observers, stop: Stop) -> Trained:
    data = images.bundle
    _write_untrained(work / "untrained", len(images.labels), images.pixels)
    net = load_net(check_folder("untrained", work / "untrained", reads_text=False), data.schema)
    steps = max(STEPS, EPOCHS * -(-len(images.train) // BATCH))
    config = TrainConfig(
        max_steps=steps,
        batch_size=BATCH,
        schedule="cosine",
        evaluate_every=max(1, steps // 10),
        batch_norm="updated",
        cache=False,
        precision="fp32",
    )
    full = find_method("full")
    job = Job(
        objective=make_objective(ObjectiveConfig(), data),
        data=data,
        evaluator=Evaluator(data.schema, EvaluateConfig(), work),
        metric="accuracy",
        config=config,
        tuned=replace(tuned, precision="fp32", attention=None, attention_prediction=None),
        seed=0,
        observers=observers,
        label="classifier of the images",
        checkpoints=Series(work / "checkpoints"),
        stop=stop,
        fingerprint=images.fingerprint,
    )
    return train(net, full(full.Config(learning_rate=LEARNING_RATE)), job)


def _write_untrained(folder: Path, classes: int, side: int) -> None:
    """A residual net of 120,000 parameters whose last stage has 64 channels, with its image processor."""
    from transformers import ResNetConfig, ResNetForImageClassification
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil
    from transformers.utils import logging

    logging.disable_progress_bar()
    config = ResNetConfig(
        embedding_size=32,
        hidden_sizes=[32, FEATURES],
        depths=[1, 1],
        layer_type="basic",
        num_labels=classes,
    )
    torch.manual_seed(0)
    ResNetForImageClassification(config).save_pretrained(folder)
    ViTImageProcessorPil(size={"height": side, "width": side}).save_pretrained(folder)


def _check_classes(images: LabelledImages) -> None:
    if len(np.unique(images.train.targets)) < 2:
        raise DataError(
            "the training images are of one class, so that no classifier can be trained on them to judge generated "
            "images by",
            fix="name an image classifier as extractor",
        )
    if not len(images.validation):
        raise DataError(
            "there are no validation images to see by whether a classifier has learned anything",
            fix="give some, or name an image classifier as extractor",
        )


def _card(about: Mapping[str, Any]) -> str:
    return (
        "# What generated images are judged by\n\n"
        f"A residual net that tunewise trained on the training images, from random weights. {_name(about)}. FID, KID "
        "and Inception score that were computed with it compare with no others.\n"
    )


def labelled_images(splits: Mapping[str, Split], labels: Sequence[str], side: int | None = None) -> LabelledImages:
    """Of the splits `train` and `validation`, whose targets are numbers of classes."""
    return LabelledImages(splits["train"], splits["validation"], tuple(labels), side)
