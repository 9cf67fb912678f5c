"""Models for images from folders: another number of labels, running statistics, and folders of timm."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from tunewise.conformance.models import BLOCKS, IMAGE, IMAGE_SIZE, make_model
from tunewise.errors import ModelError
from tunewise.models.load import load_net
from tunewise.models.locate import locate
from tunewise.models.located import family_of
from tunewise.types import Schema

SCHEMA = Schema("classification", (), "label", ("a", "b", "c"))
TIMM = importlib.util.find_spec("timm") is not None


def load(folder: Path):
    return load_net(locate(str(folder), folder.parent, reads_text=False), SCHEMA)


@pytest.mark.parametrize("family", ["mobilenet_v2", "resnet"])
def test_a_classifier_of_other_classes_gets_a_new_output_layer_and_keeps_the_rest(family, tmp_path):
    from transformers import AutoModelForImageClassification

    config = IMAGE[family](BLOCKS)
    config.num_labels = 1000
    model = AutoModelForImageClassification.from_config(config).train()
    with torch.no_grad():  # so that running statistics say something
        model(pixel_values=torch.rand(4, 3, IMAGE_SIZE, IMAGE_SIZE))
    model.save_pretrained(tmp_path / "model")
    net, stored = load(tmp_path / "model"), load_file(tmp_path / "model" / "model.safetensors")
    assert net.notes[0] == "the output layer of the checkpoint, for 1,000 labels, gave way to a new one for 3"
    assert len(net.notes) == 2 and "preprocessor_config.json" in net.notes[1]
    new = {tensor.name for tensor in net.map.tensors if not tensor.pretrained}
    assert len(new) == 2 and new <= {tensor.name for tensor in net.map.head}
    now = net.model.state_dict()
    assert set(stored) == set(now)
    assert all(torch.equal(now[name], tensor) for name, tensor in stored.items() if name not in new)
    assert net.model.config.id2label == {0: "a", 1: "b", 2: "c"} and net.tokenizer is None


def test_the_visual_vocabulary_of_beit_is_not_taken_for_one_of_words(tmp_path):
    """`vocab_size` is how many kinds of parts of images it learnt to guess; its classifiers have no such tensor."""
    from transformers import BeitConfig

    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    make_model(BeitConfig(image_size=IMAGE_SIZE, patch_size=8, vocab_size=512, **sizes), tmp_path / "model")
    net = load(tmp_path / "model")
    assert net.map.family == "beit" and len(net.map.blocks) == 2


@pytest.mark.parametrize(("family", "passes"), [("vit", 1), ("resnet", 2)])
def test_a_model_reads_an_image_of_the_size_of_its_processor_once(family, passes, tiny_model, monkeypatch):
    """A ResNet's configuration does not say how large its images are, so that it is mapped with another size."""
    from transformers import ResNetForImageClassification, ViTForImageClassification

    read, kind = [], {"vit": ViTForImageClassification, "resnet": ResNetForImageClassification}[family]
    real = kind.forward
    monkeypatch.setattr(kind, "forward", lambda *given, **how: read.append(how["pixel_values"]) or real(*given, **how))
    net = load(tiny_model(family))
    assert len(read) == passes and tuple(read[-1].shape) == (1, *net.processor.shape)


def timm_folder(folder: Path, **config: object) -> Path:
    folder.mkdir()
    save_file({"a.weight": torch.zeros(2, 2)}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"pretrained_cfg": {}, **config}))
    return folder


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"architecture": "hf-hub:someone/else"}, "not the name of an architecture of timm"),
        ({"architecture": "local-dir:/etc"}, "not the name of an architecture of timm"),
        ({"architecture": "vgg11", "model_args": {"checkpoint_path": "weights.pth"}}, "checkpoint_path"),
        ({"architecture": "vgg11", "model_args": {"pretrained_cfg_overlay": None}}, "pretrained_cfg_overlay"),
        ({"architecture": "vgg11", "model_args": {"depths": [1, ["x"]]}}, "depths"),
    ],
)
def test_what_would_have_timm_open_other_places_is_refused(config, told, tmp_path):
    with pytest.raises(ModelError, match=told):
        locate(str(timm_folder(tmp_path / "model", **config)), tmp_path, reads_text=False)


@pytest.mark.skipif(TIMM, reason="timm is installed here")
def test_a_model_of_timm_without_timm_is_told(tmp_path):
    with pytest.raises(ModelError, match="which is not installed") as caught:
        locate(str(timm_folder(tmp_path / "model", architecture="vgg11")), tmp_path, reads_text=False)
    assert "vision" in caught.value.fix


