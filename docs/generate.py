"""Writes what is made from the code: docs/methods.md, docs/recipe.md, docs/bad-input.md, and README's methods."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from tunewise.audit.checks import CHECKS
from tunewise.config.explain import fields_of, render_reference
from tunewise.methods import METHODS, Method
from tunewise.methods.base import Group
from tunewise.methods.support import LANGUAGE, support_matrix
from tunewise.recipe import Recipe

HERE = Path(__file__).parent
README = HERE.parent / "README.md"
BEGIN, END = "<!-- methods: made by `make docs` -->", "<!-- end of methods -->"

GUIDE = """\
Nobody can tell beforehand which method is best on your data; that is what `tunewise compare` is for. But there is a
good order in which to try them:

1. **`features`** first. No gradient, one pass over the data; on two of the four data sets in [results](results.md) it
   was level with the best. Where it is good enough, stop.
2. **`last_k`** takes about half of the training time of full fine-tuning, and came close to it but for pairs of
   sentences.
3. **`full`**, **`layerwise`** or **`lp_ft`** where quality is all that counts. The last fits the output layers first,
   so that their random values do not distort what is pretrained.
4. **`lora`** or **`adapter`** where one model is to serve many tasks: what is saved for each is a small part of the
   model, which itself stays as it is. `lora` with `merge: true` costs nothing extra in prediction, but saves it whole.

For special needs:

- *The fewest numbers to train:* beside the output layers, `output_norm`, `prompt_tuning`, `norms`, `ia3`, `bitfit` and
  `vera` train 5,000 to 30,000 in a model of 22.7 million; `lora` 660,000.
- *The least memory in training:* `features`, `head` and `mlp_head` send no gradient through the model's blocks, nor
  does `ladder`, which reads every one of them; `qlora` keeps their weights in 4 bits.
- *A budget of computation:* `adaptive` chooses the tensors that are worth their FLOPs.
- *Data unlike that of pretraining:* `blocks` and `chosen_blocks` train the part of the model that has to change.
- *What is pretraining worth?* `scratch` goes without it; it is a control, and never recommended.

