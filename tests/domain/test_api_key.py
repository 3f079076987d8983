"""API keys as texts."""

import hashlib

import pytest

from outlast.domain.api_key import looks_like_key, mint, parse


def test_a_key_is_read_as_it_was_made():
    minted = mint()
    presented = parse(minted.text)
    assert presented is not None
    assert presented.key_id == minted.key_id
    assert presented.matches(minted.digest)


def test_what_is_stored_is_the_hash_of_the_secret_and_not_the_secret():
    minted = mint()
    secret = minted.text.split("_", 2)[2]
    assert minted.digest == hashlib.sha256(secret.encode()).digest()
    assert secret.encode() not in minted.digest


def test_every_key_is_another_one():
    made = [mint() for _ in range(200)]
    assert len({key.key_id for key in made}) == len({key.digest for key in made}) == 200


def test_another_secret_does_not_match():
    minted, other = mint(), mint()
    mixed = parse(f"ok_{minted.key_id}_{other.text.split('_', 2)[2]}")
    assert mixed is not None
    assert not mixed.matches(minted.digest)


SECRET = "A" * 43


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ok_",
        f"ok_{'a' * 16}_{SECRET}=",
        f"ok_{'a' * 16}_{SECRET[1:]}",
        f"ok_{'a' * 15}_{SECRET}",
        f"ok_{'A' * 16}_{SECRET}",
        f"ok_{'1' * 16}_{SECRET}",
        f"ok_{'a' * 16}_{SECRET}\n",
        f" ok_{'a' * 16}_{SECRET}",
        f"OK_{'a' * 16}_{SECRET}",
        f"ok_{'a' * 16}_{'é' * 43}",
    ],
)
def test_what_has_not_the_form_of_a_key_is_none(text):
    assert parse(text) is None


def test_what_is_meant_as_a_key_is_known_by_its_beginning():
    assert looks_like_key("ok_anything")
    assert not looks_like_key("lsv2_pt_1")
