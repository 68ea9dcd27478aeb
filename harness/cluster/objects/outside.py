"""Questions to programs outside the server, asked between two tries of one request.

All writes are synchronous in one event loop, so none of them may wait. A request that needs
an answer from outside ends with :class:`AnswersMissing` before it has stored anything; the
answers are fetched in threads while others are served, and the request is tried again
with them from the start, on whatever the objects have become meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeVar

from harness.cluster.objects.errors import ApiError

_TRIES = 20
T = TypeVar("T")
A = TypeVar("A")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Attributes: ``key`` tells questions apart, ``ask`` waits for the answer."""

    key: str
    ask: Callable[[], Any]


class AnswersMissing(Exception):  # noqa: N818  # no error: the request goes on later
    """A request cannot go on without answers."""

    def __init__(self, questions: Iterable[Question]) -> None:
        super().__init__("answers from outside are missing")
        self.questions = tuple(questions)


@dataclass(slots=True)
class Answers:
    """What one request has learnt from outside so far, and what its tries share."""

    known: dict[str, Any] = field(default_factory=dict)
    shared: dict[str, Any] = field(default_factory=dict)

    def attempt(self, work: Callable[[], T]) -> T:
        """Try the request.

        Raises:
            AnswersMissing: fetch them and try again.
        """
        token = _current.set(self)
        try:
            return work()
        finally:
            _current.reset(token)

    async def fetch(self, questions: Iterable[Question]) -> None:
        """Ask, all at the same time."""
        wanted = {question.key: question for question in questions}
        found = await asyncio.gather(
            *(asyncio.to_thread(_asked, question) for question in wanted.values())
        )
        self.known.update(zip(wanted, found, strict=True))


_current: ContextVar[Answers | None] = ContextVar("answers", default=None)


async def repeated(work: Callable[[], T]) -> T:
    """Do something that may have questions.

    Raises:
        ApiError: as the work does; 409 if the objects change faster than answers come.
    """
    answers = Answers()
    for _ in range(_TRIES):
        try:
            return answers.attempt(work)
        except AnswersMissing as missing:
            questions = missing.questions
        await answers.fetch(questions)
    text = "the object changes faster than webhooks answer; please try again"
    raise ApiError(409, "Conflict", text)


def answer(question: Question) -> Any:  # noqa: ANN401  # what the question is about
    """The answer to a question; outside of :func:`repeated` it is waited for.

    Raises:
        AnswersMissing: it has to be fetched first.
        ApiError: this is the answer.
    """
    answers = _current.get()
    if answers is None:
        return question.ask()
    if question.key not in answers.known:
        raise AnswersMissing([question])
    found = answers.known[question.key]
    if isinstance(found, ApiError):
        raise found
    return found


def in_request() -> bool:
    """Whether a client's request is worked on, not the cluster's own controllers."""
    return _current.get() is not None


def shared(name: str, make: Callable[[], T]) -> T:
    """A value that all tries of one request have in common."""
    answers = _current.get()
    if answers is None:
        return make()
    if name not in answers.shared:
        answers.shared[name] = make()
    found: T = answers.shared[name]
    return found


def each(items: Iterable[A], work: Callable[[A], T]) -> list[T]:
    """The work on every item, with the questions of all of them at once.

    Raises:
        AnswersMissing: there are any.
    """
    done: list[T] = []
    questions: list[Question] = []
    for item in items:
        try:
            done.append(work(item))
        except AnswersMissing as missing:
            questions += missing.questions
    if questions:
        raise AnswersMissing(questions)
    return done


def _asked(question: Question) -> Any:  # noqa: ANN401  # what the question is about
    try:
        return question.ask()
    except ApiError as error:
        return error
