"""JSON values as nested tables: options, versions, statistics, whatever a run says of itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.report.html.markup import json, text

ROWS_MAX = 200


def render(value: Any) -> str:
    """HTML of a JSON value; an object is a table, a list of objects a table with a row each."""
    return f"<div class=wide>{_render(value)}</div>"


def _render(value: Any) -> str:
    if isinstance(value, Mapping):
        return _object(value) if value else "<i>none</i>"
    if isinstance(value, Sequence) and not isinstance(value, str):
        if value and all(isinstance(each, Mapping) for each in value):
            return _rows(value)
        if value and all(isinstance(each, str) for each in value):
            return text(", ".join(value))
        return text(json(value)) if value else "<i>none</i>"
    if value is None:
        return "<i>not given</i>"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return f"{value:.6g}"
    return text(value)


def _object(value: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<tr><th scope=row>{text(str(key))}<td>{_render(each)}</tr>" for key, each in value.items()
    )
    return f"<table class=tree>{rows}</table>"


def _rows(value: Sequence[Mapping[str, Any]]) -> str:
    columns = list(dict.fromkeys(key for each in value for key in each))
    numbers = {c for c in columns if all(_is_number(each.get(c, 0)) for each in value)}
    kind = {column: " class=number" if column in numbers else "" for column in columns}
    head = "".join(f"<th scope=col{kind[c]}>{text(str(c))}" for c in columns)
    body = "".join(
        "<tr>" + "".join(f"<td{kind[c]}>{_render(each.get(c, ''))}" for c in columns) + "</tr>"
        for each in value[:ROWS_MAX]
    )
    more = f"<p class=hint>… and {len(value) - ROWS_MAX} more</p>" if len(value) > ROWS_MAX else ""
    return f"<table class=rows><tr>{head}</tr>{body}</table>{more}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
