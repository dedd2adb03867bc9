"""KubeRay's real schemas, strict."""

from pathlib import Path

import jsonschema
import pytest
import yaml

CRDS = Path(__file__).parents[2].parent / "shared" / "kuberay_crds"


def closed(schema):
    """Close objects that do not preserve unknown fields, as `kubectl --validate=strict` does."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {key: closed(value) for key, value in schema.items()}
    if schema.get("x-kubernetes-int-or-string"):
        schema.pop("type", None)
    open_ended = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
    if isinstance(schema.get("properties"), dict) and not open_ended:
        schema["additionalProperties"] = False
    return schema


@pytest.fixture(scope="session")
def schemas():
    """The closed schema of every kind that KubeRay knows, by version and kind."""
    if not CRDS.is_dir():
        pytest.skip(f"KubeRay's schemas are not at {CRDS}; the manifests were not checked against them")
    found = {}
    for path in sorted(CRDS.glob("ray.io_ray*.yaml")):
        crd = yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        for version in crd["spec"]["versions"]:
            schema = closed(version["schema"]["openAPIV3Schema"])
            schema["properties"]["metadata"] = {"type": "object"}
            found[f"{crd['spec']['group']}/{version['name']}", crd["spec"]["names"]["kind"]] = schema
    return found


@pytest.fixture(scope="session")
def validators(schemas):
    """A validator of every kind."""
    return {kind: jsonschema.Draft202012Validator(schema) for kind, schema in schemas.items()}
