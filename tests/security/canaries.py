"""Models and runs that write a file, the canary, when a careless tool opens them: by a pickle, by Python code in the
folder, by a template that is rendered, by an option that names code.

Each maker is given the folder to spoil and the path of the canary.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Spoil = Callable[[Path, Path], None]


class Bomb:
    """Unpickled, it makes the folder that is the canary."""

    def __init__(self, canary: Path):
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.canary),)


def code(canary: Path) -> str:
    return f"import os\nos.makedirs({str(canary)!r}, exist_ok=True)\nclass Evil: pass\n"


def template(canary: Path) -> str:
    return "{{ cycler.__init__.__globals__.os.makedirs('" + str(canary) + "', exist_ok=True) }}{{ messages }}"


def put_pickle(name: str, *, without_weights: bool = False) -> Spoil:
    def spoil(folder: Path, canary: Path) -> None:
        if without_weights:
            for weights in folder.glob("*.safetensors"):
                weights.unlink()
        (folder / name).write_bytes(pickle.dumps(Bomb(canary), protocol=2))

    return spoil


def put_code(name: str) -> Spoil:
    def spoil(folder: Path, canary: Path) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(code(canary))

    return spoil


def put_json(name: str, **keys: Any) -> Spoil:
    """Changes keys of a JSON file; TEMPLATE, FOLDER, PICKLE and SECRET as texts stand for what they say."""

    def spoil(folder: Path, canary: Path) -> None:
        file = folder / name
        content = json.loads(file.read_text()) if file.is_file() else {}
        words = {
            "TEMPLATE": template(canary),
            "FOLDER": str(folder),
            "PICKLE": str(folder / "bomb.bin"),
            "SECRET": str(folder.parent / "secret.txt"),
        }
        file.write_text(json.dumps({**content, **_filled(keys, words)}))

    return spoil


def _filled(value: Any, words: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _filled(inner, words) for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, words) for inner in value]
    return words.get(value, value) if isinstance(value, str) else value


def both(*spoils: Spoil) -> Spoil:
    def spoil(folder: Path, canary: Path) -> None:
        for one in spoils:
            one(folder, canary)

    return spoil


def put_template(folder: Path, canary: Path) -> None:
    (folder / "chat_template.jinja").write_text(template(canary))


def link_out(name: str) -> Spoil:
    def spoil(folder: Path, canary: Path) -> None:
        outside = folder.parent / f"outside-{name}"
        shutil.move(folder / name, outside)
        (folder / name).symlink_to(outside)

    return spoil


def pipe(name: str) -> Spoil:
    def spoil(folder: Path, canary: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)

    return spoil


def secret_beside(folder: Path, canary: Path) -> None:
    (folder.parent / "secret.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nhunter2\n")


@dataclass(frozen=True)
class Artefact:
    """`told`: a part of the error's first line; empty where the artefact is harmless, because nobody opens it."""

    name: str
    spoil: Spoil
    told: str = ""


EVIL = put_code("evil.py")
PICKLE, NOT_SAFE = "the weights are a pickle", "is not a safetensors file"
OWN_CODE = "wants to run Python code of its own (auto_map)"

MODELS: tuple[Artefact, ...] = (
    *(
        Artefact(f"{name} in the place of weights", put_pickle(name, without_weights=True), PICKLE)
        for name in ("pytorch_model.bin", "model.pt", "model.pth", "last.ckpt", "model.pkl")
    ),
    Artefact("a pickle called model.safetensors", put_pickle("model.safetensors"), NOT_SAFE),
    *(
        Artefact(f"{name} beside the weights", put_pickle(name))
        for name in ("pytorch_model.bin", "training_args.bin", "optimizer.pt", "scheduler.pt", "adapter_model.bin")
    ),
    Artefact("auto_map", both(EVIL, put_json("config.json", auto_map={"AutoModel": "evil.Evil"})), OWN_CODE),
    Artefact(
        "auto_map of a part",
        both(EVIL, put_json("config.json", text_config={"auto_map": {"AutoConfig": "evil.Evil"}})),
        OWN_CODE,
    ),
    Artefact(
        "auto_map of the tokeniser",
        both(EVIL, put_json("tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Evil", None]})),
        OWN_CODE,
    ),
    Artefact(
        "a tokeniser class of the folder",
        both(EVIL, put_json("tokenizer_config.json", tokenizer_class="evil.Evil")),
        "tokenizer_class is 'evil.Evil'",
    ),
    Artefact(
        "a model as the tokeniser, with a pickle",
        both(put_pickle("pytorch_model.bin"), put_json("tokenizer_config.json", tokenizer_class="AutoModel")),
        "tokenizer_class is 'AutoModel'",
    ),
    Artefact(
        "a tokeniser class in config.json",
        both(EVIL, put_json("config.json", tokenizer_class="Pipeline")),
        "tokenizer_class is 'Pipeline'",
    ),
    Artefact("an unknown tokeniser", both(EVIL, put_json("tokenizer_config.json", tokenizer_class="EvilTokenizer"))),
    Artefact(
        "attention from a repository",
        put_json(
            "config.json",
            _attn_implementation_internal="someone/kernels",
            _attn_implementation="someone/kernels",
            attn_implementation="someone/kernels",
            _experts_implementation="someone/experts",
            experts_implementation="someone/experts",
        ),
    ),
    Artefact("a template in tokenizer_config.json", put_json("tokenizer_config.json", chat_template="TEMPLATE")),
    Artefact("chat_template.jinja", put_template),
    Artefact(
        "a template whose name is a path",
        put_json("tokenizer_config.json", chat_template=[{"name": "../../canary", "template": "TEMPLATE"}]),
        "a chat template's name would be a path",
    ),
    Artefact(
        "custom_generate",
        both(put_code("custom_generate/generate.py"), put_json("generation_config.json", custom_generate="FOLDER")),
    ),
    Artefact(
        "modules of sentence-transformers",
        lambda folder, canary: (
            EVIL(folder, canary),
            (folder / "modules.json").write_text('[{"idx": 0, "name": "0", "path": "", "type": "evil.Evil"}]'),
        )[0],
    ),
    Artefact(
        "an adapter beside the model", put_json("adapter_config.json", peft_type="LORA"), "would read other weigh"
    ),
    Artefact(
        "other weights",
        both(put_pickle("weights.bin"), put_json("config.json", transformers_weights="weights.bin")),
        "would read other weights",
    ),
    Artefact(
        "a tokeniser linked from outside", link_out("tokenizer.json"), "tokenizer.json is a link out of the model"
    ),
    Artefact("a named pipe", pipe("special_tokens_map.json"), "special_tokens_map.json is not a plain file"),
    Artefact(
        "a vocabulary from outside",
        both(secret_beside, put_json("tokenizer_config.json", vocab_file="SECRET")),
        "tokenizer_config.json names a file outside the model folder: vocab_file",
    ),
)


