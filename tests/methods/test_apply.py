"""A plan in a model: what trains, what runs in eval mode, what a stored plan may call."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tunewise.engine.apply import choose_trained, frozen_blocks, insert
from tunewise.errors import MethodError
from tunewise.methods import METHODS
from tunewise.models.load import load_net
from tunewise.models.locate import locate
from tunewise.types import ModuleInsert, PeftInsert, Plan, Rule, Schema, Signals

SCHEMA = Schema("classification", ("message",), "label", ("a", "b", "c"))


def net_of(folder):
    return load_net(locate(str(folder), folder), SCHEMA)


def apply(net, name: str, **options) -> set[str]:
    plan = METHODS[name](METHODS[name].Config(**options)).plan(net.map, Signals())
    insert(plan, net, 0)
    return {tensor.name for tensor in choose_trained(plan, net)}


def eval_modules(net) -> set[str]:
    """Paths of modules in eval mode whose parents are not."""
    paths = {path for path, module in net.model.named_modules() if not module.training}
    return {path for path in paths if path.rpartition(".")[0] not in paths}


def test_gradients_are_asked_for_where_a_rule_matches_and_nowhere_else(tiny_bert):
    net = net_of(tiny_bert)
    names = apply(net, "last_k", k=1)
    assert {name for name, parameter in net.model.named_parameters() if parameter.requires_grad} == names


def test_the_first_rule_that_matches_decides_and_decay_of_embeddings_is_off(tiny_bert):
    net = net_of(tiny_bert)
    plan = Plan((Rule("*.layer.3.*", 0.5, 0.25), Rule("*.layer.*", 0.1), Rule("*embeddings*"), Rule("*")), 1.0)
    tensors = {tensor.name: tensor for tensor in choose_trained(plan, net)}
    assert tensors["bert.encoder.layer.3.output.dense.weight"].lr_scale == 0.5
    assert tensors["bert.encoder.layer.3.output.dense.weight"].weight_decay == 0.25
    assert tensors["bert.encoder.layer.2.output.dense.weight"].lr_scale == 0.1
    assert tensors["bert.encoder.layer.2.output.dense.weight"].weight_decay is None
    assert tensors["bert.embeddings.word_embeddings.weight"].weight_decay == 0.0
    assert tensors["classifier.weight"].lr_scale == 1.0


def test_a_plan_that_trains_nothing(tiny_bert):
    with pytest.raises(MethodError, match="trains nothing in a 'bert' model") as caught:
        choose_trained(Plan((Rule("nonsuch.*"),), 1e-3), net_of(tiny_bert))
    assert caught.value.where == "nonsuch.*"


@pytest.mark.parametrize(
    ("family", "k", "still"),
    [
        ("bert", 1, {"bert.embeddings", *(f"bert.encoder.layer.{n}" for n in range(3))}),
        ("bert", 4, set()),
        ("gpt2", 2, {"transformer.wte", "transformer.wpe", "transformer.drop", "transformer.h.0", "transformer.h.1"}),
        ("distilbert", 3, {"distilbert.embeddings", "distilbert.transformer.layer.0"}),
        (
            "deberta-v2",
            3,
            {
                "deberta.embeddings",
                "deberta.encoder.layer.0",
                "deberta.encoder.rel_embeddings",
                "deberta.encoder.LayerNorm",
            },
        ),
        ("mpnet", 3, {"mpnet.embeddings", "mpnet.encoder.relative_attention_bias", "mpnet.encoder.layer.0"}),
        # T5's decoder: the whole encoder stands still; blocks of the encoder: those below, and nothing of the decoder.
        ("t5", 4, {"transformer.shared", "transformer.encoder", "transformer.decoder.embed_tokens"}),
        (
            "t5",
            6,
            {
                "transformer.shared",
                "transformer.encoder.embed_tokens",
                "transformer.encoder.block.0",
                "transformer.encoder.block.1",
            },
        ),
    ],
)
def test_the_frozen_prefix_is_in_eval_mode_and_the_rest_trains(tiny_model, family, k, still):
    net = net_of(tiny_model(family))
    apply(net, "last_k", k=k)
    kept = eval_modules(net)
    holding = {path for path in kept if next(net.model.get_submodule(path).parameters(), None) is not None}
    assert still <= kept and holding <= still


def test_the_prefix_gives_the_same_in_training_as_in_evaluation(tiny_bert):
    net = net_of(tiny_bert)
    apply(net, "last_k", k=1)
    seen: list[torch.Tensor] = []
    below = net.model.get_submodule("bert.encoder.layer.2")
    below.register_forward_hook(lambda module, inputs, output: seen.append(output))
    ids = torch.tensor([[2, 7, 8, 9, 3]])
    net.model(input_ids=ids)
    logits = net.model(input_ids=ids).logits
    net.model.eval()
    net.model(input_ids=ids)
    assert torch.equal(seen[0], seen[1]) and torch.equal(seen[1], seen[2])
    assert not torch.equal(logits, net.model(input_ids=ids).logits)  # dropout above


@pytest.mark.parametrize(
    ("trained", "depth"),
    [
        (["classifier.weight"], 4),
        (["bert.encoder.layer.3.output.dense.bias"], 3),
        (["bert.encoder.layer.1.output.dense.lora_A.weight", "classifier.weight"], 1),
        (["bert.embeddings.LayerNorm.bias", "classifier.weight"], 0),
        (["bert.encoder.layer.0.output.dense.bias"], 0),
    ],
)
def test_depth_of_the_frozen_prefix(tiny_bert, trained, depth):
    model_map = net_of(tiny_bert).map
    assert frozen_blocks(trained, model_map, Plan((), 0.0)) == depth
    virtual = Plan((), 0.0, inserts=(PeftInsert("PromptTuningConfig", {}, positions=8),))
    assert frozen_blocks(trained, model_map, virtual) == 0


def test_the_full_model_has_no_prefix(tiny_bert):
    net = net_of(tiny_bert)
    apply(net, "full")
    assert eval_modules(net) == set()


@pytest.mark.parametrize(
    "build",
    [
        "os:system",
        "tunewise.methods.adapter:nonsuch",
        "tunewise.methods.adapter:MethodError",
        "builtins:print",
        "tunewise.methods.lora:Field",
        "tunewise.methods.adapter",
        "tunewise.engine.apply:insert",
        ":",
        "",
    ],
)
def test_a_stored_plan_can_call_nothing_but_functions_of_methods(tiny_bert, build):
    net = net_of(tiny_bert)
    plan = Plan((), 1.0, inserts=(ModuleInsert(build, ("classifier",), {}),))
    with pytest.raises(MethodError, match="is not a function of a method"):
        insert(plan, net, 0)


def test_what_peft_cannot_do_is_said(tiny_bert):
    net = net_of(tiny_bert)
    plan = METHODS["lora"](METHODS["lora"].Config()).plan(net.map, Signals())
    (lora,) = plan.inserts
    wrong = replace(plan, inserts=(replace(lora, options={**lora.options, "target_modules": ["nonsuch"]}),))
    with pytest.raises(MethodError, match="peft cannot put LoraConfig into a 'bert' model"):
        insert(wrong, net, 0)


def test_a_stored_plan_can_name_only_configurations_of_peft(tiny_bert: Path, tmp_path: Path) -> None:
    net = load_net(locate(str(tiny_bert), tmp_path), Schema("regression", ("t",), "y"))
    plan = Plan(rules=(Rule("*"),), learning_rate=0.1, inserts=(PeftInsert("get_peft_model", {}),))
    with pytest.raises(MethodError, match="not a configuration of peft"):
        insert(plan, net, seed=0)
