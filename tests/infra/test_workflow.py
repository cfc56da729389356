"""The GitHub workflow uses nothing that can change later, and stores no secret."""

import re

from tests.infra.bicep import INFRA
from tools import setup

WORKFLOW = (INFRA.parent / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")


def test_actions_are_pinned_to_commits() -> None:
    used = re.findall(r"uses: (.*)", WORKFLOW)
    assert used
    assert [action for action in used if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action)] == []


def test_it_runs_on_every_python_there_is() -> None:
    (matrix,) = re.findall(r"python: \[(.*)\]", WORKFLOW)
    assert set(re.findall(r'"([\d.]+)"', matrix)) == set(setup.VERSIONS)


def test_it_deploys_only_where_the_repository_says_so() -> None:
    assert "if: github.ref_type == 'tag' && vars.DEPLOY == 'true'" in WORKFLOW


def test_it_needs_no_stored_secret() -> None:
    assert "secrets." not in WORKFLOW
    assert "id-token: write" in WORKFLOW


def test_the_functions_host_and_the_bicep_compiler_are_pinned_and_tried_on_every_push() -> None:
    job = WORKFLOW.partition("  core-tools:")[2].partition("\n  deploy:")[0]
    assert re.search(r"azure-functions-core-tools@4\.\d+\.\d+\n", job)
    assert re.search(r'node-version: "\d+"', job)  # Core Tools need a newer version than the runner's image has
    assert re.search(r"az bicep install --version v\d+\.\d+\.\d+\n", job)
    for command in ("make run", "make conformance", "az bicep build", "az bicep lint"):
        assert command in job
    assert "HOST: func" in job
