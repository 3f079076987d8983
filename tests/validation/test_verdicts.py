"""What a validator says."""

import pytest

from outlast.validation.validator import Invalid, Reason


def test_a_text_is_one_reason_and_not_its_letters():
    assert Invalid("too late").reasons == (Reason("invalid", "too late"),)


def test_the_fields_are_those_given_and_those_of_the_reasons_once():
    said = Invalid(["a", Reason("x", "b", "price"), Reason("y", "c", "date")], fields=["price"])
    assert said.fields == ("price", "date")


@pytest.mark.parametrize("wrong", [([],), (["a"], "huge")], ids=["without a reason", "of no severity"])
def test_what_says_nothing_cannot_be_made(wrong):
    with pytest.raises(ValueError, match=r"at least one reason|severity is"):
        Invalid(*wrong)


def test_a_reason_is_signed_by_who_said_it_first():
    said = Invalid([Reason("x", "b", by="inner"), "c"]).told_by("outer")
    assert [reason.by for reason in said.reasons] == ["inner", "outer"]
    assert said.reasons[1].as_json() == {"code": "invalid", "text": "c", "by": "outer"}
