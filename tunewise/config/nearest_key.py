"""Finds the key that was meant: by the names other tools use, in other sections, by spelling."""

from __future__ import annotations

import difflib

from tunewise.config.base import Config
from tunewise.config.explain import fields_of
from tunewise.config.words import is_config

OTHER_NAMES = {
    "base_model": "model",
    "bf16": "precision",
    "bs": "batch_size",
    "checkpoint_steps": "save_steps",
    "dataset": "data",
    "dtype": "precision",
    "early_stopping_patience": "early_stopping",
    "eval_batch_size": "batch_size",
    "eval_steps": "evaluate_every",
    "fp16": "precision",
    "gradient_accumulation_steps": "accumulate",
    "gradient_clipping": "max_grad_norm",
    "label_column": "label",
    "load_best_model_at_end": "keep_best",
    "lora_alpha": "alpha",
    "lora_dropout": "dropout",
    "lora_r": "rank",
    "lr": "learning_rate",
    "lr_scheduler": "schedule",
    "lr_scheduler_type": "schedule",
    "max_epochs": "epochs",
    "max_seq_length": "max_length",
    "metric_for_best_model": "metric",
    "mixed_precision": "precision",
    "model_name": "model",
    "model_name_or_path": "model",
    "num_epochs": "epochs",
    "num_train_epochs": "epochs",
    "patience": "early_stopping",
    "per_device_eval_batch_size": "batch_size",
    "per_device_train_batch_size": "batch_size",
    "r": "rank",
    "random_seed": "seed",
    "random_state": "seed",
    "scheduler": "schedule",
    "sep": "delimiter",
    "separator": "delimiter",
    "target": "label",
    "target_column": "label",
    "target_modules": "targets",
    "text_column": "text",
    "truncation": "cut",
    "truncation_side": "cut",
    "val": "validation",
    "warmup_ratio": "warmup",
    "warmup_steps": "warmup",
    "wd": "weight_decay",
}
"""What other tools call our options."""


def nearest_key(key: str, section: type[Config], root: type[Config]) -> str:
    """What to do about a key that `section` does not have, `root` being the whole that the section is part of."""
    spelled = key.lower().replace("-", "_").replace(" ", "_")
    own = list(section.model_fields)
    wanted = OTHER_NAMES.get(spelled, spelled)
    if wanted in own:
        return f"did you mean `{wanted}`?"
    paths = _paths(root)
    homes = [path for path in paths if path.rpartition(".")[2] in (spelled, wanted)]
    if homes:  # options deep down, such as those of an objective, are seldom meant
        depth = min(path.count(".") for path in homes)
        return _belongs([path for path in homes if path.count(".") == depth])
    elsewhere = {path.rpartition(".")[2]: path for path in reversed(paths)} | {name: name for name in own}
    # a close spelling in another section is likelier meant than a distant one in this
    for names, cutoff in ((own, 0.85), (elsewhere, 0.8), (own, 0.6)):
        if near := difflib.get_close_matches(spelled, names, n=1, cutoff=cutoff):
            return f"did you mean `{elsewhere[near[0]]}`?"
    return f"the keys here are {', '.join(own)}"


def _belongs(homes: list[str]) -> str:
    sections = [path.rpartition(".")[0] for path in homes]
    if not all(sections):
        return f"`{next(path for path in homes if '.' not in path)}` belongs at the top of the recipe, outside sections"
    places = " or ".join(f"`{section}`" for section in sections)
    return f"it belongs to {places}, as {' or '.join(f'`{path}`' for path in homes)}"


def _paths(root: type[Config]) -> list[str]:
    """The dotted paths of all options and sections."""
    sections = [name for name, field in root.model_fields.items() if is_config(field.annotation)]
    return sections + [each.path for each in fields_of(root)]
