"""Microsoft's language service for Kusto, which checks the queries.

`make test` installs it into .kusto/ from package.json and package-lock.json in this directory.
"""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

from local.azurite import NODE

HERE = Path(__file__).parent
INSTALLED = HERE.parents[2] / ".kusto"

TABLES = {
    "AppMetrics": "(TimeGenerated: datetime, Name: string, ItemCount: int, Sum: real, Min: real, Max: real, "
    "Properties: dynamic, AppRoleName: string, AppRoleInstance: string, OperationName: string, OperationId: string)",
    "AppRequests": "(TimeGenerated: datetime, Name: string, OperationName: string, Success: bool, ResultCode: string, "
    "DurationMs: real, ItemCount: int, Properties: dynamic, AppRoleName: string, OperationId: string)",
    "AppTraces": "(TimeGenerated: datetime, Message: string, SeverityLevel: int, ItemCount: int, Properties: dynamic, "
    "AppRoleName: string, OperationName: string, OperationId: string)",
    "AppExceptions": "(TimeGenerated: datetime, ExceptionType: string, InnermostType: string, OuterType: string, "
    "ProblemId: string, ItemCount: int, AppRoleName: string, OperationName: string, OperationId: string)",
    "AGWFirewallLogs": "(TimeGenerated: datetime, Action: string, ClientIp: string, Hostname: string, "
    "RequestUri: string, RuleId: string, Message: string)",
}
"""The tables of a Log Analytics workspace that the queries use, with the columns that Microsoft documents."""


def complaints(queries: Sequence[str]) -> list[list[str]]:
    """Return the errors of each query: in its syntax, names and types."""
    asked = json.dumps({"tables": TABLES, "queries": queries})
    command = [str(NODE), str(HERE / "check.js"), str(INSTALLED)]
    done = subprocess.run(command, input=asked, capture_output=True, text=True, check=True)
    answered: list[list[str]] = json.loads(done.stdout)
    return answered
