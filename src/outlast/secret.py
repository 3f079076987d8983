"""A text that nobody sees by accident: `outlast.Secret`.

class Tools(BaseModel):
key: outlast.Secret

Tools(key="sk-1").key               # Secret('***')
Tools(key="sk-1").key.reveal()      # 'sk-1'
"""

from hmac import compare_digest
from typing import TYPE_CHECKING, Any, Final, NoReturn

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler

_HIDDEN: Final = "***"


class Secret:
    """Holds a text and prints `***` instead of it: in `str`, `repr`, f-strings, JSON and schemas of pydantic models.

    `reveal()` is the only way to the text. Two secrets are compared in a time that does not depend on where they
    differ; an empty one is false. It cannot be pickled or copied into JSON: a secret that leaves the process does so on
    purpose.
    """

    __slots__ = ("_text",)

    def __init__(self, text: "str | Secret" = "") -> None:
        self._text = text.reveal() if isinstance(text, Secret) else text

    def reveal(self) -> str:
        """Return the text."""
        return self._text

    def __str__(self) -> str:
        return _HIDDEN if self._text else ""

    def __repr__(self) -> str:
        return f"Secret({str(self)!r})"

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    def __bool__(self) -> bool:
        return bool(self._text)

    def __len__(self) -> int:
        return len(self._text)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return compare_digest(_bytes(self._text), _bytes(other._text))

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __reduce__(self) -> NoReturn:
        msg = "a Secret is not pickled; call reveal() where its text is really meant"
        raise TypeError(msg)

    def __copy__(self) -> "Secret":
        return self

    def __deepcopy__(self, _memo: object) -> "Secret":
        return self

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: "GetCoreSchemaHandler") -> Any:
        """Take a text or a secret; write `***`."""
        from pydantic_core import core_schema  # noqa: PLC0415 - `import outlast` stays cheap

        return core_schema.union_schema(
            [core_schema.is_instance_schema(cls), core_schema.no_info_after_validator_function(
                cls, core_schema.str_schema()
            )],
            # Python gets the secret itself: settings are dumped and read again on their way.
            serialization=core_schema.plain_serializer_function_ser_schema(str, when_used="json"),
            # What does not fit is not repeated in the error.
            custom_error_type="secret",
            custom_error_message="a secret is a text",
        )  # fmt: skip

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: Any, _handler: "GetJsonSchemaHandler") -> dict[str, Any]:
        return {"type": "string", "format": "password", "writeOnly": True}


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
