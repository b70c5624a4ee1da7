"""The OpenAPI document as the reference page lists it: plain values, every schema spelled out."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

_EXAMPLES: Final = {"slug": "hebdo", "topic": "eau", "guid": "812"}


@dataclass(frozen=True, kw_only=True)
class Field:
    """A parameter or a field: where it stands, what it may be, whether it must be there."""

    name: str
    place: str
    kind: str
    is_required: bool
    about: str


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One operation as the page shows it."""

    key: str
    method: str
    path: str
    title: str
    about: str
    scope: str
    parameters: list[Field]
    body: list[Field]
    answers: list[tuple[str, str]]
    returned: list[Field]
    curl: str


def groups(document: Mapping[str, Any]) -> list[tuple[str, list[Operation]]]:
    """List the operations by tag, in the order in which they were declared."""
    schemas = document["components"]["schemas"]
    found: dict[str, list[Operation]] = {}
    for path, item in document["paths"].items():
        for method, one in item.items():
            found.setdefault(one["tags"][0], []).append(_operation(path, method, one, schemas))
    return list(found.items())


def curl(path: str, method: str, operation: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    """Return a command that calls an operation, with the addresses and the token from the environment."""
    address = path
    for parameter in operation.get("parameters", ()):
        if parameter["in"] == "path":
            address = address.replace(f"{{{parameter['name']}}}", _EXAMPLES.get(parameter["name"], "129"))
    lines = [f'curl "$MAILER_URL{address}"', '-H "Authorization: Bearer $MAILER_TOKEN"']
    body = _example(_body_schema(operation), schemas)
    if body is not None:
        lines.append(f"--json '{json.dumps(body, ensure_ascii=False)}'")
    if method.upper() not in ("GET", "POST") or (method == "post" and body is None):
        lines.insert(1, f"-X {method.upper()}")
    return " \\\n  ".join(lines)


def _operation(path: str, method: str, one: Mapping[str, Any], schemas: Mapping[str, Any]) -> Operation:
    parameters = [
        Field(
            name=parameter["name"],
            place=parameter["in"],
            kind=_kind(parameter["schema"], schemas),
            is_required=parameter.get("required", False),
            about=parameter.get("description", ""),
        )
        for parameter in one.get("parameters", ())
    ]
    answers = [(code, told["description"]) for code, told in one["responses"].items()]
    first = next(iter(one["responses"].values()))
    returned = first.get("content", {}).get("application/json", {}).get("schema")
    return Operation(
        key=one["operationId"],
        method=method.upper(),
        path=path,
        title=one["summary"],
        about=one.get("description", ""),
        scope=one["x-scope"],
        parameters=parameters,
        body=_fields(_body_schema(one), schemas),
        answers=answers,
        returned=_fields(returned, schemas),
        curl=one["x-codeSamples"][0]["source"],
    )


def _body_schema(operation: Mapping[str, Any]) -> Mapping[str, Any] | None:
    found: Mapping[str, Any] | None = (
        operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    )
    return found


def _resolved(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    return found


def _example(schema: Mapping[str, Any] | None, schemas: Mapping[str, Any]) -> Any:
    if schema is None:
        return None
    examples = _resolved(schema, schemas).get("examples", [{}])
    return examples[0]


def _fields(schema: Mapping[str, Any] | None, schemas: Mapping[str, Any], place: str = "") -> list[Field]:
    """List the fields of an object, those of the objects in its lists behind them with their path."""
    if schema is None:
        return []
    whole = _resolved(schema, schemas)
    listed: list[Field] = []
    for name, one in whole.get("properties", {}).items():
        described = _resolved(one, schemas)
        about = one.get("description") or ("" if "enum" in described else described.get("description", ""))
        listed.append(
            Field(
                name=f"{place}{name}",
                place="body",
                kind=_kind(one, schemas),
                is_required=name in whole.get("required", ()),
                about=about if "\n" not in about else about.partition("\n")[0],
            )
        )
        inner = _resolved(one.get("items", {}), schemas) if one.get("type") == "array" else described
        if "properties" in inner:
            suffix = "[]." if one.get("type") == "array" else "."
            listed += _fields(inner, schemas, f"{place}{name}{suffix}")
    return listed


def _kind(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    """Say in words what a value may be."""
    if "$ref" in schema:
        target = _resolved(schema, schemas)
        return _kind(target, schemas) if "enum" in target else str(target.get("type", "value"))
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_kind(one, schemas) for one in schema["anyOf"]))
    if "enum" in schema:
        return " | ".join(str(one) for one in schema["enum"])
    if "const" in schema:
        return str(schema["const"])
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}), schemas)}"
    kinds = {"date-time": "moment (ISO 8601)", "date": "day (2026-11-27)"}
    return kinds.get(str(schema.get("format")), str(schema.get("type", "anything")))
