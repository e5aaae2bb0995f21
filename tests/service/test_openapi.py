"""The OpenAPI document keeps the core rules of a lint: unique ids, tags, descriptions, declared parameters, used components."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from transactional.app import create_app

METHODS = ("get", "post", "put", "patch", "delete")


@pytest.fixture
def document(empty_database: Any) -> dict[str, Any]:
    found: dict[str, Any] = create_app(empty_database.settings).openapi()
    return found


def test_every_operation_keeps_the_rules(document: dict[str, Any]) -> None:
    faults, seen = [], set()
    for path, item in document["paths"].items():
        for method in METHODS:
            operation = item.get(method)
            if operation is None:
                continue
            name = f"{method} {path}"
            in_path = {p["name"] for p in operation.get("parameters", []) if p["in"] == "path"}
            if operation["operationId"] in seen:
                faults.append(f"{name}: operationId is taken")
            seen.add(operation["operationId"])
            faults += [f"{name}: no {key}" for key in ("tags", "summary", "description") if not operation.get(key)]
            if in_path != set(re.findall(r"{(\w+)(?::\w+)?}", path)):
                faults.append(f"{name}: parameters of the path differ")
            if not any(status.startswith("2") for status in operation["responses"]):
                faults.append(f"{name}: no success is declared")
            faults += [f"{name} {status}: no description" for status, a in operation["responses"].items() if not a["description"]]
    assert faults == []


def test_every_component_is_used_and_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    named = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(document)))
    assert named == set(document.get("components", {}).get("schemas", {}))
