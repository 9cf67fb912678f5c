from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from importlib.util import find_spec
from itertools import groupby
from typing import get_args

import pytest
from pydantic import ValidationError
from signals_bench import signals_for

from tunewise.config.base import Config
from tunewise.engine.apply import insert
from tunewise.errors import MethodError, RecipeError
from tunewise.methods import METHODS, find_method
from tunewise.methods.base import Group
from tunewise.models.blocks import named_tensors
from tunewise.models.load import load_net
from tunewise.models.locate import locate
from tunewise.types import Plan, Schema

TEXT_METHODS = [
    name for name, method in METHODS.items() if "text" in method.modalities and all(map(find_spec, method.packages))
]
SCHEMA = Schema("classification", ("message",), "label", ("a", "b", "c"))
FAMILIES = ["bert", "roberta", "distilbert", "gpt2", "llama", "modernbert", "deberta-v2", "electra", "mpnet", "t5"]


def net_of(folder):
    return load_net(locate(str(folder), folder), SCHEMA)


def test_the_methods_are_those_of_the_documentation_in_order_of_what_they_train():
    assert list(METHODS) == [
        "features",
        "head",
        "last_k",
        "blocks",
        "chosen_blocks",
        "attention",
        "feed_forward",
        "pattern",
        "full",
        "layerwise",
        "gradual",
        "ulmfit",
        "chain_thaw",
        "lp_ft",
        "norms",
        "output_norm",
        "fisher_norms",
        "bitfit",
        "adaptive",
        "lora",
        "lora_plus",
        "dora",
        "pissa",
        "vera",
        "oft",
        "ia3",
        "qlora",
        "prompt_tuning",
        "p_tuning",
        "prefix_tuning",
        "visual_prompt",
        "adapter",
        "mlp_head",
        "inserted_blocks",
        "ladder",
        "scratch",
    ]
    assert [name for name, method in METHODS.items() if method.control] == ["scratch"]
    groups = [group for group, _ in groupby(METHODS.values(), key=lambda method: method.group)]
    assert groups == [group for group in get_args(Group) if group != "others"]


@pytest.mark.parametrize("name", METHODS)
def test_a_method_says_what_it_is(name):
    method = METHODS[name]
    assert method.name == name and name.islower()
    assert len(method.trains) > 10 and len(method.__doc__) > 20
    assert any(year in method.source for year in map(str, range(2015, 2030))), method.source
    assert method.handover in ("transformers", "peft", "tunewise")
    assert method.group in get_args(Group) and method.group != "others"
    assert (method.group == "controls") == method.control
    assert issubclass(method.Config, Config)
    assert all(field.description for field in method.Config.model_fields.values())


@pytest.mark.parametrize("name", METHODS)
def test_options_are_strict(name):
    config = METHODS[name].Config
    assert config() == config.model_validate({})
    for wrong in (
        {"nonsuch": 1},
        {"learning_rate": 0},
        {"learning_rate": -1e-3},
        {"learning_rate": float("nan")},
        {"learning_rate": True},
        {"learning_rate": "fast"},
    ):
        with pytest.raises(ValidationError):
            config.model_validate(wrong)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("last_k", {"k": 0}),
        ("layerwise", {"decay": 0}),
        ("layerwise", {"decay": 1.1}),
        ("layerwise", {"rule": "x"}),
        ("gradual", {"over": 0}),
        ("gradual", {"over": 1.5}),
        ("gradual", {"every": "step"}),
        ("adaptive", {"rho": 1 / 3}),
        ("adaptive", {"rho": 1.1}),
        ("adaptive", {"interval": 0}),
        ("fisher_norms", {"share": 0}),
        ("fisher_norms", {"batches": 0}),
        ("chosen_blocks", {"k": 0}),
        ("chosen_blocks", {"metric": "loss"}),
        ("chosen_blocks", {"direction": "up"}),
        ("ulmfit", {"divisor": 0.5}),
        ("chain_thaw", {"probe_share": 0.5, "all_share": 0.5}),
        ("lp_ft", {"probe_share": 1}),
        ("lp_ft", {"probe_rate": 0}),
        ("blocks", {"blocks": "top"}),
        ("blocks", {"blocks": []}),
        ("attention", {"count": 0}),
        ("feed_forward", {"head_rate": 0}),
        ("pattern", {"train": []}),
        ("pattern", {"train": {}}),
        ("pattern", {"train": {"*": 0}}),
        ("pattern", {"train": "*"}),
        ("prompt_tuning", {"tokens": 0}),
        ("prompt_tuning", {"init": "zeros"}),
        ("prompt_tuning", {"init": "text"}),
        ("prompt_tuning", {"text": "topics"}),
        ("p_tuning", {"encoder": "gru"}),
        ("p_tuning", {"hidden": 0}),
        ("prefix_tuning", {"tokens": 0}),
        ("prefix_tuning", {"hidden": 8}),
        ("prefix_tuning", {"init": "vocabulary", "reparametrise": True}),
        ("visual_prompt", {"depth": "middle"}),
        ("lora", {"rank": 0}),
        ("lora", {"alpha": 0}),
        ("lora", {"dropout": 1}),
        ("lora", {"targets": "everything"}),
        ("lora", {"targets": []}),
        ("lora_plus", {"ratio": 0.5}),
        ("pissa", {"iterations": 0}),
        ("vera", {"rank": 0}),
        ("vera", {"initial": 0}),
        ("vera", {"projection_seed": -1}),
        ("oft", {"block_size": 1}),
        ("oft", {"terms": 1}),
        ("ia3", {"targets": "all-linear"}),
        ("qlora", {"merge": True}),
        ("adapter", {"size": 0}),
        ("adapter", {"scale": 0}),
        ("mlp_head", {"layers": 1, "width": 8}),
        ("inserted_blocks", {"count": 0}),
        ("ladder", {"reduction": 0}),
        ("adapter", {"placement": "attention"}),
        ("adapter", {"activation": "tanh"}),
        ("features", {"pooling": "max"}),
        ("features", {"classifier": "forest"}),
        ("features", {"strength": 0}),
    ],
)
def test_wrong_options_of_each_method(name, options):
    with pytest.raises(ValidationError):
        METHODS[name].Config.model_validate(options)