def megatron(folder: Path, canary: Path) -> None:
    (folder.parent / "evil.py").write_text(code(canary))  # beside the run, where the user may well stand
    put_json("adapter_config.json", megatron_config={"a": 1}, megatron_core="evil")(folder, canary)


TOKENIZER_CODE = {
    "num_virtual_tokens": 2,
    "prompt_tuning_init": "TEXT",
    "prompt_tuning_init_text": "x",
    "tokenizer_name_or_path": "FOLDER",
    "tokenizer_kwargs": {"trust_remote_code": True},
}
REFUSED = "has an option by which peft could open other files or run code"


def tokeniser_with_code(folder: Path, canary: Path) -> None:
    EVIL(folder, canary)
    put_json("tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Evil", None]})(folder, canary)


def plan_with(**insert: Any) -> Spoil:
    """Another insert in the stored plan, of a folder that tunewise itself loads."""

    def spoil(folder: Path, canary: Path) -> None:
        meta = json.loads((folder / "tunewise.json").read_text())
        meta["plan"]["inserts"] = [_filled(insert, {"FOLDER": str(folder)})]
        (folder / "tunewise.json").write_text(json.dumps({**meta, "kind": "tunewise"}))
        (folder / "adapter_model.safetensors").rename(folder / "tunewise.safetensors")

    return spoil


ADAPTERS: tuple[Artefact, ...] = (
    Artefact(
        "adapter_model.bin in the place of weights",
        put_pickle("adapter_model.bin", without_weights=True),
        "the adapter has no weights",
    ),
    Artefact("a pickle called adapter_model.safetensors", put_pickle("adapter_model.safetensors"), NOT_SAFE),
    Artefact("adapter_model.bin beside the weights", put_pickle("adapter_model.bin")),
    Artefact("a module to import", megatron, REFUSED),
    Artefact(
        "a prompt whose tokeniser has code",
        both(tokeniser_with_code, put_json("adapter_config.json", peft_type="PROMPT_TUNING", **TOKENIZER_CODE)),
        REFUSED,
    ),
    Artefact(
        "a prompt from a pickle",
        both(
            put_pickle("bomb.bin"),
            put_json(
                "adapter_config.json",
                peft_type="MULTITASK_PROMPT_TUNING",
                prompt_tuning_init="EXACT_SOURCE_TASK",
                prompt_tuning_init_state_dict_path="PICKLE",
            ),
        ),
        REFUSED,
    ),
    Artefact(
        "first values from a pickle",
        both(
            put_pickle("bomb.bin"),
            put_json("adapter_config.json", init_lora_weights="corda", corda_config={"cache_file": "PICKLE"}),
        ),
        REFUSED,
    ),
    Artefact("adapters of others", put_json("adapter_config.json", peft_type="XLORA", adapters={"a": "x/y"}), REFUSED),
    Artefact("layers many times", put_json("adapter_config.json", layer_replication=[[0, 10**9]]), REFUSED),
    Artefact(
        "an automatic mapping",
        both(
            EVIL, put_json("adapter_config.json", auto_mapping={"base_model_class": "Evil", "parent_library": "evil"})
        ),
    ),
    Artefact(
        "options of the machine",
        put_json("adapter_config.json", runtime_config={"ephemeral_gpu_offload": True}),
        REFUSED,
    ),
    Artefact(
        "another base model",
        put_json("adapter_config.json", base_model_name_or_path="someone/else"),
        "the adapter was made for the base model 'someone/else'",
    ),
    Artefact(
        "a plan with a prompt whose tokeniser has code",
        both(tokeniser_with_code, plan_with(config="PromptTuningConfig", options=TOKENIZER_CODE)),
        "is not among those that a plan may set",
    ),
    Artefact(
        "a plan that calls the system",
        plan_with(build="os:makedirs", where=["bert"], options={}),
        "'os:makedirs' is not a function of a method",
    ),
    Artefact(
        "a plan that calls what a method imports",
        plan_with(build="tunewise.methods.adapter:nn", where=["bert"], options={}),
        "is not a function of a method",
    ),
)


def seal_again(folder: Path) -> None:
    """A new manifest for a changed model folder, as a program that knows the format could write it."""
    from tunewise.commit import commit_folder, read_manifest

    about = read_manifest(folder)["about"]
    content = folder.with_name("content")
    folder.rename(content)
    (content / "manifest.json").unlink()
    commit_folder(folder, lambda staging: shutil.copytree(content, staging, dirs_exist_ok=True), about)
    shutil.rmtree(content)
