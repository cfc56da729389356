"""Faults of the feed that tests and the page can switch on."""

from typing import Annotated, Literal

import msgspec


class Control(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The feed's behaviour. Each `POST /control` replaces it whole; omitted fields return to these defaults."""

    mode: Literal["ok", "status"] = "ok"
    status: Annotated[int, msgspec.Meta(ge=200, le=599)] = 500  # the answer to every batch in mode "status"
    retry_after: Annotated[int, msgspec.Meta(ge=0)] | None = None  # seconds, sent along with that answer
    refuse_ids: list[str] = []  # a batch that holds one of these events is answered 400
    hang_seconds: Annotated[float, msgspec.Meta(ge=0)] = 0  # waited before anything else is done with a batch
