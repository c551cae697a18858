"""The class Session. It finds the settings, connects to the service and closes. All other classes depend on it."""

from __future__ import annotations

import asyncio
import inspect
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, ClassVar, Self, TypeVar

from aiodreamobjects._bucket import Bucket
from aiodreamobjects._config import Credentials, Limits, Retry, Timeouts, check_seconds, hide
from aiodreamobjects._errors import OfOpenSession, SessionClosedError
from aiodreamobjects._listing.pages import Listing, list_buckets
from aiodreamobjects._models import BucketInfo, CannedAcl, Statistics
from aiodreamobjects._object import Object
from aiodreamobjects._recipe import Recipe, Seed
from aiodreamobjects._runtime import Runtime
from aiodreamobjects._s3.credentials import Found
from aiodreamobjects._s3.opening import connect, explicit_credentials, variable, with_profile
from aiodreamobjects._s3.s3 import S3
from aiodreamobjects._service import US_EAST_5, Service, without_user

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

    from aiodreamobjects._s3.credentials import BotoSession
    from aiodreamobjects._trace import Event, Observer

H = TypeVar("H", Bucket, Object)

_NO_BOTO_SESSION = "a session with boto_session= has no recipe: no other process can have that boto_session. Give the session a profile=, or keys"


class Session(OfOpenSession):
    """A connection pool and the credentials for one service. Open one, and share it among thousands of tasks.

    Use ``async with Session() as session``, or ``await session.open()`` and ``await session.aclose()``. A verb called before
    or after that raises SessionClosedError. A session belongs to the event loop on which it was opened. On another loop, in
    another thread or in a forked process every verb raises WrongLoopError, and nothing is sent. Methods that send nothing,
    such as ``url`` and ``presign_get``, work everywhere.

    Each setting comes from the first place that has it: the argument; ``DREAMOBJECTS_ACCESS_KEY_ID``,
    ``DREAMOBJECTS_SECRET_ACCESS_KEY``, ``DREAMOBJECTS_ENDPOINT_URL``, ``DREAMOBJECTS_REGION``,
    ``DREAMOBJECTS_PROFILE``; what aioboto3 finds (``AWS_*``, ``~/.aws``, roles, in ``boto_session`` if given);
    DreamObjects US-East 5. A ``profile`` or a ``boto_session`` takes precedence over credentials in the environment.
    ``service`` describes the service; without it, the endpoint decides.

    ``anonymous`` is for public buckets and objects: the session looks for no keys and signs nothing. Then ``presign_get`` and
    its like raise ValueError. A ``profile`` or a ``boto_session`` still gives the endpoint, the region and the certificates,
    but its keys are not loaded.

    ``ca`` is a PEM bundle of a private certificate authority (else ``AWS_CA_BUNDLE``, else the system's). Verification
    cannot be turned off. ``observe`` is called on the event loop with each event of ``docs/observability.md``: calls, failed
    attempts, transfers, connections. What it raises is logged once and dropped. ``close_grace`` is how many seconds ``aclose`` waits for clean-ups. The session reads
    ``http_proxy``, ``https_proxy``, ``all_proxy`` and ``no_proxy`` when it opens.

    Raises ValueError for an endpoint that is not a URL, for a DreamObjects cluster that was closed, and for ``anonymous`` with
    keys.
    """

    _observers: ClassVar[list[Observer]] = []
    """Those of all sessions that are made from now on: for ``aiodreamobjects.otel``."""

    def __init__(
        self,
        profile: str | None = None,
        *,
        anonymous: bool = False,
        access_key: str | None = None,
        secret_key: str | None = None,
        session_token: str | None = None,
        endpoint: str | None = None,
        region: str | None = None,
        service: Service | None = None,
        limits: Limits | None = None,
        timeouts: Timeouts | None = None,
        retry: Retry | None = None,
        ca: str | os.PathLike[str] | None = None,
        boto_session: BotoSession | None = None,
        observe: Observer | None = None,
        close_grace: float = 20.0,
    ) -> None:
        secret_key, session_token = (
            hide(secret_key),
            hide(session_token),
        )  # so no traceback with local variables shows them
        endpoint = None if endpoint is None else without_user(endpoint)
        for name, value, kind in (
            ("limits", limits, Limits),
            ("timeouts", timeouts, Timeouts),
            ("retry", retry, Retry),
        ):
            if value is not None and not isinstance(value, kind):
                msg = f"{name} must be a {kind.__name__}, not {type(value).__name__}"
                raise TypeError(msg)
        check_seconds("close_grace", close_grace)
        if observe is not None:
            _check_observer(observe)
        if anonymous and (access_key is not None or secret_key is not None or session_token is not None):
            msg = "anonymous=True signs nothing, so it goes with no access_key, secret_key or session_token: leave these out, or anonymous"
            raise ValueError(msg)
        if profile is not None and boto_session is not None:
            msg = "give a profile or a boto_session, not both: a boto_session has its own profile"
            raise ValueError(msg)
        self._profile = profile
        self._anonymous = anonymous
        self._explicit = explicit_credentials(
            (access_key, secret_key, session_token),
            has_own=profile is not None or boto_session is not None or anonymous,
        )
        self._environment_profile = variable("DREAMOBJECTS_PROFILE")
        self._endpoint = endpoint or (
            None if service else without_user(variable("DREAMOBJECTS_ENDPOINT_URL") or "") or None
        )
        self._region = region or (None if service else variable("DREAMOBJECTS_REGION"))
        self._given_service = service
        self._ca = ca
        self._boto_session = boto_session
        self._observe = _all_of([*self._observers] if observe is None else [observe, *self._observers])
        self._close_grace = close_grace
        self._timeouts = timeouts or Timeouts()
        self._is_opened = False
        self._opening_or_closing = asyncio.Lock()
        known = self._settle_service(Found()) if self._endpoint or service else None
        given = self._explicit if access_key and isinstance(self._explicit, Credentials) else None
        obstacle = _NO_BOTO_SESSION if boto_session is not None else ""
        seed = Seed(ca, given, profile, anonymous, close_grace, obstacle)
        self._runtime = Runtime(limits or Limits(), self._timeouts, retry or Retry(), known, seed)

    def __repr__(self) -> str:
        try:
            return str(self._runtime)
        except AttributeError:  # __init__ failed
            return "<Session, not made>"

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def open(self) -> Self:
        """Find credentials and settings. Sends nothing to the service.

        Raises CredentialsError if there are no credentials or only half of them, with the places where it looked;
        FileNotFoundError or ValueError for a bad ``ca``; ValueError for a proxy that is not a URL; SessionClosedError if the
        session was opened before.
        """
        opened_at = _caller()
        async with self._opening_or_closing:
            if self._is_opened:
                msg = "this session was opened before; a session opens only once: make a new Session()"
                raise SessionClosedError(msg)
            self._runtime.connect(*await self._connect(), opened_at)
            self._is_opened = True
        return self

    async def _connect(self) -> tuple[Service, S3]:
        """Find the settings that are still missing, and connect to the service."""
        return await connect(
            self._profile or (None if self._boto_session else self._environment_profile),
            self._boto_session,
            self._explicit,
            self._settle_service,
            needs_endpoint=self._endpoint is None and self._given_service is None,
            anonymous=self._anonymous,
            limits=self._runtime.limits,
            timeouts=self._timeouts,
            retry=self._runtime.retry,
            ca=self._ca,
            observe=self._observe,
        )

    async def aclose(self) -> None:
        """Close every connection. Verbs in progress, and all later ones, raise SessionClosedError.

        Waits up to ``close_grace`` seconds for clean-ups. Uploads that this interrupts, or whose tasks were just cancelled, are
        aborted; completions that were sent may finish. So no upload stays open on a service that answers, except with
        ``resume=True``. A second call does nothing.
        """
        if self._runtime.is_open:
            self._runtime.require_loop()
        async with self._opening_or_closing:
            self._runtime.disconnect(self._close_grace)
        await self._runtime.closed()

    # Buckets and objects

    def bucket(self, name: str) -> Bucket:
        """Return a handle on a bucket, which need not exist. Sends nothing. Raises ValueError for a name that no bucket can have."""
        self._runtime.bucket_names.check(name)
        return Bucket(self._runtime, name)

    def object(self, uri: str) -> Object:
        """Return a handle on the object at ``s3://bucket/key``. Sends nothing.

        Raises ValueError for an impossible bucket name or key.
        """
        bucket, _, key = str(uri).removeprefix("s3://").partition("/")
        if not isinstance(uri, str) or not uri.startswith("s3://"):
            msg = f"{uri!r} must have the form s3://bucket/key"
            raise ValueError(msg)
        return self.bucket(bucket).object(key)

    def buckets(self) -> Listing[BucketInfo]:
        """List the account's buckets by name: ``async for bucket in session.buckets()``. Sends one request."""
        return list_buckets(self._runtime)

    async def create_bucket(
        self,
        name: str,
        acl: CannedAcl | None = None,
        exist_ok: bool = False,  # noqa: FBT001, FBT002 - as makedirs
        *,
        object_lock: bool = False,
    ) -> Bucket:
        """Create a bucket, and return a handle on it. The arguments and errors are those of ``Bucket.create``."""
        bucket = self.bucket(name)
        await bucket.create(acl, exist_ok=exist_ok, object_lock=object_lock)
        return bucket

    # The session itself

    @property
    def service(self) -> Service:
        """Return what is known about the service.

        Raises SessionClosedError before the session opens, unless an argument or a variable names the service.
        """
        return self._runtime.service

    def statistics(self) -> Statistics:
        """Return the counters since the session opened. Any thread may call this."""
        return self._runtime.s3_anywhere.statistics()

    async def boto_client(self) -> S3Client:
        """Return the session's aioboto3 S3 client, for requests that have no verb here.

        The first call makes it; the session closes it. Its requests use the session's credentials, limits, retries and errors.
        An error of the service is a botocore ClientError too.
        """
        return await self._runtime.s3.boto_client()

    def recipe(self) -> Recipe:
        """Return the settings of this session as a value that can be pickled and sent to another process.

        It holds keys only if they were arguments. Raises TypeError for a session that no other process can open: one with a
        ``boto_session``, or of a ``MemoryService``.
        """
        return self._runtime.recipe()

    def bind(self, handle: H) -> H:
        """Make an unpickled Bucket or Object one of this session, and return it.

        Raises ValueError if it belongs to another session already.
        """
        if not isinstance(handle, Bucket | Object):
            msg = f"bind() takes a Bucket or an Object, not {type(handle).__name__}"
            raise TypeError(msg)
        owner = handle._runtime  # noqa: SLF001 - our own classes
        if not owner.is_unbound and owner is not self._runtime:
            msg = f"{handle!r} belongs to {owner}: make one of this session with session.bucket() or session.object()"
            raise ValueError(msg)
        handle._runtime = self._runtime  # noqa: SLF001 - as above
        return handle

    def _settle_service(self, found: Found) -> Service:
        service, endpoint = self._given_service, self._endpoint or found.endpoint
        if service is not None:
            settled = replace(service, endpoint=self._endpoint) if self._endpoint else service
        elif endpoint is not None:
            settled = with_profile(Service.for_endpoint(endpoint, default_region=found.region or "us-east-1"), found)
        else:
            settled = with_profile(US_EAST_5, found)
        return replace(settled, region=self._region) if self._region else settled


def _check_observer(observe: object) -> None:
    if not callable(observe):
        msg = f"observe must be a function that takes an event, not {type(observe).__name__}"
        raise TypeError(msg)
    for function in (observe, type(observe).__call__):
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            msg = f"observe must be a plain function, not async: it is called and not awaited; {observe!r} may put events into a queue"
            raise TypeError(msg)


def _all_of(observers: Sequence[Observer]) -> Observer | None:
    """Return an observer that calls all of these, also if one raises."""
    if len(observers) <= 1:
        return observers[0] if observers else None

    def observe(event: Event) -> None:
        with ExitStack() as stack:
            for one in reversed(observers):
                stack.callback(one, event)

    return observe


def _caller() -> str:
    """Return file and line of the first frame of the program's own: ``asyncio.run(session.open())`` is called by asyncio."""
    frame = sys._getframe(1)  # noqa: SLF001 - the interpreter's documented way
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _NOT_THE_PROGRAM:
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


_NOT_THE_PROGRAM = frozenset(("aiodreamobjects", "anyio", "asyncio", "contextlib"))