def test_families_of_timm_are_not_those_of_transformers():
    assert family_of({"model_type": "timm_wrapper", "architecture": "resnet50"}) == "timm-resnet"
    assert family_of({"architecture": "inception_v3", "pretrained_cfg": {}}) == "timm-inception"
    assert family_of({"model_type": "resnet", "architecture": "x"}) == "resnet"
    assert family_of({}) == "unknown"


def test_torchvision_is_imported_though_its_operators_do_not_load(tmp_path):
    """A stand-in that asks for the operator as torchvision does; it is imported without tunewise first."""
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text("import torch\ntorch.library.register_fake('torchvision::nms')(print)\n")
    (package / "_C.so").write_bytes(b"no library")
    code = (
        "import sys\n"
        "try:\n    import torchvision\n    sys.exit('it was imported without the operators')\n"
        "except RuntimeError as problem:\n    assert 'does not exist' in str(problem), problem\n"
        "import tunewise, torchvision, torch\n"
        "assert torch.ops.torchvision.nms\n"
        "from tunewise.models.torchvision_operators import provide_operators\n"
        "from pathlib import Path\n"
        "assert provide_operators(Path(torchvision.__file__).parent) is False, 'they are there by now'\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": f"{tmp_path}:{Path.cwd()}"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]


# ---------------------------------------------------------------- with timm

NETS = {
    "vgg11_bn": (32, {"mlp_ratio": 0.01}, "features.4", "pre_logits", {"head.fc"}, "timm-vgg"),
    "inception_v3": (75, {}, "Conv2d_2a_3x3", "Mixed_7c", {"fc"}, "timm-inception"),
    "resnet18": (64, {}, "layer1.0", "layer4.1", {"fc"}, "timm-resnet"),
}


@pytest.mark.slow
@pytest.mark.skipif(not TIMM, reason="timm is not installed (the extra 'vision')")
@pytest.mark.parametrize("name", NETS)
def test_folders_of_timm_are_loaded_and_mapped(name, tmp_path):
    """A folder as timm publishes it, for 10 classes: the rest of the weights, and the outputs of the part below the
    output layer, are timm's own."""
    import timm

    size, options, first, last, head, family = NETS[name]
    torch.manual_seed(0)
    model = timm.create_model(name, pretrained=False, num_classes=10, **options).eval()
    folder = tmp_path / name
    folder.mkdir()
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, folder / "model.safetensors")
    described = {"architecture": name, "num_classes": 10, "num_features": model.num_features, "model_args": options}
    described["pretrained_cfg"] = {"input_size": [3, size, size], "num_classes": 10}
    (folder / "config.json").write_text(json.dumps(described))
    net = load(folder)
    assert net.map.family == family and net.map.modality == "image"
    paths = [block.path.removeprefix("timm_model.") for block in net.map.blocks]
    assert paths[0] == first and paths[-1] == last
    assert {tensor.name.rpartition(".")[0].removeprefix("timm_model.") for tensor in net.map.head} == head
    pixels = torch.rand(2, 3, size, size)
    with torch.no_grad():
        ours = net.model.timm_model.forward_features(pixels)
        assert torch.equal(ours, model.forward_features(pixels))
        assert net.model(pixel_values=pixels).logits.shape == (2, 3)


@pytest.mark.slow
@pytest.mark.skipif(not TIMM, reason="timm is not installed (the extra 'vision')")
@pytest.mark.parametrize("mode", ["center", "squash", "border"])
def test_images_are_read_as_the_standard_tool_reads_them_for_a_model_of_timm(mode, tmp_path):
    """It reads the transform from the model's configuration, whatever file of a processor lies beside it."""
    from transformers import AutoImageProcessor

    from tunewise.conformance.models import make_folder
    from tunewise.models.processor import load_processor

    folder = make_folder("timm-vgg", tmp_path / "model")
    described = json.loads((folder / "config.json").read_text())
    described["pretrained_cfg"] = {
        "input_size": [3, 32, 48],
        "crop_pct": 0.8,
        "crop_mode": mode,
        "mean": [0.1, 0.2, 0.3],
    }
    (folder / "config.json").write_text(json.dumps(described))
    located = locate(str(folder), tmp_path, reads_text=False)
    processor, notes = load_processor(located, SimpleNamespace(pretrained_cfg=described["pretrained_cfg"]))
    theirs = AutoImageProcessor.from_pretrained(folder)
    assert notes == []
    for size in ((131, 97), (33, 200), (40, 40)):
        pixels = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
        made = processor.geometry(Image.fromarray(pixels))
        assert made.dtype == np.uint8
        ours = made * processor.scale_C[:, None, None] + processor.shift_C[:, None, None]
        expected = theirs([Image.fromarray(pixels)], return_tensors="pt")["pixel_values"][0].numpy()
        assert np.abs(ours - expected).max() < 1e-6
