"""Drives Microsoft's own Python worker library, as the host in Azure does over gRPC, without the host.

From Python 3.13 on, Azure runs functions through `azure_functions_runtime`. It takes protobuf messages whose classes
Microsoft ships in the wheel of the v1 library only, among its tests: this module loads them by path, since that
wheel's package is called `tests` as ours is.
"""

import asyncio
import importlib
import importlib.metadata
import json
import sys
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import azure_functions_runtime as runtime

PROTOS = "azure_functions_protos"


class WorkerFailed(Exception):
    """The worker answered that a call failed; holds its message."""


def protobuf_classes() -> ModuleType:
    """Return the classes of the messages between host and worker."""
    if PROTOS not in sys.modules:
        files = importlib.metadata.files("azure-functions-runtime-v1") or []
        module = next(file for file in files if file.as_posix().endswith("tests/protos/FunctionRpc_pb2.py"))
        package = ModuleType(PROTOS)  # without running its __init__, which imports grpc
        package.__path__ = [str(Path(str(module.locate())).parent)]
        sys.modules[PROTOS] = package
    return importlib.import_module(f"{PROTOS}.FunctionRpc_pb2")


class WorkerLibrary:
    """The worker with the app of `directory` indexed; `functions`: the names that it found, with their bindings."""

    def __init__(self, directory: Path) -> None:
        self._protos = protobuf_classes()
        runtime.start_threadpool_executor()
        init = self._protos.WorkerInitRequest(function_app_directory=str(directory), capabilities={})
        self._ask(runtime.worker_init_request, worker_init_request=init)
        metadata = self._ask(
            runtime.functions_metadata_request, functions_metadata_request=self._protos.FunctionsMetadataRequest()
        )
        self._found = {found.name: found for found in metadata.function_metadata_results}

    @property
    def functions(self) -> dict[str, list[dict[str, Any]]]:
        """The bindings of each function, as Azure sees them."""
        return {name: [json.loads(raw) for raw in found.raw_bindings] for name, found in self._found.items()}

    def load(self, name: str) -> None:
        """Load a function.

        Raises:
            WorkerFailed: it does not load.
        """
        found = self._found[name]
        load = self._protos.FunctionLoadRequest(function_id=found.function_id, metadata=found)
        self._ask(runtime.function_load_request, function_load_request=load)

    def post(
        self, name: str, argument: str, query: Mapping[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        """Invoke an HTTP function; return status, headers in lower case, and body.

        Raises:
            WorkerFailed: the function raised.
        """
        protos = self._protos
        http = protos.RpcHttp(
            method="POST", url="https://localhost/api/notifications", query=query, body=protos.TypedData(bytes=body)
        )
        invocation = protos.InvocationRequest(
            invocation_id="1",
            function_id=self._found[name].function_id,
            input_data=[protos.ParameterBinding(name=argument, data=protos.TypedData(http=http))],
        )
        answer = self._ask(runtime.invocation_request, invocation_request=invocation).return_value.http
        headers = {header.lower(): value for header, value in answer.headers.items()}
        return int(answer.status_code), headers, answer.body.bytes

    def hand_over(self, name: str, argument: str, events: Sequence[bytes]) -> None:
        """Invoke an Event Hubs function with several events.

        Raises:
            WorkerFailed: the function raised.
        """
        protos = self._protos
        properties = json.dumps([{"SequenceNumber": number} for number in range(len(events))])
        invocation = protos.InvocationRequest(
            invocation_id="1",
            function_id=self._found[name].function_id,
            input_data=[
                protos.ParameterBinding(
                    name=argument, data=protos.TypedData(collection_bytes=protos.CollectionBytes(bytes=events))
                )
            ],
            trigger_metadata={"SystemPropertiesArray": protos.TypedData(json=properties)},
        )
        self._ask(runtime.invocation_request, invocation_request=invocation)

    def close(self) -> None:
        """Stop the worker's threads."""
        runtime.stop_threadpool_executor()

    def _ask(self, handler: Any, **message: object) -> Any:
        request = SimpleNamespace(
            request=self._protos.StreamingMessage(**message),
            properties={"host": "127.0.0.1", "protos": self._protos},
        )
        answering: Coroutine[Any, Any, Any] = handler(request)
        # In a thread of its own: the tests of the page leave a running loop in this one.
        with ThreadPoolExecutor(1) as thread:
            answer = thread.submit(asyncio.run, answering).result()
        if answer.result.status != self._protos.StatusResult.Success:
            raise WorkerFailed(f"{answer.result.exception.message}\n{answer.result.exception.stack_trace}")
        return answer
