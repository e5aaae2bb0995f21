"""Group commit: everything that waits goes to the database in one call, and callers hear the outcome after the commit."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
import msgspec

from fundwatch.settings import Settings
from transactional.batch import ARGUMENTS, ARRAYS, BULK, Submission, batch, encode, lists
from transactional.bodies import differing_fields
from transactional.keys import EVERY_PLATFORM
from transactional.problems import Problem

ORDERS_A_CALL_MAX = 256
QUEUE_MAX = 4_096
QUEUE_BYTES_MAX = 64 * 1024 * 1024
CALL_TIMEOUT_S = 60.0
CONNECT_TIMEOUT_S = 5.0
LOST = (asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError, asyncpg.InterfaceError, OSError, TimeoutError)
_PLACES = (f"${place}" + (f"::text::{ARRAYS[place]}" if place in ARRAYS else "") for place in range(1, ARGUMENTS + 1))
POST_FAST = f"SELECT ledger.post_fast({', '.join(_PLACES)})"
POST_EACH = "SELECT verdict, answer, code, detail, body FROM ledger.post_each($1::jsonb)"
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a posted request is answered: JSON text, and whether it is the first answer again."""

    body: str
    is_replay: bool


Waiting = tuple[Submission, "asyncio.Future[Answer]"]


