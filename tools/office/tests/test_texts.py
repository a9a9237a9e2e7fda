"""The pages' texts are whole in both languages."""

from __future__ import annotations

from tools.office.web.texts import TEXTS


def test_every_text_has_the_same_blanks_in_both_languages() -> None:
    for name, (zh, en) in TEXTS.items():
        assert zh.count("{}") == en.count("{}"), name