Where a recipe names no methods, nine that span the field are compared; `methods: all` takes every one that works with
the model and the task, and says which were left out and why.
"""


def methods_page() -> str:
    """One page: which to take, what works with what, and every method with its options."""
    parts = [
        "# Methods",
        "Made from the code by `make docs`. `tunewise methods` prints the same.",
        f"## Which one to take\n\n{GUIDE.rstrip()}",
        "## What works with what",
        _tried_with(),
        "\n".join(_matrix("#")),
    ]
    for group in get_args(Group):
        methods = [method for method in METHODS.own if method.group == group]
        if methods:
            parts += [f"## {group[0].upper()}{group[1:]}", "\n".join(_summaries(methods))]
            parts += [part for method in methods for part in _section(method)]
    return "\n\n".join(parts) + "\n"


def recipe_page() -> str:
    """Every option of a recipe."""
    return "# The recipe\n\nMade from the code by `make docs`.\n\n" + render_reference(Recipe)


def bad_input_page() -> str:
    """Every kind of bad input of the tests, and what tunewise says to it."""
    sys.path[:0] = [str(HERE.parent / "tests" / "bad_inputs"), str(HERE.parent)]
    try:
        from case import all_cases
        from kinds import KINDS, WAITING

        cases = all_cases()
    finally:
        del sys.path[:2]
    parts = [
        "# Bad input",
        "Made from the tests by `make docs`: each line is a test that holds tunewise to these very words. An error "
        "names file, row or key, what was expected, and what to do; it comes within seconds, before any weights are "
        "read unless only they can tell, and the exit code is not 0. What is read all the same is told where anything "
        "was changed or left out, with counts.",
    ]
    for group, kinds in KINDS.items():
        covered = [kind for kind in kinds if kind not in WAITING]
        lines = ["| input | answer |", "|---|---|"]
        lines += [
            f"| {_cell(f'{case.kind}: {case.name}')} | {_answer(case)} |"
            for kind in covered
            for case in cases
            if case.kind == kind
        ]
        if covered:
            parts += [f"## {group[0].upper()}{group[1:]}", "\n".join(lines)]
    waiting = "; ".join(f"{kind} ({feature})" for kind, feature in WAITING.items())
    parts += [f"These wait for the features that bring them: {waiting}."]
    return "\n\n".join(parts) + "\n"


def _answer(case: Any) -> str:
    if case.read_as:
        return f"*read as* {_cell(case.read_as)}"
    if case.repair:
        return f"*read, and told:* {_cell(case.repair)}"
    return _cell(case.told.removeprefix("error: "))


def _cell(text: str) -> str:
    text = text.strip().replace("{folder}/", "").replace("{folder}", "the folder").replace("{model}", "the model")
    for mark, safe in (("&", "&amp;"), ("<", "&lt;"), ("|", "\\|"), ("*", "\\*"), ("\n", "<br>")):
        text = text.replace(mark, safe)
    return text


def with_methods(readme: str) -> str:
    """README with the methods of today between its two marks."""
    before, rest = readme.split(BEGIN)
    _, after = rest.split(END)
    told = f"{len(METHODS.own)} methods. {_tried_with()} [What each does, and which one to take](docs/methods.md)."
    return "\n".join([f"{before}{BEGIN}", told, "", *_matrix("docs/methods.md#"), f"{END}{after}"])


def _tried_with() -> str:
    matrix = support_matrix()
    versions = ", ".join(f"{name} {version}" for name, version in matrix.made_with.items())
    return (
        "Each was tried with a tiny model of every kind by `tunewise conformance` "
        f"({versions}): it trains, saves and loads (●), or is refused before training with the reason and the nearest "
        "method that works (–). With a kind that is not listed, the method decides when it sees the model. Models of "
        "the columns under *writes* give the next token and were tuned to answer; elsewhere their names end in `-lm`. "
        "The tests try every method with every objective for language models on a Llama: `dpo`, `kto`, `grpo`, `rloo` "
        "and `ppo` go with what `sft` goes with, a reward model with what gives labels."
    )


def _matrix(link: str) -> Iterator[str]:
    """A row per method, by group; a column per kind of model: first those that give labels, then, apart from them,
    those that give the next token."""
    columns = [*support_matrix().families]
    heads = ["gives labels:<br>" + columns[0], *columns[1:]]
    if writing := support_matrix().language_families:
        first, *others = (family.removesuffix(LANGUAGE) for family in writing)
        columns += ["", *writing]
        heads += [" ", f"writes:<br>{first}", *others]
    yield f"| method | {' | '.join(heads)} |"
    yield f"|---|{':-:|' * len(heads)}"
    for group in get_args(Group):
        methods = [method for method in METHODS.own if method.group == group]
        if methods:
            yield f"| *{group}* |{' |' * len(heads)}"
        for method in methods:
            pairs = [support_matrix().get(method.name, family) for family in columns]
            marks = ["" if pair is None else "●" if pair.status == "works" else "–" for pair in pairs]
            yield f"| [`{method.name}`]({link}{method.name}) | {' | '.join(marks)} |"


def _summaries(methods: list[type[Method]]) -> Iterator[str]:
    yield "| method | trains | hands over | source |"
    yield "|---|---|---|---|"
    for m in methods:
        yield f"| [`{m.name}`](#{m.name}) | {m.trains} | {m.handover} folder | {m.source} |"


def _section(method: type[Method]) -> Iterator[str]:
    """A method's own words, where it does not work, and its options."""
    yield f"### {method.name}"
    yield " ".join((method.__doc__ or "").split())
    if method.descends:
        rate = " ".join((method.default_learning_rate.__doc__ or "").split())
        yield f"Learning rate where none is given: {rate}"
    refused: dict[str, list[str]] = {}
    for family, pair in support_matrix().of(method.name).items():
        if pair.status == "refused":
            refused.setdefault(f"{pair.reason} (instead: `{pair.instead}`)", []).append(family)
    if refused:
        reasons = "; ".join(f"{', '.join(families)}: {reason}" for reason, families in refused.items())
        yield f"Does not work with {reasons}."
    lines = ["| option | kind | default | meaning |", "|---|---|---|---|"]
    for option in fields_of(method.Config):
        meaning = " ".join(option.explanation.split()).replace("|", "\\|")
        kind = option.type.replace("|", "\\|")
        lines.append(f"| `{option.path}` | {kind} | {option.default or '-'} | {meaning} |")
    yield "\n".join(lines)


CHECKS_BEGIN, CHECKS_END = "<!-- checks: made by `make docs` -->", "<!-- end of checks -->"


def with_checks(page: str) -> str:
    """docs/check.md with the checks of today between its two marks; each file says in its first line what it finds."""
    before, rest = page.split(CHECKS_BEGIN)
    _, after = rest.split(CHECKS_END)
    lines = ["| kind | what is found | before every training |", "|---|---|:-:|"]
    for check in CHECKS:
        found = (sys.modules[check.find.__module__].__doc__ or "").strip().splitlines()[0]
        lines.append(f"| `{check.kind}` | {found.rstrip('.')} | {'yes' if check.brief else ''} |")
    return "\n".join([f"{before}{CHECKS_BEGIN}", *lines, f"{CHECKS_END}{after}"])


PAGES = {"methods.md": methods_page, "recipe.md": recipe_page, "bad-input.md": bad_input_page}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (HERE / name).write_text(page(), encoding="utf-8")
    README.write_text(with_methods(README.read_text(encoding="utf-8")), encoding="utf-8")
    check_page = HERE / "check.md"
    check_page.write_text(with_checks(check_page.read_text(encoding="utf-8")), encoding="utf-8")