class Poster:
    """The one writer: a bounded queue and one flusher over one connection (recipe ledger)."""

    def __init__(self, settings: Settings, queue_max: int = QUEUE_MAX) -> None:
        self._settings = settings
        self._queue_max = queue_max
        self._queue: deque[Waiting] = deque()
        self._queued_bytes = 0
        self._in_flight: set[tuple[str, str, str]] = set()
        self._waiting = asyncio.Event()
        self._connection: Any = None
        self._fast: Any = None  # the fast path, prepared on that connection
        self._flusher: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to take requests off the queue."""
        self._flusher = asyncio.create_task(self._flush_forever())

    async def stop(self) -> None:
        """Stop taking requests; those still waiting are answered OUTCOME_UNKNOWN."""
        if self._flusher is not None:
            self._flusher.cancel()
            await asyncio.gather(self._flusher, return_exceptions=True)
        for submission, future in self._queue:
            self._answer(submission, future, Problem("OUTCOME_UNKNOWN", "the service is stopping"))
        self._queue.clear()
        await self._disconnect()

    def submit(self, submission: Submission) -> asyncio.Future[Answer]:
        """Queue a request; the future brings its Answer once that is durable, or a Problem.

        Raises Problem IN_FLIGHT for a key being worked on and QUEUE_FULL when too many wait.
        """
        if submission.identity in self._in_flight:
            raise Problem("IN_FLIGHT", f"Idempotency-Key {submission.key} is being worked on")
        if len(self._queue) >= self._queue_max or self._queued_bytes > QUEUE_BYTES_MAX:
            raise Problem("QUEUE_FULL", f"{len(self._queue)} requests are waiting")
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._in_flight.add(submission.identity)
        self._queue.append((submission, future))
        self._queued_bytes += len(submission.body)
        self._waiting.set()
        return future

    async def _flush_forever(self) -> None:
        while True:
            await self._waiting.wait()
            taken = self._take()
            try:
                outcomes = await self._post([submission for submission, _ in taken])
            except BaseException as error:
                if isinstance(error, Exception):
                    log.exception("a batch of %d requests failed", len(taken))
                outcomes = [Problem("OUTCOME_UNKNOWN", "the service could not learn the outcome")] * len(taken)
                if not isinstance(error, Exception):
                    self._answer_all(taken, outcomes)
                    raise
            self._answer_all(taken, outcomes)
            if not self._queue:
                self._waiting.clear()

    def _take(self) -> list[Waiting]:
        """A bulk request alone, or as many single orders of one path (fast or careful) as stand in a row."""
        taken = [self._queue.popleft()]
        first = taken[0][0]
        if first.endpoint != BULK:
            is_plain = first.is_plain
            while self._queue and len(taken) < ORDERS_A_CALL_MAX and self._queue[0][0].endpoint != BULK:
                if self._queue[0][0].is_plain != is_plain:
                    break
                taken.append(self._queue.popleft())
        self._queued_bytes -= sum(len(submission.body) for submission, _ in taken)
        return taken

    def _answer_all(self, taken: Sequence[Waiting], outcomes: Sequence[Answer | Problem]) -> None:
        for (submission, future), outcome in zip(taken, outcomes, strict=True):
            self._answer(submission, future, outcome)

    def _answer(self, submission: Submission, future: asyncio.Future[Answer], outcome: Answer | Problem) -> None:
        self._in_flight.discard(submission.identity)
        if future.cancelled():  # the caller went away; the answer is stored under its key
            return
        if isinstance(outcome, Problem):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)

    async def _post(self, submissions: Sequence[Submission]) -> list[Answer | Problem]:
        try:
            connection = await self._connect()
        except (asyncpg.PostgresError, *LOST) as error:
            log.warning("no connection to the database: %s", error)
            return [Problem("DATABASE_MISSING", "the database does not answer")] * len(submissions)
        try:
            if submissions[0].is_plain:
                try:
                    texts = await self._fast.fetchval(*lists(self._settings, submissions), timeout=CALL_TIMEOUT_S)
                    return [Answer(text, False) for text in texts]
                except asyncpg.PostgresError as error:  # a doubt; nothing was kept, and the careful path says why
                    if isinstance(error, LOST):
                        raise
                    log.debug("%d requests are judged carefully: %s", len(submissions), error)
            return await self._post_carefully(connection, submissions)
        except LOST as error:
            log.warning("connection lost during a batch: %s", error)
            await self._disconnect()
            return [Problem("OUTCOME_UNKNOWN", "the database did not answer")] * len(submissions)

    async def rehearse(self, pool: Any, submission: Submission) -> Answer:
        """What posting a request would answer now; nothing is kept. Raises the Problem that posting it would."""
        async with pool.acquire() as connection:
            transaction = connection.transaction()
            await transaction.start()
            try:
                row = await connection.fetchrow(POST_EACH, encode([batch(self._settings, [submission])]), timeout=CALL_TIMEOUT_S)
            finally:
                await transaction.rollback()
        outcome = _outcome(submission, row)
        if isinstance(outcome, Problem):
            raise outcome
        return outcome

    async def _post_carefully(self, connection: Any, submissions: Sequence[Submission]) -> list[Answer | Problem]:
        """One verdict each; on an unexpected error halve the call, so that one bad request does not fail the others."""
        batches = [batch(self._settings, [submission]) for submission in submissions]
        try:
            rows = await connection.fetch(POST_EACH, encode(batches), timeout=CALL_TIMEOUT_S)
        except asyncpg.PostgresError as error:
            if isinstance(error, LOST):
                raise
            if len(submissions) == 1:
                log.exception("request %s failed in the database", submissions[0].identity)
                return [Problem("INTERNAL", "the database refused the request; nothing was posted")]
            middle = len(submissions) // 2
            first = await self._post_carefully(connection, submissions[:middle])
            return first + await self._post_carefully(connection, submissions[middle:])
        return [_outcome(submission, row) for submission, row in zip(submissions, rows, strict=True)]

    async def _connect(self) -> Any:
        if self._connection is None or self._connection.is_closed():
            url = self._settings.database_url("service")
            connection = await asyncpg.connect(url, timeout=CONNECT_TIMEOUT_S)
            self._fast = await connection.prepare(POST_FAST)
            self._connection = connection
        return self._connection

    async def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None


def refusal(code: str, detail: str | None, is_bulk: bool = False, scope: str = EVERY_PLATFORM) -> Problem:
    """A Problem from what `ledger.refuse` raised: the code, and DETAIL naming order, field and value.

    To a platform's key (`scope`) an account of another platform looks like none.
    """
    fault = json.loads(detail or "{}")
    field, value = fault.get("field"), fault.get("value")
    if code == "ACCOUNT_OF_OTHER_PLATFORM" and scope != EVERY_PLATFORM:
        code = "UNKNOWN_ACCOUNT"
    if is_bulk:
        field = f"orders[{fault.get('order')}].{field}"
    return Problem(code, f"{field}: {value}", field=field, value=value)


def _outcome(submission: Submission, row: Any) -> Answer | Problem:
    if row["verdict"] in ("posted", "replayed"):
        return Answer(row["answer"], row["verdict"] == "replayed")
    if row["verdict"] == "conflict":
        fields = differing_fields(msgspec.json.decode(row["body"]), msgspec.json.decode(submission.body))
        return Problem("IDEMPOTENCY_KEY_REUSED", f"these fields differ from the first body: {', '.join(fields)}", fields=fields)
    return refusal(row["code"], row["detail"], submission.endpoint == BULK, submission.scope)
