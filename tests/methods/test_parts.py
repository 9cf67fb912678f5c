"""Parts of models: which half a tensor serves, which blocks an option means."""

from __future__ import annotations

import pytest

from tunewise.errors import MethodError
from tunewise.methods.parts import BlockChoiceConfig, all_rules, half_of, half_tensors, wanted_blocks
from tunewise.models.load import load_net
from tunewise.models.locate import locate
from tunewise.types import ModelMap, Schema

SCHEMA = Schema("classification", ("message",), "label", ("a", "b", "c"))


@pytest.fixture
def map_of(tiny_model):
    def make(family: str, blocks: int = 4) -> ModelMap:
        folder = tiny_model(family, blocks)
        return load_net(locate(str(folder), folder), SCHEMA).map

    return make


def endings(tensors, path: str) -> set[str]:
    return {tensor.name.removeprefix(f"{path}.") for tensor in tensors}


@pytest.mark.parametrize(
    ("family", "block", "attention", "feed_forward"),
    [
        (
            "bert",
            1,
            {
                f"attention.{module}.{end}"
                for module in ("self.query", "self.key", "self.value", "output.dense")
                for end in ("weight", "bias")
            },
            {f"{module}.dense.{end}" for module in ("intermediate", "output") for end in ("weight", "bias")},
        ),
        (
            "gpt2",
            0,
            {f"attn.{module}.{end}" for module in ("c_attn", "c_proj") for end in ("weight", "bias")},
            {f"mlp.{module}.{end}" for module in ("c_fc", "c_proj") for end in ("weight", "bias")},
        ),
        (
            "llama",
            3,
            {f"self_attn.{module}_proj.weight" for module in "qkvo"},
            {f"mlp.{module}_proj.weight" for module in ("gate", "up", "down")},
        ),
        (  # the decoder's second block: attention to itself and to the encoder
            "t5",
            5,
            {
                f"layer.{n}.{half}.{m}.weight"
                for n, half in ((0, "SelfAttention"), (1, "EncDecAttention"))
                for m in "qkvo"
            },
            {f"layer.2.DenseReluDense.{module}.weight" for module in ("wi", "wo")},
        ),
    ],
)
def test_halves_of_a_block(map_of, family, block, attention, feed_forward):
    block = map_of(family).blocks[block]
    assert endings(half_tensors(block, "attention"), block.path) == attention
    assert endings(half_tensors(block, "feed_forward"), block.path) == feed_forward


def test_the_half_that_a_norm_serves(map_of):
    """BERT's stand behind each half, T5's in a module with it; those of Llama stand beside both."""

    def norms(family: str) -> dict[str, str | None]:
        block = map_of(family).blocks[-1]
        return {
            tensor.name.removeprefix(f"{block.path}."): half_of(tensor, block)
            for tensor in block.tensors
            if tensor.kind == "norm" and tensor.name.endswith("weight")
        }

    assert norms("bert") == {
        "attention.output.LayerNorm.weight": "attention",
        "output.LayerNorm.weight": "feed_forward",
    }
    assert norms("t5") == {
        "layer.0.layer_norm.weight": "attention",
        "layer.1.layer_norm.weight": "attention",
        "layer.2.layer_norm.weight": "feed_forward",
    }
    assert norms("llama") == {"input_layernorm.weight": None, "post_attention_layernorm.weight": None}


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        ({}, [0, 1, 2, 3, 4, 5, 6, 7]),
        ({"blocks": "first"}, [0, 1, 2]),  # a third of 8, rounded up
        ({"blocks": "middle"}, [2, 3, 4]),
        ({"blocks": "last"}, [5, 6, 7]),
        ({"blocks": "first", "count": 1}, [0]),
        ({"blocks": "middle", "count": 2}, [3, 4]),
        ({"blocks": "last", "count": 8}, [0, 1, 2, 3, 4, 5, 6, 7]),
        ({"blocks": [6, 0, 6]}, [0, 6]),
    ],
)
def test_wanted_blocks(map_of, options, numbers):
    """T5's 4 and 4 blocks are numbered from the encoder's through the decoder's."""
    model = map_of("t5")
    found = wanted_blocks("blocks", BlockChoiceConfig(**options), model)
    assert [block.index for block in found] == numbers
    names = [f"encoder.block.{n}" for n in range(4)] + [f"decoder.block.{n}" for n in range(4)]
    assert [block.path for block in found] == [f"transformer.{names[number]}" for number in numbers]


@pytest.mark.parametrize(
    ("options", "words", "fix"),
    [
        ({"blocks": "last", "count": 5}, "count is 5, but the model has 4 blocks", "set count between 1 and 4"),
        ({"blocks": [1, 4]}, "there is no block 4; the model has 4", "take numbers from 0 to 3"),
        ({"blocks": [-1]}, "there is no block -1; the model has 4", "take numbers from 0 to 3"),
        (
            {"blocks": [1], "count": 1},
            r"count is 1, but blocks already says which: \[1\]",
            "remove count, or set blocks to first, middle or last",
        ),
        (
            {"count": 2},
            "count is 2, but blocks already says which: all",
            "remove count, or set blocks to first, middle or last",
        ),
    ],
)
def test_blocks_that_the_model_does_not_have(map_of, options, words, fix):
    with pytest.raises(MethodError, match=f"attention: {words}") as caught:
        wanted_blocks("attention", BlockChoiceConfig(**options), map_of("bert"))
    assert caught.value.fix == fix


def test_all_rules_take_each_tensor_once(map_of):
    for family in ("bert", "t5"):
        model = map_of(family, 4)
        for tensor in model.tensors:
            assert sum(rule.matches(tensor.name) for rule in all_rules(model)) == 1, tensor.name
