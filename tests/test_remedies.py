"""What an issue's reason means: every one explained, in both languages."""

import pytest

from mailer import i18n
from mailer.delivery import remedies
from mailer.models.content import PauseReason


@pytest.mark.parametrize("code", PauseReason)
def test_every_reason_says_what_happened_and_what_to_do_in_french_too(code: PauseReason) -> None:
    known = remedies.EXPLANATIONS[code]
    for sentence in (known.happened, known.remedy):
        assert sentence.endswith(".")
        assert i18n.gettext("fr", sentence) != sentence


def test_no_two_reasons_are_explained_alike() -> None:
    assert len({known.remedy for known in remedies.EXPLANATIONS.values()}) == len(PauseReason)


def test_what_is_not_known_is_left_out() -> None:
    assert remedies.explain(None, None) == ()
    assert remedies.explain(None, "451 wait") == ("451 wait",)
    assert remedies.explain(PauseReason.BLOCKED, "554 no")[-1] == "554 no"
    assert len(remedies.explain(PauseReason.BLOCKED, None)) == 2
