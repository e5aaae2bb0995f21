"""The OpenAPI document keeps the rules of Spectral's `spectral:oas`: ids, tags, descriptions, parameters, bodies, components."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from transactional.app import create_app

BODILESS = ("/v1/users/{login_name}/one-time-password",)
METHODS = ("get", "post", "put", "patch", "delete")


@pytest.fixture
def document(empty_database: Any) -> dict[str, Any]:
    found: dict[str, Any] = create_app(empty_database.settings).openapi()
    return found


def test_every_operation_keeps_the_rules(document: dict[str, Any]) -> None:
    faults, seen = [], set()
    tags = [tag["name"] for tag in document["tags"]]
    assert document["info"]["description"] and document["info"]["contact"]["name"] and document["servers"]
    assert len(set(tags)) == len(tags) and all(tag["description"] for tag in document["tags"])
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
            answers = {status: a for status, a in operation["responses"].items() if "$ref" not in a}
            faults += [f"{name} {status}: no description" for status, a in answers.items() if not a["description"]]
            faults += [f"{name}: tag {tag} is not defined" for tag in operation["tags"] if tag not in tags]
            if method in ("post", "put") and "requestBody" not in operation and path not in BODILESS:
                faults.append(f"{name}: no body is described")
    assert faults == []


def test_every_component_is_used_and_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    for kind in ("schemas", "responses"):
        named = set(re.findall(rf'"#/components/{kind}/([^"]+)"', json.dumps(document)))
        assert named == set(document["components"][kind])


def test_patterns_are_those_of_json_schema(document: dict[str, Any]) -> None:
    assert re.findall(r'"pattern": "[^"]*\\\\[zZA]', json.dumps(document)) == []
