"""How Grafana wants a dashboard: each kind of panel, the layout, the variables, in the JSON of its files."""  # noqa: INP001 - scripts, not a package

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

DATASOURCE: Json = {"type": "prometheus", "uid": "${datasource}"}
WIDTH = 24

RED_WHEN_ANY: Json = {
    "mode": "absolute",
    "steps": [{"color": "green", "value": None}, {"color": "red", "value": 1}],
}
RED_WHEN_NONE: Json = {
    "mode": "absolute",
    "steps": [{"color": "red", "value": None}, {"color": "green", "value": 1}],
}
PLAIN: Json = {"mode": "absolute", "steps": [{"color": "text", "value": None}]}


@dataclass(frozen=True)
class Panel:
    """One panel: what it asks of Prometheus, and how large it is on a grid of 24 columns."""

    kind: str
    title: str
    description: str
    unit: str
    queries: Sequence[tuple[str, str]]
    """PromQL and the legend of its series."""
    width: int = 8
    height: int = 8
    defaults: Json = field(default_factory=dict)
    overrides: Sequence[Json] = ()
    options: Json = field(default_factory=dict)
    transformations: Sequence[Json] = ()


def stat(title: str, description: str, query: str, *, unit: str = "none", thresholds: Json = PLAIN) -> Panel:
    """Return one big figure."""
    options = {
        "colorMode": "value",
        "graphMode": "area",
        "justifyMode": "auto",
        "textMode": "value",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
    }
    defaults = {"thresholds": thresholds, "noValue": "none yet", "decimals": 0}
    return Panel("stat", title, description, unit, [(query, "")], 3, 4, defaults, options=options)


def series(
    title: str,
    description: str,
    unit: str,
    *queries: tuple[str, str],
    top: float | None = None,
    stack: bool = False,
) -> Panel:
    """Return lines over time; ``top`` is the end of the scale where the unit has one."""
    custom: Json = {
        "lineWidth": 1,
        "fillOpacity": 30 if stack else 5,
        "showPoints": "never",
        "spanNulls": False,
    }
    if stack:
        custom["stacking"] = {"mode": "normal", "group": "A"}
    defaults: Json = {"custom": custom, "min": 0} | ({"max": top} if top is not None else {})
    options = {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    return Panel("timeseries", title, description, unit, queries, defaults=defaults, options=options)


def timeline(
    title: str,
    description: str,
    query: tuple[str, str],
    words: Iterable[tuple[str, str, str]],
    *,
    width: int = 12,
    height: int = 9,
) -> Panel:
    """Return bars over time that are coloured by state; ``words`` are value, text and colour."""
    mapping = {
        value: {"text": text, "color": colour, "index": index}
        for index, (value, text, colour) in enumerate(words)
    }
    defaults = {
        "custom": {"fillOpacity": 80, "lineWidth": 0, "spanNulls": False},
        "mappings": [{"type": "value", "options": mapping}],
        "thresholds": PLAIN,
    }
    options = {
        "mergeValues": True,
        "showValue": "never",
        "rowHeight": 0.85,
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "single"},
    }
    return Panel(
        "state-timeline", title, description, "none", [query], width, height, defaults, options=options
    )


def _target(index: int, query: str, legend: str, *, instant: bool) -> Json:
    how = {"instant": True, "range": False, "format": "table"} if instant else {"range": True}
    return {
        "refId": "ABCDEFGH"[index],
        "datasource": DATASOURCE,
        "editorMode": "code",
        "expr": query,
        "legendFormat": legend or "__auto",
        **how,
    }


def _panel(panel: Panel, number: int, place: Json) -> Json:
    targets = [
        _target(index, query, legend, instant=panel.kind == "table")
        for index, (query, legend) in enumerate(panel.queries)
    ]
    found: Json = {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": DATASOURCE,
        "gridPos": place,
        "fieldConfig": {
            "defaults": {"unit": panel.unit, **panel.defaults},
            "overrides": list(panel.overrides),
        },
        "options": panel.options,
        "targets": targets,
    }
    if panel.transformations:
        found["transformations"] = list(panel.transformations)
    return found


def _panels(rows: Sequence[tuple[str, Sequence[Panel]]]) -> list[Json]:
    """Return rows and panels, laid out from left to right."""
    found: list[Json] = []
    top = 0
    for title, panels in rows:
        place = {"x": 0, "y": top, "w": WIDTH, "h": 1}
        found.append(
            {
                "id": len(found) + 1,
                "type": "row",
                "title": title,
                "collapsed": False,
                "gridPos": place,
                "panels": [],
            }
        )
        top, left, height = top + 1, 0, 0
        for panel in panels:
            if left + panel.width > WIDTH:
                top, left, height = top + height, 0, 0
            place = {"x": left, "y": top, "w": panel.width, "h": panel.height}
            found.append(_panel(panel, len(found) + 1, place))
            left, height = left + panel.width, max(height, panel.height)
        top += height
    return found


def _variables() -> list[Json]:
    source = {
        "name": "datasource",
        "type": "datasource",
        "label": "Data source",
        "query": "prometheus",
        "current": {},
        "hide": 0,
        "includeAll": False,
        "multi": False,
        "options": [],
        "refresh": 1,
        "regex": "",
    }
    query = "label_values(boardherd_agent_up, pc)"
    pc = {
        "name": "pc",
        "type": "query",
        "label": "Test PC",
        "datasource": DATASOURCE,
        "definition": query,
        "query": {"query": query, "refId": "pc"},
        "current": {"text": "All", "value": "$__all"},
        "hide": 0,
        "includeAll": True,
        "allValue": ".+",
        "multi": True,
        "options": [],
        "refresh": 2,
        "regex": "",
        "sort": 1,
    }
    return [source, pc]


def dashboard(uid: str, title: str, description: str, rows: Sequence[tuple[str, Sequence[Panel]]]) -> Json:
    """Return a dashboard as Grafana provisions it: rows of panels under their titles."""
    return {
        "uid": uid,
        "title": title,
        "description": description,
        "tags": ["boardherd"],
        "editable": False,
        "schemaVersion": 39,
        "version": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "graphTooltip": 1,
        "annotations": {"list": []},
        "links": [],
        "templating": {"list": _variables()},
        "panels": _panels(rows),
    }
