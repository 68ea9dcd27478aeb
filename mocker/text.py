"""Deterministic text whose token count everyone can check: one word is one token."""

from __future__ import annotations

import json
from collections.abc import Sequence

from contracts.streams import stable_hash

# fmt: off
_WORDS = (  # noqa: SIM905  # one token each; a list would fill the page
    "the of and to in that is was he for it with as his on be at by had not are but from or "
    "have an they which one you were her all she there would their we him been has when who "
    "will more no if out so said what up its about into than them can only other new some "
    "could time these two may then do first any my now such like our over man me even most "
    "made after also did many before must through back years where much your way well down "
    "should because each just those people how too little state good very make world still "
    "own see men work long get here between both life being under never day same another "
    "know while last might us great old year off come since against go came right used take "
    "three king river stone green field house light paper glass wind road bread salt iron"
).split()
# fmt: on
TOKENS = tuple(f" {word}" for word in _WORDS)
TOKEN_JSON = tuple(json.dumps(token).encode() for token in TOKENS)
# An odd stride that shares no factor with the vocabulary visits every word.
_STRIDE = 7


def count_tokens(text: str) -> int:
    """Tokens of a prompt: its words."""
    return len(text.split())


def first_word(seed: int, prompt_tokens: int, choice: int) -> int:
    """Where the answer to a prompt starts in the vocabulary."""
    return stable_hash(f"{seed}/{prompt_tokens}/{choice}") % len(TOKENS)


def word_index(start: int, position: int) -> int:
    """Vocabulary index of the token at a position of an answer."""
    return (start + _STRIDE * position) % len(TOKENS)


def answer(start: int, tokens: int) -> str:
    """The whole answer of a number of tokens."""
    return "".join(TOKENS[word_index(start, position)] for position in range(tokens))


def stop_at(
    start: int, tokens: int, stops: Sequence[str], min_tokens: int
) -> tuple[int, str] | None:
    """Where a stop string first appears in an answer.

    Returns:
        Tokens generated up to and including the match, and the text before it; ``None``
        when no stop string appears.
    """
    text = ""
    for position in range(tokens):
        text += TOKENS[word_index(start, position)]
        if position + 1 < min_tokens:
            continue
        found = [at for stop in stops if (at := text.find(stop)) >= 0]
        if found:
            return position + 1, text[: min(found)]
    return None
