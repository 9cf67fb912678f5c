"""What generated images are judged by: the features and class probabilities of a classifier, one for all.

Shape legend: N images, B images of a batch, D features, C classes, H height, W width.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from tunewise.data.given_images import GivenImage, given_picture
from tunewise.data.picture import Picture
from tunewise.data.picture_table import each
from tunewise.data.pixels import Pixels
from tunewise.engine.feature_head import FeatureHead
from tunewise.engine.handover import load_model
from tunewise.engine.model_meta import read_meta
from tunewise.engine.output_layer import output_layer, read_by_output_layer
from tunewise.engine.pixels import decoded
from tunewise.engine.prefix_key import digest_of
from tunewise.errors import DataError, MethodError, ModelError
from tunewise.evaluate.image_figures import ImageFeatures
from tunewise.evaluate.scores import to_scores
from tunewise.models.from_files import read_config, told_as
from tunewise.models.from_runs import handed_over, named_path, reads_images
from tunewise.models.load import Net, load_net
from tunewise.models.locate import locate
from tunewise.models.memory import PassSize
from tunewise.models.modes import eval_mode
from tunewise.types import Schema

PICKLES = (".pt", ".pth", ".pkl", ".bin", ".ckpt", ".h5")
"""Endings of files of weights that are not loaded: opening them can run code."""


@dataclass(frozen=True, eq=False)
class Extractor:
    """A classifier that is read: of each image what its output layer reads, and the softmax of what that says.

    Attributes:
        name: what it is, for people; stands wherever its figures stand.
        sha256: over weights, running statistics and image processor: figures of others are not compared.
        classes: how many; 0 where its output layer was not trained.
    """

    name: str
    sha256: str
    classes: int
    net: Net
    head: FeatureHead | None = None
    normalize: bool = False

    def __call__(
        self,
        images: Sequence[GivenImage | np.ndarray],
        batch_size: int = 64,
        stop: Callable[[], None] = lambda: None,
        size: PassSize | None = None,
    ) -> ImageFeatures:
        """Features and probabilities of images, in their order.

        Args:
            images: paths, bytes, images of Pillow, `Picture`s, or uint8 arrays (H, W), (H, W, 1) or (H, W, 3). They go
                through the classifier's own processing: made RGB, resized, scaled. Give real images as the generator
                gets them, of its size: details that it cannot draw would count against it otherwise.
            stop: is called before each batch, and may raise.
            size: of batches that are known to fit into memory.

        Raises:
            DataError: an image cannot be read, or there is none.
            OutOfMemoryError: a single one does not fit.
        """
        if not len(images):
            raise DataError("there are no images to take features of", fix="give some")
        batches = [
            np.arange(start, min(start + batch_size, len(images))) for start in range(0, len(images), batch_size)
        ]
        parts: list[tuple[np.ndarray, ...]] = []

        def of_batch(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            stop()
            return self._of_batch(each(lambda row: self._prepared(row, images[row]), rows))

        with eval_mode(self.net.model):
            for rows, found in (size or PassSize()).run(batches, np.ones(len(images), dtype=np.int64), of_batch):
                parts.append((rows, *found))
        order = np.argsort(np.concatenate([rows for rows, _, _ in parts]))
        features_ND, logits_NC = (np.concatenate([part[place] for part in parts])[order] for place in (1, 2))
        probabilities_NC = to_scores("classification", logits_NC) if self.classes else None
        return ImageFeatures(features_ND.astype(np.float64), probabilities_NC, self.name, self.sha256)

    def _prepared(self, place: int, image: GivenImage | np.ndarray) -> np.ndarray:
        return self.net.processor.geometry(_in_rgb(place, image))

    def _of_batch(self, prepared: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """What the output layer reads (B, D), and the outputs (B, C)."""
        model, processor = self.net.model, self.net.processor
        device = next(model.parameters()).device
        pixels = Pixels(np.stack(prepared), processor.scale_C, processor.shift_C)
        batch = {key: value.to(device) for key, value in pixels.batch(range(len(prepared))).items()}
        with torch.no_grad(), read_by_output_layer(self.net) as read:
            logits_BC = model(**batch).logits.float().cpu().numpy()
        features_BD = read[0].float()
        if features_BD.ndim != 2:
            raise ModelError(
                f"the output layer of '{self.name}' reads {tuple(features_BD.shape[1:])} of an image, not a row of "
                "features",
                fix="take another classifier",
            )
        if self.head is None:
            return features_BD.cpu().numpy(), logits_BC
        features_BD = nn.functional.normalize(features_BD, dim=-1) if self.normalize else features_BD
        found = features_BD.cpu().numpy()
        return found, self.head.logits(found)


def named_extractor(named: str, folder: Path, device: str = "cpu") -> Extractor:
    """The classifier that a user names: the folder of a run of image classification, of a classifier of transformers or
    timm (`inception_v3`, in safetensors), or a hub id.

    Args:
        folder: what a relative path starts from.

    Raises:
        ModelError: there is none, it does not read images, gives no classes, or is a file of pickled weights.
    """
    path = named_path(named, folder)
    _check_no_pickle(named, path)
    if (place := handed_over(path)) is not None:
        return run_extractor(named, place, device)
    located = locate(named, folder, reads_text=False)
    with told_as(lambda said: ModelError(f"transformers does not know this model: {said}", where=str(located.path))):
        outputs = max(2, int(read_config(located).num_labels))
    net = load_net(located, Schema("classification", (), "", tuple(map(str, range(outputs))), image="image"))
    classes = outputs if _knows_classes(net) else 0
    kind = f"{located.config.get('architecture') or located.family}"
    return _extractor(f"{kind} '{named}'", net.to(torch.device(device)), classes)


def run_extractor(named: str, place: Path, device: str = "cpu") -> Extractor:
    """The classifier that a run of tunewise has handed over.

    Raises:
        StoreError: it is damaged, or of a newer tunewise.
        ModelError: it does not give one class to an image, or its base model is not there.
    """
    task = read_meta(place)["schema"]["task"]
    if not reads_images(place) or task != "classification":
        raise ModelError(
            f"features are taken of a model that gives an image one class; '{named}' is for {task}"
            f"{'' if reads_images(place) else ' of texts'}",
            where=str(place),
            fix="name the run of an image classification",
        )
    net, plan, head, meta = load_model(place, torch.device(device))
    normalize = head is not None and bool(plan.solver.options["normalize"])
    return _extractor(f"the run '{named}'", net, len(meta["schema"]["labels"]), head, normalize)


def renamed(extractor: Extractor, name: str) -> Extractor:
    """The same under another name for people."""
    return replace(extractor, name=name)


def _extractor(
    what: str, net: Net, classes: int, head: FeatureHead | None = None, normalize: bool = False
) -> Extractor:
    for parameter in net.model.parameters():
        parameter.requires_grad_(False)
    digest = hashlib.sha256(digest_of(net.model.state_dict().items()).encode())
    digest.update(json.dumps(net.processor.as_dict(), sort_keys=True).encode())
    for tensor in (tensor for layer in (head.layers if head else ()) for tensor in layer):
        digest.update(np.ascontiguousarray(tensor).tobytes())
    digest.update(str(normalize).encode())
    told = "" if classes else ", without classes"
    return Extractor(f"features of {what}{told}", digest.hexdigest(), classes, net, head, normalize)


def _knows_classes(net: Net) -> bool:
    """Whether the folder holds an output layer.

    Raises:
        ModelError: the folder lacks more than that, which features would have to go through.
    """
    try:
        weight, bias = output_layer(net)
    except MethodError as problem:
        raise ModelError(problem.what, where=str(net.located.path), fix="take another classifier") from None
    own = {name for name, tensor in net.model.named_parameters() if tensor is weight or tensor is bias}
    drawn = {tensor.name for tensor in net.map.tensors if not tensor.pretrained}
    if drawn - own:
        raise ModelError(
            f"the folder lacks tensors that features would go through ({min(drawn - own)})",
            where=str(net.located.path),
            fix="take a folder saved with all its weights",
        )
    return not drawn


def _check_no_pickle(named: str, path: Path) -> None:
    if path.suffix.lower() in PICKLES or (path.is_file() and path.suffix != ".json"):
        raise ModelError(
            f"'{named}' is a file of weights; such files are pickles as a rule, which can run code, and are not "
            "loaded. That holds for the Inception weights that published FID figures were made with "
            "(pt_inception-2015-12-05.pth) too",
            where=str(path),
            fix="name the folder of a classifier with model.safetensors, say timm's inception_v3; its figures do not "
            "compare with published ones",
        )


def _in_rgb(place: int, image: Any) -> Any:
    """An image of Pillow in RGB."""
    if isinstance(image, Picture):
        return decoded(image)
    if not isinstance(image, np.ndarray):
        return decoded(given_picture(place, image))
    from PIL import Image

    grey = image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 1)
    if image.dtype != np.uint8 or not (grey or (image.ndim == 3 and image.shape[2] == 3)) or not image.size:
        raise DataError(
            f"image {place + 1} is an array of {image.dtype}, {image.shape}",
            fix="give uint8 arrays of shape (H, W), (H, W, 1) or (H, W, 3)",
        )
    return Image.fromarray(image[..., 0] if image.ndim == 3 and grey else image).convert("RGB")
