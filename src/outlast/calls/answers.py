"""The stored form of an answer."""

from typing import Any, Final, cast

from langchain_core.outputs import ChatGeneration, ChatResult

from outlast.calls.call import Answer, Source
from outlast.calls.encoding import ValueCodec

_VERSION: Final = 1


def encoded(codec: ValueCodec, answer: Answer) -> bytes:
    """Return an answer as bytes; raises StateNotSerializable or StateTooLarge."""
    result = answer.result
    generations = [(item.message, item.generation_info) for item in result.generations]
    return codec.encode([_VERSION, answer.model, result.llm_output, generations], path=f"answer of {answer.model}")


def decoded(codec: ValueCodec, body: bytes, source: Source) -> Answer:
    """Return what was encoded; raises StateUnreadable."""
    _, model, output, generations = cast("list[Any]", codec.decode(body, path="stored answer"))
    return Answer(
        result=ChatResult(
            generations=[ChatGeneration(message=message, generation_info=info) for message, info in generations],
            llm_output=output,
        ),
        model=model,
        source=source,
    )
