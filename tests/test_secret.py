"""A secret is seen where somebody asked for it, and nowhere else."""

import copy
import json
import pickle

import pytest
from pydantic import BaseModel, ValidationError

from outlast import Secret
from outlast.settings import Settings, WebhookSettings

TEXT = "sk-hunter2hunter2hunter2"


class Tool(BaseModel):
    key: Secret


def test_it_prints_as_three_stars_in_every_way_of_printing() -> None:
    secret = Secret(TEXT)

    shown = [str(secret), repr(secret), f"{secret}", f"{secret:>30}", f"{secret!r}", "%s %r" % (secret, secret)]  # noqa: UP031

    assert not [text for text in shown if "hunter2" in text]
    assert all("***" in text for text in shown)
    assert secret.reveal() == TEXT


def test_a_model_takes_a_text_and_writes_stars() -> None:
    tool = Tool.model_validate({"key": TEXT})

    assert tool.key.reveal() == TEXT
    assert Tool(key=tool.key).key == tool.key
    assert "hunter2" not in tool.model_dump_json() + repr(tool) + str(tool.model_dump(mode="json"))
    assert json.loads(tool.model_dump_json()) == {"key": "***"}
    assert Tool.model_json_schema()["properties"]["key"]["format"] == "password"


def test_settings_that_are_put_together_in_code_keep_their_secrets() -> None:
    settings = Settings(webhooks=WebhookSettings(secret=Secret(TEXT)))

    assert settings.webhooks.secret.reveal() == TEXT
    assert "hunter2" not in repr(settings) + settings.model_dump_json()


def test_an_error_about_a_secret_does_not_repeat_it() -> None:
    with pytest.raises(ValidationError, match="a secret is a text") as caught:
        Tool.model_validate({"key": [1]})

    assert "hunter2" not in str(caught.value)


def test_it_is_compared_by_its_text_and_false_when_empty() -> None:
    assert Secret(TEXT) == Secret(Secret(TEXT))
    assert Secret(TEXT) != Secret("x")
    assert Secret(TEXT) != TEXT
    assert {Secret(TEXT): 1}[Secret(TEXT)] == 1
    assert len(Secret(TEXT)) == len(TEXT)
    assert not Secret()
    assert str(Secret()) == ""


def test_it_does_not_leave_the_process_by_pickle_and_copies_stay_secret() -> None:
    with pytest.raises(TypeError, match="reveal"):
        pickle.dumps(Secret(TEXT))
    assert copy.deepcopy(Secret(TEXT)) == copy.copy(Secret(TEXT)) == Secret(TEXT)
