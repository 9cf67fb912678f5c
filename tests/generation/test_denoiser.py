"""Networks of diffusers as a net: loaded, taken apart, told classes, trained by a step as plain diffusers does it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_pipelines import SIDE, pipeline

from tunewise.data.noise import Drawn, NoisedPixels
from tunewise.data.pixels import Pixels
from tunewise.engine.apply import frozen_blocks, insert, prefix_modules
from tunewise.engine.drawing import Drawer, noise_of
from tunewise.errors import MethodError, ModelError, RecipeError
from tunewise.methods import METHODS
from tunewise.models.cost import watch_flops
from tunewise.models.diffusion import SPREAD_OF_NEW
from tunewise.models.load import Net, fresh_model, load_net
from tunewise.models.locate import locate
from tunewise.models.pipeline_folder import FAMILY
from tunewise.objectives.denoising import Denoising
from tunewise.objectives.settings import ObjectiveConfig
from tunewise.types import DataBundle, Plan, Rule, Schema, Signals

SCHEMA = Schema("image_generation", (), "", image="image")
DIGITS = Schema("image_generation", (), "label", tuple(map(str, range(10))), image="image")


def net_of(folder: Path, schema: Schema = SCHEMA, **options) -> Net:
    return load_net(locate(str(folder), Path(), reads_text=False), schema, **options)


def objective(schema: Schema = SCHEMA, **options) -> Denoising:
    config = ObjectiveConfig(**({"denoising": options} if options else {}))
    return Denoising(config, DataBundle({}, schema, (), ""))


def inputs(net: Net, count: int = 4, classes: bool = False, gamma: float | None = None) -> NoisedPixels:
    stored = np.random.default_rng(0).integers(0, 256, (count, *net.processor.shape), dtype=np.uint8)
    pixels = Pixels(stored, net.processor.scale_C, net.processor.shift_C)
    classes_N = np.arange(count) if classes else None
    return NoisedPixels(pixels, classes_N, net.noise, Drawn(0, 0), gamma)


def test_the_map_follows_the_forward_pass(base):
    net = net_of(base)
    paths = [block.path for block in net.map.blocks]
    names = ("down_blocks.0", "down_blocks.1", "mid_block", "up_blocks.0", "up_blocks.1")
    assert paths == [f"unet.{name}" for name in names]
    order = []
    handles = [
        net.model.get_submodule(path).register_forward_pre_hook(lambda module, args, path=path: order.append(path))
        for path in paths
    ]
    net.model(torch.zeros(1, 1, SIDE, SIDE), torch.zeros(1, dtype=torch.int64))
    for handle in handles:
        handle.remove()
    assert order == paths
    named = [tensor.name for tensor in net.map.tensors]
    assert sorted(named) == sorted(name for name, _ in net.model.named_parameters())
    assert (net.map.family, net.map.width, net.map.has_pretrained_head) == (FAMILY, 32, True)
    assert {tensor.name.split(".")[1] for tensor in net.map.head} == {"conv_norm_out", "conv_out"}
    kinds = {tensor.name: tensor.kind for tensor in net.map.tensors}
    inside = "unet.down_blocks.1"
    assert kinds[f"{inside}.attentions.0.to_q.weight"] == "attention"
    assert kinds[f"{inside}.attentions.0.group_norm.weight"] == kinds[f"{inside}.resnets.0.norm1.bias"] == "norm"
    assert kinds[f"{inside}.resnets.0.conv1.weight"] == "conv"
    assert kinds[f"{inside}.resnets.0.conv1.bias"] == "bias"


def test_lora_goes_to_the_projections_of_attention(base):
    net = net_of(base)
    method = METHODS["lora"](METHODS["lora"].Config())
    layers = method.layers(net.map)
    assert {layer.rsplit("attentions.", 1)[1][2:] for layer in layers} == {"to_q", "to_k", "to_v", "to_out.0"}
    assert len(layers) == 4 * 4  # one attention below, one in the middle, two above
    plain = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2, "add_attention": False}
    bare = pipeline(base.parent / "bare", **plain)
    assert all(".conv" in layer or "sampl" in layer for layer in method.layers(net_of(bare).map))


def test_the_frozen_part_is_embedding_and_blocks_below(base):
    net = net_of(base)
    plan = Plan(rules=(Rule("unet.up_blocks.*"),), learning_rate=1e-3)
    trained = [tensor.name for tensor in net.map.blocks[3].tensors]
    assert frozen_blocks(trained, net.map, plan) == 3
    inside = {name for name, module in net.model.named_modules() for one in prefix_modules(net, 3) if one is module}
    wanted = {"conv_in", "time_embedding", "down_blocks.0", "down_blocks.1", "mid_block"}
    assert inside == {f"unet.{name}" for name in wanted}


def test_flops_are_those_that_torch_counts(base):
    from torch.utils.flop_counter import FlopCounterMode

    net = net_of(base)
    read = {"pixel_values": torch.randn(2, 1, SIDE, SIDE), "timestep": torch.tensor([3, 50])}
    with watch_flops(net.model, net.map) as flops:
        net.model(**read).sum().backward()
    with FlopCounterMode(display=False) as counter:
        net.model(**read)
    assert flops.forward(2, 1) == pytest.approx(counter.get_total_flops(), rel=0.02)


def test_norms_at_the_border_of_the_frozen_part_read_images_in_order(base):
    """Where they do not, torch 2.13 ends the process in the backward pass."""
    net, read = net_of(base), {}
    for name, parameter in net.model.named_parameters():
        parameter.requires_grad_(name.startswith(("unet.up_blocks.", "unet.conv_out.", "unet.conv_norm_out.")))
    for name in ("mid_block", "up_blocks.0"):
        norm = net.model.get_submodule(f"unet.{name}.resnets.0.norm1")
        norm.register_forward_pre_hook(lambda module, args, name=name: read.update({name: args[0].is_contiguous()}))
    loss = objective().outputs(net.model, inputs(net).batch([0, 1])).sum()
    assert read == {"mid_block": False, "up_blocks.0": True}  # below, nothing is changed
    loss.backward()


@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v_prediction"])
def test_the_loss_is_that_of_a_plain_training_step_of_diffusers(prediction, tmp_path):
    import diffusers

    folder = pipeline(tmp_path / "model", prediction)
    net = net_of(folder)
    read = inputs(net)
    batch = read.batch([0, 1, 2, 3])
    loss = objective().loss(objective().outputs(net.model, batch), torch.zeros(4)).mean
    loss.backward()
    network = diffusers.UNet2DModel.from_pretrained(folder, subfolder="unet")
    scheduler = diffusers.DDPMScheduler.from_pretrained(folder, subfolder="scheduler")
    images = torch.from_numpy(read.pixels.stored).float() / 127.5 - 1
    noise = torch.from_numpy(np.stack([Drawn(0, 0).noise(row, (1, SIDE, SIDE)) for row in range(4)]))
    steps = batch["timestep"]
    wanted = {"epsilon": noise, "sample": images, "v_prediction": scheduler.get_velocity(images, noise, steps)}
    said = network(scheduler.add_noise(images, noise, steps), steps).sample
    theirs = torch.nn.functional.mse_loss(said, wanted[prediction])
    theirs.backward()
    assert float(loss.detach()) == pytest.approx(float(theirs.detach()), rel=1e-5)
    gradients = dict(network.named_parameters())
    for name, parameter in net.model.unet.named_parameters():
        assert torch.allclose(parameter.grad, gradients[name].grad, rtol=1e-3, atol=1e-6), name


def test_min_snr_weighs_the_loss_and_leaves_the_error(base):
    net = net_of(base)
    batch = inputs(net, gamma=5.0).batch([0, 1, 2, 3])
    snr = net.noise.alphas_T[batch["timestep"]] / (1 - net.noise.alphas_T[batch["timestep"]])
    numbers = objective(snr_gamma=5.0).outputs(net.model, batch).detach()
    assert torch.allclose(numbers[:, 1] / numbers[:, 0], torch.from_numpy(np.minimum(snr, 5.0) / snr), rtol=1e-4)
    assert (batch["weight"] < 1).any()


def test_classes_keep_what_the_base_knows_and_draw_the_rest(base, of_classes):
    known, plain = net_of(of_classes, DIGITS), net_of(base, DIGITS)
    old = known.model.unet.class_embedding.weight
    assert all(tensor.pretrained for tensor in known.map.tensors) and not known.notes
    some = Schema("image_generation", (), "label", ("3", "cat"), image="image")
    net = net_of(of_classes, some)
    new = net.model.unet.class_embedding.weight
    assert torch.equal(new[0], old[3]) and new[1].std() < 3 * SPREAD_OF_NEW
    drawn = [tensor.name for tensor in net.map.tensors if not tensor.pretrained]
    assert drawn == ["unet.class_embedding.weight"]
    assert any("1 of 2 classes are new: cat" in note for note in net.notes)
    assert any("9 classes that no row has are left out" in note for note in net.notes)
    assert plain.model.unet.class_embedding.weight.shape == (10, 64)
    without = net_of(of_classes)
    assert without.model.unet.class_embedding is None and any("left out" in note for note in without.notes)
    plan = METHODS["lora"](METHODS["lora"].Config()).plan(plain.map, Signals(task="image_generation"))
    assert plan.rule_for("unet.class_embedding.weight") is not None


def test_a_fresh_model_has_the_same_form_and_other_weights(of_classes):
    net = net_of(of_classes, Schema("image_generation", (), "label", ("a", "b"), image="image"))
    fresh = fresh_model(net, seed=1)
    shapes = {name: value.shape for name, value in net.model.state_dict().items()}
    assert {name: value.shape for name, value in fresh.state_dict().items()} == shapes
    assert not torch.equal(fresh.unet.conv_in.weight, net.model.unet.conv_in.weight)
    insert(Plan(rules=(), learning_rate=0.0, reset=("*",)), net, seed=1)
    assert torch.equal(fresh.unet.conv_in.weight, net.model.unet.conv_in.weight)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_what_is_drawn_is_what_the_pipeline_of_diffusers_draws(prediction, tmp_path):
    from diffusers import DDIMPipeline

    folder = pipeline(tmp_path / "model", prediction, name="DDIM")
    theirs = DDIMPipeline.from_pretrained(folder)
    theirs.set_progress_bar_config(disable=True)
    images = theirs(batch_size=3, num_inference_steps=7, generator=torch.manual_seed(5), output_type="np").images
    noise = torch.randn((3, 1, SIDE, SIDE), generator=torch.manual_seed(5)).numpy()
    ours = Drawer(net_of(folder), steps=7, batch_size=2).denoised(noise, None)
    assert np.allclose((ours / 2 + 0.5).clip(0, 1).transpose(0, 2, 3, 1), images, atol=1e-5)
    assert images.std() > 0.1


def test_an_image_begins_as_its_number_says(base):
    one, all_of = (noise_of(np.array(numbers), (1, 4, 4), 3) for numbers in ([5], [0, 5, 9]))
    assert np.array_equal(one[0], all_of[1])
    assert not np.array_equal(one, noise_of(np.array([5]), (1, 4, 4), 4))
    with pytest.raises(RecipeError, match="101 steps of denoising are more than the 100 timesteps"):
        Drawer(net_of(base), steps=101)


def spoilt(tmp_path: Path, file: str, **changes) -> Path:
    folder = pipeline(tmp_path / "model")
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder


REFUSED = {
    "another pipeline": ("model_index.json", {"_class_name": "StableDiffusionPipeline"}, "can be trained"),
    "a pipeline with code": ("model_index.json", {"_class_name": ["pipe", "Mine"]}, "is code of its own"),
    "a network with code": ("model_index.json", {"unet": ["my_unet", "UNet2DModel"]}, "the unet of this pipeline is"),
    "another part": ("model_index.json", {"vqvae": ["diffusers", "VQModel"]}, "does not have: vqvae"),
    "scheduler": ("scheduler/scheduler_config.json", {"prediction_type": "flow"}, "prediction_type is 'flow'"),
    "timesteps": ("scheduler/scheduler_config.json", {"num_train_timesteps": 10**9}, "are believed"),
    "channels": ("unet/config.json", {"in_channels": 4, "out_channels": 4}, "reads 4 channels"),
    "variance": ("unet/config.json", {"out_channels": 2}, "predicts more than noise"),
    "no size": ("unet/config.json", {"sample_size": None}, "sample_size is None"),
    "a size of absurdity": ("unet/config.json", {"sample_size": 100_000}, "sample_size is 100000"),
    "other widths": ("unet/config.json", {"block_out_channels": [64, 32]}, "says 64 channels"),
    "depth": ("unet/config.json", {"layers_per_block": 10**6}, "1000000 layers in 2 blocks"),
    "classes": ("unet/config.json", {"num_class_embeds": 5}, "says 5 classes, and the weights hold none"),
    "kind of classes": ("unet/config.json", {"class_embed_type": "timestep"}, "are embedded as 'timestep'"),
}


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_folders_that_are_not_what_they_should_be_are_refused(case, tmp_path):
    file, changes, said = REFUSED[case]
    with pytest.raises(ModelError, match=said) as problem:
        locate(str(spoilt(tmp_path, file, **changes)), tmp_path, reads_text=False)
    assert problem.value.where and problem.value.fix


def test_code_and_pickles_and_links_are_refused(tmp_path):
    folder = pipeline(tmp_path / "model")
    located = lambda: locate(str(folder), tmp_path, reads_text=False)  # noqa: E731
    (folder / "unet" / "my_unet.py").write_text("raise SystemExit")
    with pytest.raises(ModelError, match=r"brings Python code of its own \(unet/my_unet.py\)"):
        located()
    (folder / "unet" / "my_unet.py").unlink()
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    whole = weights.read_bytes()
    weights.rename(folder / "unet" / "diffusion_pytorch_model.bin")
    with pytest.raises(ModelError, match="the weights are a pickle"):
        located()
    weights.write_bytes(whole[:-8])
    with pytest.raises(ModelError, match="should have"):
        located()
    weights.unlink()
    (tmp_path / "elsewhere").write_bytes(whole)
    weights.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ModelError, match="is a link out of the model folder"):
        located()


def test_weights_that_do_not_fit_or_are_not_finite_are_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = pipeline(tmp_path / "model")
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    save_file({name: value for name, value in weights.items() if name != "conv_out.bias"}, file)
    with pytest.raises(ModelError, match=r"conv_out\.bias"):
        net_of(folder)
    save_file(weights | {"conv_out.bias": torch.full((1,), float("nan"))}, file)
    with pytest.raises(ModelError, match=r"NaN or infinity in unet\.conv_out\.bias"):
        net_of(folder)
    save_file(weights, file)
    config = json.loads((folder / "unet" / "config.json").read_text())
    (folder / "unet" / "config.json").write_text(json.dumps(config | {"sample_size": 7}))
    with pytest.raises(ModelError, match="cannot read images of 7x7 pixels"):
        net_of(folder)


def test_methods_for_linear_output_layers_say_no(base):
    with pytest.raises(MethodError, match="it has no linear output layer"):
        METHODS["mlp_head"](METHODS["mlp_head"].Config()).plan(net_of(base).map, Signals(task="image_generation"))
