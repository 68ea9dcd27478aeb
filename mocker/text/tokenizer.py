"""The port of tokenizers, and the one that reads a local Hugging Face folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from contracts.errors import InputError, UnsupportedError
from mocker.text.words import WordTokenizer

_FILE = "tokenizer.json"


class Tokenizer(Protocol):
    """Text to numbers and back.

    Attributes:
        name: for people.
        cycle: tokens that answers are made of; any run of them, repeated, has as many tokens.
        size: numbers of tokens are below it.
    """

    name: str
    cycle: tuple[str, ...]
    size: int

    def count(self, text: str) -> int:
        """Tokens of a text."""
        ...

    def encode(self, text: str) -> list[int]:
        """Numbers of the tokens."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Text of tokens.

        Raises:
            ValueError: a number that no token has.
        """
        ...

    def pieces(self, text: str) -> list[str]:
        """The text cut into one piece for each token."""
        ...


class FolderTokenizer:
    """A tokenizer from ``tokenizer.json`` of a local folder; nothing is fetched.

    Raises:
        UnsupportedError: the library that reads it is not installed.
        InputError: the file is missing or wrong, or has too few words of one token.
    """

    def __init__(self, folder: Path) -> None:
        try:
            import tokenizers  # noqa: PLC0415  # an extra
        except ImportError as error:
            raise UnsupportedError(
                f"--tokenizer {folder} needs the extra 'tokenizer': pip install -e '.[tokenizer]'"
            ) from error
        path = folder / _FILE
        if not path.is_file():
            raise InputError("there is no tokenizer.json", source=str(folder), path="--tokenizer")
        try:
            self._model: Any = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises nothing narrower
            raise InputError(f"cannot be read: {error}", source=str(path)) from error
        self.name = str(folder)
        self.size = int(self._model.get_vocab_size())
        words = WordTokenizer().cycle
        self.cycle = tuple(word for word in words if self.count(word) == 1)
        if len(self.cycle) < 2 or self.count("".join(self.cycle * 2)) != 2 * len(self.cycle):
            raise InputError(
                "words do not stay one token when they follow each other",
                source=str(path),
                path="--tokenizer",
            )

    def count(self, text: str) -> int:
        """Tokens of a text, special ones left out."""
        return len(self.encode(text))

    def encode(self, text: str) -> list[int]:
        """Numbers of the tokens."""
        return list(self._model.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of tokens.

        Raises:
            ValueError: a number that no token has.
        """
        wrong = [number for number in ids if not 0 <= number < self.size]
        if wrong:
            raise ValueError(f"{wrong[0]} is no token")
        return str(self._model.decode(list(ids), skip_special_tokens=False))

    def pieces(self, text: str) -> list[str]:
        """The text cut at the ends of its tokens; a token inside a character is empty."""
        ends = [end for _, end in self._model.encode(text, add_special_tokens=False).offsets]
        if not ends:
            return []
        starts = [0, *ends[:-1]]
        found = [text[start:end] for start, end in zip(starts, ends, strict=True)]
        found[-1] += text[ends[-1] :]
        return found


def load_tokenizer(folder: Path | None) -> Tokenizer:
    """The bundled tokenizer, or the one of a local folder.

    Raises:
        UnsupportedError: the library that reads folders is not installed.
        InputError: the folder does not hold a usable tokenizer.
    """
    return WordTokenizer() if folder is None else FolderTokenizer(folder)