def test_an_unknown_method_names_the_nearest():
    with pytest.raises(RecipeError, match="there is no method 'layer_wise'") as caught:
        find_method("layer_wise")
    assert caught.value.fix.startswith("did you mean 'layerwise'?") and "scratch" in caught.value.fix
    with pytest.raises(RecipeError) as caught:
        find_method("qwertyuiop")
    assert caught.value.fix.startswith("The methods are: features,")


@pytest.mark.parametrize(("family", "blocks"), [("bert", 12), *((family, 4) for family in FAMILIES)])
def test_a_plan_for_every_family_matches_each_tensor_at_most_once_and_is_plain_data(family, blocks, tiny_model):
    net = net_of(tiny_model(family, blocks))
    for name, kind in METHODS.items():
        method = kind(kind.Config())
        try:
            first = method.plan(net.map, signals_for(method, net.map))
            whole = net_of(tiny_model(family, blocks)) if first.inserts else net
            insert(replace(first, reset=()), whole, 0)
        except MethodError as refused:  # such as BitFit for a Llama without biases
            assert refused.fix == f"take the method '{refused.instead}'" and refused.instead in METHODS
            continue
        for step in (0, 50, 99):
            plan = method.plan(net.map, signals_for(method, net.map, step))
            assert Plan.from_dict(plan.as_dict()) == plan
            assert Plan.from_dict(json.loads(json.dumps(plan.as_dict()))) == plan
            assert f"learning_rate={plan.learning_rate}" in repr(plan)
        names = list(named_tensors(whole.model))
        counts = Counter(tensor for tensor in names for rule in plan.rules if rule.matches(tensor))
        assert max(counts.values(), default=0) <= 1, name
        assert all(any(rule.matches(tensor) for tensor in names) for rule in plan.rules), name
        assert bool(counts) == (plan.solver.name == "gradient"), name


@pytest.mark.parametrize("name", [name for name in TEXT_METHODS if name != "features"])
def test_a_learning_rate_from_the_recipe_is_taken_as_it_is(name, tiny_bert):
    net = net_of(tiny_bert)
    method = METHODS[name](METHODS[name].Config(learning_rate=1.25e-4))
    plan = method.plan(net.map, signals_for(method, net.map))
    assert plan.learning_rate == 1.25e-4


def test_features_has_no_learning_rate_to_give():
    with pytest.raises(ValidationError):
        METHODS["features"].Config.model_validate({"learning_rate": 1e-3})


def test_default_learning_rates(tiny_bert):
    """Full fine-tuning at the widths of known models is what their papers took; methods that train less take more."""
    model = net_of(tiny_bert).map
    full = METHODS["full"].default_learning_rate
    at = {width: full(replace(model, width=width)) for width in (1024, 768, 384, 256, 32)}
    assert at[768] == pytest.approx(5e-5)
    assert 2e-5 <= at[1024] <= 3e-5 and 1e-4 <= at[384] <= 3e-4 and at[32] <= 5e-4
    assert sorted(at.values()) == list(at.values())
    rates = {name: METHODS[name].default_learning_rate(model) / at[32] for name in METHODS if name != "features"}
    assert rates["full"] == 1 and rates["lora"] >= 5 and rates["adapter"] >= 5 and rates["head"] >= 10
    assert all(1 <= rates[name] <= 5 for name in ("last_k", "layerwise", "gradual", "scratch"))
