"""Faults of the feed that tests and the page can switch on."""

from typing import Annotated, Literal

import msgspec


class Control(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The feed's behaviour. Each `POST /control` replaces it completely; omitted fields return to these defaults."""

    mode: Literal["ok", "status"] = "ok"
    status: Annotated[int, msgspec.Meta(ge=200, le=599)] = 500  # the status of every response in mode "status"
    retry_after: Annotated[int, msgspec.Meta(ge=0)] | None = None  # seconds, in that response
    refuse_ids: list[str] = []  # a batch with one of these events is answered 400
    hang_seconds: Annotated[float, msgspec.Meta(ge=0)] = 0  # seconds to wait before a batch is processed
