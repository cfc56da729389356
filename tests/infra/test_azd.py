"""azure.yaml runs the same steps as infra/deploy.sh, in azd's order."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.infra.bicep import INFRA, template
from tests.infra.deployment import DEPLOYED, EMPTY, World, deploy

pytestmark = pytest.mark.process

TEXT = (INFRA.parent / "azure.yaml").read_text(encoding="utf-8")


def hook(name: str) -> str:
    """Return the command of a hook, as YAML folds it into one line."""
    before = r"(?: +#.*\n| +(?:shell|interactive): .*\n)*"
    (found,) = re.findall(rf"^ +{name}:\n{before} +run: (.*\n(?: {{6,}}.*\n)*)", TEXT, re.MULTILINE)
    return " ".join(str(found).removeprefix(">-").split())


def test_the_service_is_known_by_the_tag_of_the_app() -> None:
    (service,) = re.findall(r"^services:\n  (\w+):", TEXT, re.MULTILINE)
    assert f"'azd-service-name': '{service}'" in template("main.bicep").text


def test_the_package_is_built_where_azd_looks_for_it() -> None:
    (place,) = re.findall(r"^    dist: (.*)$", TEXT, re.MULTILINE)
    assert hook("prepackage") == f"python3 infra/package.py {place}"


def test_parameters_are_written_where_azd_reads_them() -> None:
    (folder,) = re.findall(r"^  path: (.*)$", TEXT, re.MULTILINE)
    (module,) = re.findall(r"^  module: (.*)$", TEXT, re.MULTILINE)
    for name in ("preup", "preprovision"):
        assert hook(name).endswith(f"--prepare {folder}/{module}.parameters.json")
    assert f"{folder}/{module}.parameters.json" in (INFRA.parent / ".gitignore").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["preup", "preprovision", "postprovision", "postdeploy", "predown", "postdown"])
def test_hooks_name_the_group_or_say_how_to(name: str, tmp_path: Path) -> None:
    assert '--resource-group "${AZURE_RESOURCE_GROUP' in hook(
        name
    ) or '--resource-group "$AZURE_RESOURCE_GROUP"' in hook(name)
    if name.startswith("pre") and name != "predown":
        done = subprocess.run(
            ["sh", "-c", hook(name)], cwd=tmp_path, env={"PATH": "/usr/bin:/bin"}, capture_output=True, check=False
        )
        assert b"azd env set AZURE_RESOURCE_GROUP" in done.stderr


def test_before_and_after_azd_the_same_is_done_as_by_the_script_alone(tmp_path: Path) -> None:
    written = tmp_path / "main.parameters.json"
    before = deploy(tmp_path / "before", "--prepare", str(written), world=EMPTY, AZURE_ENV_NAME="relay-test")
    assert before.code == 0, before.said
    assert '"clientId"' in written.read_text(encoding="utf-8")
    (group,) = before.ran("group", "create")
    assert "azd-env-name=relay-test" in group
    assert before.ran("deployment", "group", "create") == []
    after = deploy(tmp_path / "after", "--connect", world=DEPLOYED)
    assert after.code == 0, after.said
    assert after.ran("ad", "app", "federated-credential", "update")


def test_another_subscription_than_azds_is_refused(tmp_path: Path) -> None:
    run = deploy(tmp_path, "--prepare", str(tmp_path / "x.json"), world=EMPTY, AZURE_SUBSCRIPTION_ID="another")
    assert run.code != 0
    assert "az account set --subscription another" in run.said
    assert run.ran("group", "create") == []


def test_what_is_not_in_the_group_goes_after_it(tmp_path: Path) -> None:
    memory = tmp_path / "forget"
    deploy(tmp_path / "a", "--remember", str(memory), world=DEPLOYED)
    kept = deploy(tmp_path / "b", "--forget", str(memory), world=DEPLOYED)  # azd has the answer no: the group exists
    assert (kept.code != 0, kept.ran("ad", "app", "delete")) == (True, [])
    gone: World = [("group exists", "false"), *DEPLOYED]
    forgotten = deploy(tmp_path / "c", "--forget", str(memory), world=gone)
    assert forgotten.code == 0, forgotten.said
    assert forgotten.ran("ad", "app", "delete")
    assert forgotten.ran("role", "definition", "delete")
