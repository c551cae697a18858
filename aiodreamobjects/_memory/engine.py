"""A service at work: each request from its arrival to its reply, with its faults. It knows no sockets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from aiodreamobjects._memory.calls import Call, Reply
from aiodreamobjects._memory.documents import error_reply
from aiodreamobjects._memory.faults import AS_ASKED, Cut, Faults, Pause, Refuse
from aiodreamobjects._memory.s3 import Request, answer, operation_of, request_of
from aiodreamobjects._memory.store import Store


@dataclass(slots=True)
class Asked:
    """A request as it arrived, and the pauses that apply to it."""

    request: Request
    pauses: tuple[Pause, ...]

    def __str__(self) -> str:
        """Return the request in the words of an error."""
        request = self.request
        if request.bucket is None:
            return request.verb
        if request.verb.endswith("_setting"):
            return f"{request.verb} {request.key} of s3://{request.bucket}"
        return f"{request.verb} s3://{request.bucket}" + (f"/{request.key}" if request.key else "")


class Engine:
    """One service. A carrier lets a request ``arrive``, waits for its pauses, and sends what ``reply`` gives.

    ``note`` is called for each request that arrives.
    """

    def __init__(self, store: Store, note: Callable[[Request], object]) -> None:
        self.store, self.faults = store, Faults()
        self._note = note
        self._replies = 0
        store.refusal_of_key = self.faults.refusal_of_key

    def arrive(self, call: Call) -> Asked:
        """Record a request, and take the pauses that apply to it."""
        request = request_of(call, operation_of(call))
        asked = Asked(request, self.faults.pauses(request))
        self._note(request)
        return asked

    def reply(self, asked: Asked, call: Call) -> tuple[Reply, Cut | None]:
        """Do the work, unless a fault prevents it. Return the reply, and the fault that cuts it."""
        fault = self.faults.strike(asked.request)
        if isinstance(fault, Refuse):
            return error_reply(fault.status, fault.code, AS_ASKED), None
        if fault is not None and not fault.is_done:
            return Reply(HTTPStatus.INTERNAL_SERVER_ERROR), fault
        reply = self.work(call)
        if fault is None and call.method == "GET":
            fault = self.faults.cut_of_body(asked.request, len(reply.body))
        return reply, fault

    def work(self, call: Call) -> Reply:
        return answer(self.store, call)

    def request_id(self) -> str:
        self._replies += 1
        return f"memory-{self._replies}"
