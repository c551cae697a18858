"""A service at work: each request from its arrival to its reply, with whatever goes wrong. It knows no sockets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from http import HTTPStatus
from random import Random

from aiodreamobjects._memory.actions import Change, Cut, Delivery, Early, Late, Meanwhile, Mishear, Pause, Raw, Refuse
from aiodreamobjects._memory.calls import Call, Reply
from aiodreamobjects._memory.faults import Asked, Faults, Rule
from aiodreamobjects._memory.s3 import answer
from aiodreamobjects._memory.signatures import claim_of, signature_of
from aiodreamobjects._memory.store import Store


class Engine:
    """One service. A carrier lets a request ``arrive``, prepares it, and sends what ``reply`` gives.

    ``note`` is called for each request that arrives.
    """

    def __init__(self, store: Store, note: Callable[[Asked], object]) -> None:
        self.store, self.faults = store, Faults()
        self.rules: Sequence[Rule] = ()
        self.random = Random(0)  # noqa: S311 - the same chances in each run
        self._note = note
        self._late: list[tuple[Asked, Call]] = []
        self._replies = 0
        store.refusal_of_key = self.faults.refusal_of_key

    def arrive(self, call: Call, connection: int = 0) -> Asked:
        """Record a request. Rules and pauses strike now."""
        asked = Asked.of(call, connection)
        struck = [rule for rule in self.rules if rule.strikes(asked, self.random)]
        asked.actions = (*(action for rule in struck for action in rule.actions), *self.faults.pauses(asked.request))
        self._note(asked)
        return asked

    async def prepare(self, asked: Asked, call: Call) -> Call | None:
        """Apply what comes before the work. Return the call to work on, or None if it is kept for later."""
        for action in asked.actions:
            match action:
                case Pause():
                    await action.wait()
                case Meanwhile():
                    self.change(call.bucket, action)
                case Mishear():
                    call = self._mishear(action, call)
                case Late():
                    self._late.append((asked, call))
                    return None
        return call

    def reply(self, asked: Asked, call: Call) -> tuple[Reply, Delivery | None]:
        """Do the work, unless a fault prevents it. Return the reply, and how to send it."""
        fault = self.faults.strike(asked.request)
        actions = asked.actions if fault is None else (*asked.actions, fault)
        reply = Reply(HTTPStatus.INTERNAL_SERVER_ERROR)
        if all(getattr(action, "is_done", True) for action in actions):
            reply = self.work(call)
            asked.status = reply.status
        for action in actions:
            if isinstance(action, Change):
                reply = action.of(reply)
        delivery = next((action for action in actions if isinstance(action, Delivery)), None)
        if delivery is None and call.method == "GET":
            delivery = self.faults.cut_of_body(asked.request, len(reply.body))
        is_told = not any(isinstance(action, Cut | Raw) for action in (*actions, delivery))
        asked.is_plain = is_told and not any(isinstance(action, Change | Early) for action in actions)
        asked.is_refused = is_told and any(isinstance(action, Refuse) and action.is_definite for action in actions)
        return reply, delivery

    def work(self, call: Call) -> Reply:
        return answer(self.store, call)

    def change(self, bucket: str, meanwhile: Meanwhile) -> None:
        meanwhile.change(self.store.bucket(bucket))

    def carry_out_late(self, asked: Asked) -> None:
        """Handle the requests that were kept until one of their kind was answered."""
        due = [call for late, call in self._late if (late.op, late.key, late.part) == (asked.op, asked.key, asked.part)]
        self._late = [(late, call) for late, call in self._late if call not in due]
        for call in due:
            self.work(call)

    def request_id(self) -> str:
        self._replies += 1
        return f"memory-{self._replies}"

    def _mishear(self, mishear: Mishear, call: Call) -> Call:
        """Return the changed call, signed again if its signature was valid."""
        misheard, claim, secret_key = mishear.of(call), claim_of(call), self.store.dialect.secret_key
        if claim is None or "authorization" not in call.headers:
            return misheard
        scope = claim.credential.partition("/")[2]
        if signature_of(secret_key, call, claim, scope) != claim.signature:
            return misheard
        signature = signature_of(secret_key, misheard, claim, scope)
        signed = call.headers["authorization"].replace(claim.signature, signature)
        return replace(misheard, headers={**misheard.headers, "authorization": signed})
