"""The Bicep files hold together: what a compiler would say, as far as a grammar and a little reading can."""

import json
import re

import pytest

from tests.infra.bicep import INFRA, Template, templates

pytestmark = pytest.mark.parametrize("template", templates(), ids=lambda one: str(one.path.relative_to(INFRA)))


def test_it_follows_the_grammar(template: Template) -> None:
    assert template.errors == []


def test_every_name_it_uses_is_declared(template: Template) -> None:
    assert template.used - template.declared == set()


def test_every_parameter_and_variable_is_used(template: Template) -> None:
    declared = set(template.parameters) | set(re.findall(r"^var (\w+)", template.text, re.MULTILINE))
    assert declared - template.used == set()


def test_modules_get_the_parameters_they_ask_for(template: Template) -> None:
    for module in template.modules:
        asked = Template(template.path.parent / module.path).parameters
        needed = {name for name, has_default in asked.items() if not has_default}
        assert needed <= module.params <= set(asked), module.symbol


def test_outputs_of_modules_exist(template: Template) -> None:
    offered = {one.symbol: Template(template.path.parent / one.path).outputs for one in template.modules}
    assert {pair for pair in template.outputs_used if pair[1] not in offered[pair[0]]} == set()


def test_files_it_loads_are_there_and_are_json(template: Template) -> None:
    for name in re.findall(r"load(?:Json|Text)Content\('([^']+)'\)", template.text):
        assert json.loads((template.path.parent / name).read_text(encoding="utf-8"))
