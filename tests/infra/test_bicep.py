"""The Bicep files are consistent: checks of a compiler, as far as a grammar allows."""

import json
import re
from datetime import date

import pytest

from tests.infra.bicep import INFRA, Template, templates

STRICT = json.loads((INFRA / "bicepconfig.json").read_text(encoding="utf-8"))["analyzers"]["core"]["rules"]
WITHOUT_NEWER = {
    "Microsoft.Authorization/roleAssignments",
    "Microsoft.Authorization/roleDefinitions",
    "Microsoft.EventHub/namespaces",
    "Microsoft.Insights/actionGroups",
    "Microsoft.Insights/autoscalesettings",
    "Microsoft.Insights/components",
    "Microsoft.Insights/diagnosticSettings",
    "Microsoft.Insights/metricAlerts",
    "Microsoft.Insights/workbooks",
    "Microsoft.ServiceBus/namespaces",
}
"""Types without a newer stable version in Azure: old, but the newest available."""

EACH = pytest.mark.parametrize("template", templates(), ids=lambda template: str(template.path.relative_to(INFRA)))


@EACH
def test_it_follows_the_grammar(template: Template) -> None:
    assert template.errors == []


@EACH
def test_every_name_it_uses_is_declared(template: Template) -> None:
    assert template.used - template.declared == set()


@EACH
def test_every_parameter_and_variable_is_used(template: Template) -> None:
    declared = set(template.parameters) | set(re.findall(r"^var (\w+)", template.text, re.MULTILINE))
    assert declared - template.used == set()


@EACH
def test_modules_get_the_parameters_they_ask_for(template: Template) -> None:
    for module in template.modules:
        asked = Template(template.path.parent / module.path).parameters
        needed = {name for name, has_default in asked.items() if not has_default}
        assert needed <= set(module.given) <= set(asked), module.symbol


@EACH
def test_outputs_of_modules_exist(template: Template) -> None:
    offered = {module.symbol: Template(template.path.parent / module.path).outputs for module in template.modules}
    assert {pair for pair in template.outputs_used if pair[1] not in offered[pair[0]]} == set()


@EACH
def test_files_it_loads_are_there_and_are_json(template: Template) -> None:
    for name in re.findall(r"load(?:Json|Text)Content\('([^']+)'\)", template.text):
        assert json.loads((template.path.parent / name).read_text(encoding="utf-8"))


def test_the_strict_rules_are_on() -> None:
    assert {"use-recent-api-versions", "use-user-defined-types", "no-module-name"} <= set(STRICT)
    assert {rule["level"] for rule in STRICT.values()} == {"error"}


@EACH
def test_api_versions_are_recent(template: Template) -> None:
    allowed = STRICT["use-recent-api-versions"]["maxAgeInDays"]
    ages = {
        f"{resource.type}@{resource.version}": (date(2026, 11, 25) - date.fromisoformat(resource.version[:10])).days
        for resource in template.resources
        if resource.type not in WITHOUT_NEWER
    }
    assert {name: age for name, age in ages.items() if age > allowed} == {}


@EACH
def test_parameters_have_types_of_their_own(template: Template) -> None:
    assert {name: kind for name, kind in template.types.items() if re.search(r"\b(object|array)\b", kind)} == {}


@EACH
def test_modules_have_no_needless_names(template: Template) -> None:
    assert [module.symbol for module in template.modules if module.named] == []


@EACH
def test_imported_types_exist(template: Template) -> None:
    for names, path in template.imports:
        exported = re.findall(r"^type (\w+)", (template.path.parent / path).read_text(encoding="utf-8"), re.MULTILINE)
        assert set(names) <= set(exported)


@EACH
def test_no_module_is_handed_text_that_could_be_taken_for_an_expression(template: Template) -> None:
    for module in template.modules:
        asked = Template(template.path.parent / module.path).types
        for name, value in module.given.items():
            if asked[name].strip("?") == "string":
                assert not re.search(r"\b(string|json|loadTextContent)\(|^'\[", value), f"{module.symbol}.{name}"
