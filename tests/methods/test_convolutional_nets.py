"""What methods do with convolutional nets: which convolutions, and which reason where they refuse."""

from __future__ import annotations

import pytest

from tunewise.conformance.bench import Bench
from tunewise.errors import MethodError
from tunewise.methods import METHODS
from tunewise.types import ModelMap, Signals


@pytest.fixture(scope="module")
def maps(tmp_path_factory: pytest.TempPathFactory):
    made: dict[str, ModelMap] = {}

    def make(family: str) -> ModelMap:
        if family not in made:
            made[family] = Bench.make(family, tmp_path_factory.mktemp(family)).net().map
        return made[family]

    return make


def plan(name: str, model: ModelMap, **options):
    return METHODS[name](METHODS[name].Config(**options)).plan(model, Signals())


def targets(name: str, model: ModelMap, **options) -> list[str]:
    return plan(name, model, **options).inserts[0].options["target_modules"]


@pytest.mark.parametrize("method", ["lora", "lora_plus", "dora"])
def test_low_rank_updates_leave_depthwise_convolutions_alone(method, maps):
    model = maps("mobilenet_v2")
    chosen = targets(method, model)
    assert [block.grouped for block in model.blocks] == [
        (f"{b.path}.conv_3x3.convolution",) for b in model.blocks[:-1]
    ] + [()]
    assert len(chosen) == 2 * 16 + 1 and not any("conv_3x3" in path for path in chosen)


def test_convolutions_are_updated_where_there_is_no_linear_layer_or_by_name(maps):
    convnext = maps("convnext")
    assert {path.rpartition(".")[2] for path in targets("lora", convnext)} == {"pwconv1", "pwconv2"}
    halves = targets("lora", convnext, targets=["downsampling_layer.1"])
    assert halves == ["convnext.encoder.stages.1.downsampling_layer.1"]
    with pytest.raises(MethodError, match="no layer of the model that it can update matches"):
        targets("lora", convnext, targets=["dwconv"])


@pytest.mark.parametrize(
    ("method", "family", "reason"),
    [
        ("vera", "mobilenet_v2", "are convolutions; it needs linear layers"),
        ("oft", "resnet", "are convolutions; it needs linear layers"),
        ("oft", "convnext", "read whole images"),
        ("visual_prompt", "swin", "attends to all patches"),
        ("ladder", "swin", "not all of a 'swin' model do"),
        ("attention", "mobilenet_v2", "attention"),
        ("inserted_blocks", "swin", "cannot tell that each block"),
    ],
)
def test_true_reasons(method, family, reason, maps):
    with pytest.raises(MethodError, match=reason) as caught:
        plan(method, maps(family))
    assert caught.value.instead in METHODS


def test_last_blocks_of_a_mobilenet_are_its_last_convolution_and_the_residual_block_before_it(maps):
    model = maps("mobilenet_v2")
    named = {rule.pattern for rule in plan("last_k", model, k=2).rules}
    assert {"mobilenet_v2.layer.15.*", "mobilenet_v2.conv_1x1.*", "classifier.weight", "classifier.bias"} == named


def test_layers_of_stages_have_rates_of_their_own_by_beits_rule(maps):
    model = maps("swin")
    scales = {rule.pattern: rule.lr_scale for rule in plan("layerwise", model, decay=0.5, head_rate=1.0).rules}
    assert [scales[f"{block.path}.*"] for block in model.blocks] == [0.5 ** (5 - n) for n in range(len(model.blocks))]
    assert scales["swin.embeddings.patch_embeddings.projection.weight"] == 0.5**6


def test_a_norm_between_stages_is_not_a_block_to_choose(maps):
    model = maps("convnext")
    norms = [b.index for b in model.blocks if {t.kind for t in b.tensors} == {"norm"}]
    assert norms
    method = METHODS["chosen_blocks"](METHODS["chosen_blocks"].Config(k=len(model.blocks) - len(norms) + 1))
    with pytest.raises(MethodError, match=f"has {len(model.blocks) - len(norms)} blocks"):
        method.plan(model, Signals())
