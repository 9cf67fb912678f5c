"""A page: one self-contained HTML file that asks no other host for anything.

What it shows comes as plain text; the template only places it and jinja2 escapes every piece. Scripts and styles are
inline. The content security policy names the two scripts by their sha256 and allows no other, nor any request: text
that slipped through could neither run nor send anything.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tunewise.report.figures import plain

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src {scripts}; img-src data:; "
    "base-uri 'none'; form-action 'none'"
)


def render_page(
    template: str, figures: Mapping[str, Any], styles: Sequence[str] = ("report.css",), **content: Any
) -> str:
    """The page as text.

    Args:
        figures: by group and key, as `plain_figure` gives them; without any, the page has no script.
        styles: files of the templates, in their order.
        content: what the template places.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("tunewise.report"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["plain"] = plain

    def source(name: str) -> Markup:
        return Markup(environment.loader.get_source(environment, name)[0])

    script, plotly = source("report.js"), ""
    if figures:
        from plotly.offline import get_plotlyjs

        plotly = Markup(get_plotlyjs())
    return environment.get_template(template).render(
        policy=POLICY.format(scripts=f"{_named(plotly)} {_named(script)}" if figures else "'none'"),
        css=Markup("\n").join(source(name) for name in styles),
        script=script,
        plotly=plotly,
        figures=Markup(_json_for_script(figures)),
        **content,
    )


def plain_figure(figure: Figure) -> Any:
    """A figure as JSON data."""
    return _finite(json.loads(figure.to_json()))


def _named(script: str) -> str:
    """How a policy names an inline script: by the sha256 of what stands between its tags."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _json_for_script(data: Any) -> str:
    """JSON that cannot end the script element or begin a comment in it."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return re.sub("[<>&\u2028\u2029]", lambda found: f"\\u{ord(found.group()):04x}", text)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
