"""Tokenizers, and which prompts share KV blocks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from contracts.errors import InputError
from mocker.api.prompts import Prompt, SharedText
from mocker.text.tokenizer import FolderTokenizer, load_tokenizer
from mocker.text.words import WordTokenizer, write_tokenizer

WORDS = WordTokenizer()


def test_numbers_come_back_as_the_same_numbers() -> None:
    text = "the king of  Zanzibar\nsaid <|w1024|> hello"
    ids = WORDS.encode(text)
    assert len(ids) == WORDS.count(text) == 7
    assert WORDS.encode(WORDS.decode(ids)) == ids
    assert WORDS.decode(WORDS.encode("the river was green")) == "the river was green"
    assert "".join(WORDS.pieces(text + " ")) == text + " "
    assert len(WORDS.pieces(text)) == 7
    for wrong in (0, -1, 1000, WORDS.size):
        with pytest.raises(ValueError, match="no token"):
            WORDS.decode([wrong])


def test_the_written_tokenizer_counts_as_we_do(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    folder = load_tokenizer(tmp_path)
    assert isinstance(folder, FolderTokenizer)
    for text in ("the king", "  nobody knows  this\tword ", "<|w2000|> of", ""):
        assert folder.count(text) == WORDS.count(text)
    assert folder.encode("the king of <|w2000|>") == WORDS.encode("the king of <|w2000|>")
    assert folder.cycle == WORDS.cycle
    assert "".join(folder.pieces("a king sat ")) == "a king sat "
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["tokenizer_class"]


def test_folders_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no tokenizer\.json"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match="cannot be read"):
        load_tokenizer(tmp_path)
    model = {"type": "WordLevel", "vocab": {"the": 0, "?": 1}, "unk_token": "?"}
    empty = {"version": "1.0", "model": model, "added_tokens": []}
    (tmp_path / "tokenizer.json").write_text(json.dumps(empty))
    with pytest.raises(InputError, match="one token"):
        load_tokenizer(tmp_path)


def prompt(text: str) -> Prompt:
    return Prompt(text.split(), text)


def test_prompts_share_the_blocks_before_they_differ() -> None:
    shared = SharedText(4)
    one = shared.describe(prompt("a b c d e f g h i"), ())
    two = shared.describe(prompt("a b c d e f X h i"), ())
    assert one is not None
    assert two is not None
    assert one.ends == two.ends == (4, 8, 9)
    assert one.ids[0] == two.ids[0]
    assert one.ids[1] != two.ids[1]
    assert shared.describe(prompt("a b c"), ()) is None
    numbers = shared.describe(Prompt([1, 2, 3, 4], ""), ())
    assert numbers is not None
    assert numbers.ends == (4,)


def test_tokens_of_number_zero_count() -> None:
    zeros, more = (SharedText(1).describe(Prompt([0] * n, ""), ()) for n in (3, 4))
    assert zeros is not None
    assert more is not None
    assert len(set(more.ids)) == 4
    assert more.ids[:3] == zeros.ids


def test_the_next_turn_names_the_answer_of_the_last_one() -> None:
    shared = SharedText(4)
    first = shared.describe(prompt("a b c d e"), ["k", "l", "m", "n", "o", "p", "q", "r"])
    assert first is not None
    assert first.output_id >= 0
    second = shared.describe(prompt("a b c d e k l m n o p q r new words here"), ())
    assert second is not None
    assert second.ids[:2] == (first.ids[0], first.output_id)
    assert second.ends[:2] == (4, 12)
    assert second.ends[-1] == 16
    assert shared.describe(prompt("a b c d e"), ["k"]).output_id == -1


def test_the_third_turn_names_the_answers_of_both_turns_before() -> None:
    shared = SharedText(4)
    answers = [f"a{n}" for n in range(13)], [f"b{n}" for n in range(10)]
    asked = [f"q{n}" for n in range(5)]
    one = [*asked, *answers[0], "and", "then"]
    two = [*one, *answers[1], "well"]
    first = shared.describe(Prompt(asked, ""), answers[0])
    second = shared.describe(Prompt(one, ""), answers[1])
    third = shared.describe(Prompt(two, ""), ())
    assert first is not None
    assert second is not None
    assert third is not None
    assert second.ids[:2] == (first.ids[0], first.output_id)
    assert second.ends == (4, 16, 20)
    assert third.ids[:4] == (*second.ids[:3], second.output_id)
    assert third.ends == (4, 16, 20, 28, 31)


def test_a_block_size_of_one_token_describes_the_same_text() -> None:
    ones, fours = SharedText(1), SharedText(4)
    words = [f"w{n}" for n in range(5000)]
    one, four = (shared.describe(Prompt(words, ""), ()) for shared in (ones, fours))
    assert one is not None
    assert four is not None
    assert one.ids[3::4] == four.ids
    again = SharedText(1).describe(Prompt([*words[:7], "x"], ""), ())
    assert again is not None
    assert again.ids[:7] == one.ids[:7]
    assert again.ids[7] != one.ids[7]
