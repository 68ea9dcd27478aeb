"""The bundled tokenizer: one word is one token, whatever the word.

Words of the vocabulary have numbers of their own; all others share a range of numbers by
their hash and are written back as ``<|w123|>``, which is again one word with that number.
:func:`write_tokenizer` writes the same rule as a Hugging Face tokenizer for clients.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Sequence
from pathlib import Path

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
# Numbers of words outside the vocabulary begin here; there are so many of them.
_OTHERS, _OTHERS_COUNT = 1024, 31_744
# An odd stride that shares no factor with the vocabulary, so that answers do not read alike.
_STRIDE = 7
_HASHED = re.compile(r"<\|w(\d+)\|>")
_PIECE = re.compile(r"\s*\S+")


class WordTokenizer:
    """Counts words; needs no files.

    Attributes:
        cycle: tokens that answers are made of, in the order in which they follow each other.
        size: numbers of tokens are below it.
    """

    name = "words"
    size = _OTHERS + _OTHERS_COUNT

    def __init__(self) -> None:
        ordered = [_WORDS[_STRIDE * place % len(_WORDS)] for place in range(len(_WORDS))]
        self.cycle = tuple(f" {word}" for word in ordered)
        self._numbers = {word: number for number, word in enumerate(_WORDS, start=1)}

    def count(self, text: str) -> int:
        """Tokens of a text."""
        return len(text.split())

    def encode(self, text: str) -> list[int]:
        """Numbers of the tokens."""
        known = self._numbers
        return [known.get(word) or _hashed(word) for word in text.split()]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of tokens; encoding it gives the same numbers again.

        Raises:
            ValueError: a number that no token has.
        """
        words = []
        for number in ids:
            if 0 < number <= len(_WORDS):
                words.append(_WORDS[number - 1])
            elif _OTHERS <= number < self.size:
                words.append(f"<|w{number}|>")
            else:
                raise ValueError(f"{number} is no token")
        return " ".join(words)

    def pieces(self, text: str) -> list[str]:
        """The text cut into one piece for each token."""
        found = _PIECE.findall(text)
        if found:
            found[-1] += text[sum(map(len, found)) :]
        return found


def _hashed(word: str) -> int:
    named = _HASHED.fullmatch(word)
    if named and _OTHERS <= int(named[1]) < WordTokenizer.size:
        return int(named[1])
    return _OTHERS + zlib.crc32(word.encode()) % _OTHERS_COUNT


def write_tokenizer(folder: Path) -> None:
    """Write files that Hugging Face's tokenizers load and that count exactly as we do.

    Raises:
        OSError: they cannot be written.
    """
    numbers = {"<|unk|>": 0} | {word: number for number, word in enumerate(_WORDS, start=1)}
    numbers |= {f"<|w{number}|>": number for number in range(_OTHERS, WordTokenizer.size)}
    tokenizer: dict[str, object] = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": None,
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": numbers, "unk_token": "<|unk|>"},
    }
    # The unknown word is no special token: clients leave those out when they cut a text to length.
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": 1_000_000,
        "clean_up_tokenization_spaces": False,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
