from __future__ import annotations

import subprocess
import sys

import pytest

from tunewise.methods import METHODS
from tunewise.methods.support import Support, SupportMatrix, support_matrix

CONTENT = {
    "pairs": [
        {"method": "a", "model": "bert", "status": "works", "reason": None, "instead": None, "merge": "equal"},
        {"method": "a", "model": "vit", "status": "refused", "reason": "no text", "instead": "b", "merge": None},
        {"method": "b", "model": "vit", "status": "works", "reason": None, "instead": None, "merge": None},
    ],
    "made_with": {"torch": "2.13"},
}


def test_what_is_known_of_a_pair():
    matrix = SupportMatrix(CONTENT)
    assert matrix.families == ("bert", "vit") and matrix.made_with == {"torch": "2.13"}
    assert matrix.get("a", "vit") == Support("refused", "no text", "b")
    assert matrix.get("a", "bert") == Support("works") and matrix.get("b", "bert") is None
    assert matrix.of("a") == {"bert": Support("works"), "vit": Support("refused", "no text", "b")}
    assert matrix.of("b") == {"vit": Support("works")} and matrix.of("c") == {}


@pytest.mark.parametrize("key", ["pairs", "made_with"])
def test_a_file_of_another_form_is_no_matrix(key):
    with pytest.raises(KeyError):
        SupportMatrix({name: value for name, value in CONTENT.items() if name != key})


def test_the_matrix_of_this_version():
    matrix = support_matrix()
    assert set(matrix.families) == {
        *("bert", "roberta", "distilbert", "modernbert", "gpt2", "llama", "t5"),
        *("vit", "swin", "convnext", "resnet", "mobilenet_v2", "timm-vgg", "timm-inception"),
    }
    assert set(matrix.language_families) == {
        *("gpt2-lm", "llama-lm", "qwen3-lm", "gemma-lm", "opt-lm"),
        *("t5-lm", "bart-lm"),
    }
    assert matrix.of("full") == dict.fromkeys((*matrix.families, *matrix.language_families), Support("works"))
    assert matrix.get("attention", "resnet").status == "refused"  # a convolutional net has none
    assert matrix.get("features", "llama").status == "works" and matrix.get("features", "llama-lm").status == "refused"
    for name in METHODS:
        for family, pair in matrix.of(name).items():
            assert (pair.status == "refused") == bool(pair.reason) == bool(pair.instead), (name, family)


def test_it_is_read_without_anything_heavy():
    code = (
        "import sys; from tunewise.methods.support import support_matrix; support_matrix()\n"
        "print(sorted({'torch', 'transformers', 'peft', 'sklearn', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
