from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from additive_bench import batch_of, logits_of, net_of, plan_of, put, sizes_of, tiny_vit
from pydantic import ValidationError
from torch import nn

from tunewise.errors import MethodError
from tunewise.methods import METHODS
from tunewise.methods.mlp_head import with_new_layers
from tunewise.models.blocks import named_tensors

OUTPUT_LAYERS = {
    "bert": "classifier",
    "roberta": "classifier.out_proj",
    "distilbert": "classifier",
    "modernbert": "classifier",
    "gpt2": "score",
    "llama": "score",
    "t5": "classification_head.out_proj",
    "deberta-v2": "classifier",
    "electra": "classifier.out_proj",
    "albert": "classifier",
}


@pytest.mark.parametrize("family", OUTPUT_LAYERS)
def test_it_stands_before_the_output_layer(family, tiny_model):
    assert plan_of(net_of(tiny_model(family)), "mlp_head").inserts[0].where == (OUTPUT_LAYERS[family],)


def test_images():
    net = tiny_vit()
    put(net, "mlp_head")
    assert isinstance(net.model.classifier.new_layers, nn.Sequential) and logits_of(net).shape == (3, 3)


@pytest.mark.parametrize("activation", ["gelu", "relu", "tanh"])
def test_the_outputs_are_what_the_formula_says(activation):
    torch.manual_seed(0)
    layer = nn.Linear(6, 3)
    wrapped = with_new_layers(layer, layers=3, width=5, activation=activation, dropout=0.5).eval()
    act = {"gelu": nn.GELU(), "relu": torch.relu, "tanh": torch.tanh}[activation]
    hidden = expected = torch.randn(4, 6)
    for place in (0, 3, 6):
        expected = act(expected @ wrapped.new_layers[place].weight.T + wrapped.new_layers[place].bias)
    torch.testing.assert_close(wrapped(hidden), expected @ layer.weight.T + layer.bias)
    assert wrapped.weight is layer.weight


def test_dropout_acts_in_training_only():
    torch.manual_seed(0)
    hidden = torch.randn(4, 6)
    wrapped = with_new_layers(nn.Linear(6, 3), layers=1, width=None, activation="relu", dropout=0.5)
    assert not torch.equal(wrapped.train()(hidden), wrapped(hidden))
    assert torch.equal(wrapped.eval()(hidden), wrapped(hidden))
    sure = with_new_layers(nn.Linear(6, 3), layers=1, width=None, activation="relu", dropout=0.0).train()
    assert torch.equal(sure(hidden), sure(hidden))


@pytest.mark.parametrize(
    ("options", "widths"),
    [
        ({}, [32, 32, 32]),
        ({"layers": 1}, [32, 32]),
        ({"layers": 3, "width": 7}, [32, 7, 7, 32]),
        ({"width": 100}, [32, 100, 32]),
    ],
)
def test_how_many_parameters_it_has(options, widths, tiny_bert):
    net = net_of(tiny_bert)
    trained = put(net, "mlp_head", **options)
    assert sizes_of(net, ".new_layers.") == sum(before * after + after for before, after in pairwise(widths))
    new = {name for name in trained if ".new_layers." in name}
    assert len(new) == 2 * (len(widths) - 1)
    assert trained - new == {tensor.name for tensor in net.map.head}


def test_the_model_below_stays_in_eval_mode_but_for_blocks_that_train(tiny_bert):
    net = net_of(tiny_bert)
    put(net, "mlp_head")
    assert not any(module.training for module in net.model.bert.encoder.layer)
    put(net_again := net_of(tiny_bert), "mlp_head", unfreeze=1)
    assert [module.training for module in net_again.model.bert.encoder.layer] == [False, False, False, True]
    logits = net.model(**batch_of(net)).logits
    logits.sum().backward()
    assert all(tensor.grad is None for name, tensor in named_tensors(net.model).items() if ".layer." in name)


def test_blocks_train_too_where_asked_at_a_lower_rate(tiny_model):
    net = net_of(tiny_model("t5"))
    plan = plan_of(net, "mlp_head", unfreeze=2, unfreeze_rate=0.3)
    scales = {
        block.path: {rule.lr_scale if (rule := plan.rule_for(tensor.name)) else None for tensor in block.tensors}
        for block in net.map.blocks
    }
    assert [scales[block.path] for block in net.map.blocks] == [{None}] * 6 + [{0.3}] * 2
    assert all(plan.rule_for(tensor.name).lr_scale == 1.0 for tensor in net.map.head)
    assert plan_of(net, "mlp_head", unfreeze=8).rule_for(net.map.blocks[0].tensors[0].name) is not None
    with pytest.raises(MethodError, match="unfreeze is 9, but the model has 8 blocks") as caught:
        plan_of(net, "mlp_head", unfreeze=9)
    assert caught.value.fix == "set unfreeze between 0 and 8"


def test_its_output_before_the_first_step_is_another(tiny_bert):
    net = net_of(tiny_bert)
    before = logits_of(net)
    put(net, "mlp_head")
    assert not METHODS["mlp_head"].starts_unchanged and not torch.allclose(logits_of(net), before)


@pytest.mark.parametrize(
    "options",
    [
        {"layers": 0},
        {"width": 0},
        {"layers": 1, "width": 8},
        {"activation": "sigmoid"},
        {"dropout": 1},
        {"unfreeze": -1},
    ],
)
def test_wrong_options(options):
    with pytest.raises(ValidationError):
        METHODS["mlp_head"].Config.model_validate(options)
