"""What a model draws before and after training, and how near that is to the test images: FID, KID, Inception score.

Shape legend: N images, C channels, H height, W width.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tunewise.data.picture_grid import grid
from tunewise.data.thumbnails import data_uri
from tunewise.engine.drawing import Drawer
from tunewise.engine.image_classifier import LabelledImages, load_extractor
from tunewise.engine.image_features import Extractor
from tunewise.engine.job import Job
from tunewise.engine.kept import Parts, kept_array
from tunewise.engine.pixels import decoded
from tunewise.engine.prefix_key import digest_of
from tunewise.errors import DataError, RecipeError
from tunewise.evaluate.image_figures import ImageFigures, figure_differences, image_figures
from tunewise.evaluate.settings import EvaluateConfig
from tunewise.models.blocks import named_tensors
from tunewise.models.load import Net
from tunewise.types import Split

_FORMAT, _CLASSES = 1, 29
MOST_PIXELS = 600
"""Of a side of what the report shows."""


@dataclass
class DrawnImages:
    """Draws with the untuned model when it is made, and with the trained one when it is asked for figures.

    Args:
        folder: what a relative path of the recipe starts from.
        kept: where a classifier of the images is kept.

    Attributes:
        seconds: that drawing before training took; it is no part of training.
    """

    net: Net
    job: Job
    config: EvaluateConfig
    folder: Path
    kept: Path
    seconds: float = 0.0
    _before: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        begun = time.perf_counter()
        if self.config.drawing.extractor is not None:  # a name that is wrong is told before hours of training
            self._extractor()
        self._before = self._untuned()
        self.seconds = time.perf_counter() - begun

    @property
    def test(self) -> Split:
        return next(iter(self.job.data.tests.values()))

    def classes(self) -> np.ndarray | None:
        """The class of each image, int64 (N,): as the test rows have them; None where there are none."""
        if not self.job.data.schema.labels:
            return None
        targets, options = self.test.targets, self.config.drawing
        order = np.random.default_rng([options.seed, len(targets), _CLASSES]).permutation(len(targets))
        return targets[order[np.arange(options.images) % len(order)]]

    def told(self, tuned: Net, warn: Callable[[str], None]) -> tuple[dict[str, Any], dict[str, Any]]:
        """For the record: options, figures before and after with their difference, or `why_not`; and for `drawn.json`
        the first images of both as data URIs.

        Args:
            warn: is told where there are no figures.
        """
        after = self._draw(tuned)
        options = self.config.drawing.model_dump(mode="json", exclude={"extractor"})
        found: dict[str, Any] = {"options": options, "test": self.test.name}
        try:
            before_figures, after_figures = self._figures(after)
            found |= {
                "before": before_figures.as_dict(),
                "after": after_figures.as_dict(),
                "difference": {
                    name: {"value": value, "interval": list(ends) if ends else None}
                    for name, (value, ends) in figure_differences(
                        after_figures, before_figures, self.config.confidence
                    ).items()
                },
            }
        except (DataError, RecipeError) as problem:
            found["why_not"] = problem.what
            warn(f"drawn images have no FID, KID or Inception score: {problem.what}")
        return found, self._shown(after)

    def _figures(self, after: np.ndarray) -> tuple[ImageFigures, ImageFigures]:
        extractor, geometry = self._extractor(), self.net.processor.geometry
        stop, config = self.job.stop.check, self.config
        real = np.stack([geometry(decoded(picture)) for (picture,) in self.test.texts])
        features = [
            extractor(list(images.transpose(0, 2, 3, 1)), stop=stop, size=self.job.pass_size)
            for images in (real, self._before, after)
        ]
        options = {"resamples": config.resamples, "confidence": config.confidence, "seed": config.drawing.seed}
        before_figures, after_figures = (image_figures(features[0], drawn, **options) for drawn in features[1:])
        return before_figures, after_figures

    def _extractor(self) -> Extractor:
        data, job, schema = self.job.data, self.job, self.job.data.schema
        images = None
        if schema.labels:
            side = max(self.net.processor.shape[1:])
            images = LabelledImages(data.splits["train"], data.splits["validation"], schema.labels, side)
        named = self.config.drawing.extractor
        kept = self.kept.with_name(f"{self.kept.name}-{images.fingerprint[:12]}") if images and not named else self.kept
        return load_extractor(named, self.folder, images, kept, tuned=job.tuned, stop=job.stop)

    def _draw(self, net: Net) -> np.ndarray:
        options, job = self.config.drawing, self.job
        drawer = Drawer(net, options.steps, stop=job.stop.check, size=job.pass_size)
        return drawer.images(np.arange(options.images), self.classes(), options.seed)

    def _untuned(self) -> np.ndarray:
        """Once for all runs that begin with the same weights."""
        context, options, classes = self.job.context, self.config.drawing, self.classes()
        if context is None:
            return self._draw(self.net)
        described = {
            "format": _FORMAT,
            "weights": digest_of(sorted(named_tensors(self.net.model).items())),
            "model": self.net.model.config.to_dict(),
            "drawing": [options.images, options.steps, options.seed],
            "classes": None if classes is None else classes.tolist(),
            "torch": [torch.__version__, torch.get_num_threads(), str(context.device)],
        }
        key = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()
        about = {
            "kind": "drawn",
            "what": f"{options.images:,} images of the untuned model",
            "model": self.net.located.name,
            "data": context.data,
            "rows": options.images,
        }
        array, _ = kept_array(context.exact, key, about, lambda: Parts.whole(self._draw(self.net), 0.0))
        return array

    def _shown(self, after: np.ndarray) -> dict[str, Any]:
        count, classes = self.config.drawing.shown, self.classes()
        if not count:
            return {}
        labels = self.job.data.schema.labels
        return {
            "before": _uri(self._before[:count]),
            "after": _uri(after[:count]),
            "classes": [] if classes is None else [labels[place] for place in classes[:count]],
        }


def _uri(images_NCHW: np.ndarray) -> str:
    return data_uri(grid(images_NCHW).convert("RGB"), MOST_PIXELS)


def drawn_images(net: Net, job: Job, config: EvaluateConfig, folder: Path, kept: Path) -> DrawnImages | None:
    """What draws for a run of image generation; None for other tasks, and where the recipe wants none.

    Raises:
        RecipeError: more steps than the model has timesteps.
        ModelError: the classifier that the recipe names cannot be used.
    """
    if job.objective.answers != "images" or config.drawing is None:
        return None
    if config.drawing.steps > net.noise.steps:
        raise RecipeError(
            f"{config.drawing.steps} steps of denoising are more than the {net.noise.steps} timesteps of the model",
            where="evaluate.drawing.steps",
            fix=f"take at most {net.noise.steps}",
        )
    return DrawnImages(net, job, config, folder, kept)
