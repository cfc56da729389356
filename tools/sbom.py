"""Write the bill of materials of the deployed app: CycloneDX, made from what requirements.txt pins.

    python -m tools.sbom sbom.json

Equal requirements give an equal file.
"""

import json
import sys
import uuid
from importlib import metadata
from pathlib import Path

from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import LicenseExpression
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL

from tools.licences import licence
from tools.pinned import RUNTIME, Pinned, pinned

NAME = "graph-relay"


def bill(packages: list[Pinned]) -> Bom:
    """Return the bill of `packages`, with their dependencies."""
    made = Bom(serial_number=uuid.uuid5(uuid.NAMESPACE_URL, RUNTIME.read_text()))
    app = made.metadata.component = Component(name=NAME, type=ComponentType.APPLICATION, bom_ref=NAME)
    components = [(package, _component(package)) for package in packages]
    for _, component in components:
        made.components.add(component)
    for package, component in components:
        needing = [other for dependent, other in components if dependent.name in package.via]
        for other in [*needing, *([app] if package.direct else [])]:
            made.register_dependency(other, [component])
    return made


def written(made: Bom) -> str:
    """Return a bill as JSON, without the time of writing."""
    document = json.loads(make_outputter(made, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string())
    del document["metadata"]["timestamp"]
    return json.dumps(document, indent=2) + "\n"


def _component(package: Pinned) -> Component:
    return Component(
        name=package.name,
        version=package.version,
        bom_ref=f"{package.name}@{package.version}",
        purl=PackageURL("pypi", name=package.name, version=package.version),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=content) for content in package.hashes],
        licenses=_licences(package),
    )


def _licences(package: Pinned) -> list[LicenseExpression]:
    try:
        expression = licence(package.name)
    except metadata.PackageNotFoundError:  # it is for another system
        return []
    return [LicenseExpression(expression)] if expression else []


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(written(bill(pinned())))
