"""Lists: which part is wanted, which fields, and what is said of the rest."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, create_model

from outlast.server.bodies import Json
from outlast.storage.postgres.listing import Page

Limit = Annotated[int, Field(ge=1, le=1000)]
Offset = Annotated[int, Field(ge=0, le=2**31 - 1)]
SortOrder = Literal["asc", "desc"]


def partial_model(model: type[BaseModel]) -> type[BaseModel]:
    """Return the description of what is left of a model when fields are chosen."""
    fields: dict[str, Any] = {name: (field.annotation, None) for name, field in model.model_fields.items()}
    return create_model(f"PartOf{model.__name__.removesuffix('Shown')}", **fields)


def paged(items: Sequence[Mapping[str, Any]], *, total: int, page: Page) -> Json:
    """Return one page, with how many there are in all, and where the next page begins if there is one."""
    headers = {"X-Pagination-Total": str(total)}
    following = page.offset + len(items)
    if items and following < total:
        headers["X-Pagination-Next"] = str(following)
    return Json(items, headers=headers)


def chosen(body: Mapping[str, Any], select: Sequence[str] | None) -> dict[str, Any]:
    """Return the fields that were asked for; all of them without a choice."""
    return dict(body) if not select else {name: body[name] for name in select}
