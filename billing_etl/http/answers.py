"""Answers as JSON."""

from decimal import Decimal
from typing import Any, Final

from fastapi.encoders import jsonable_encoder
from fastapi.responses import JSONResponse

# Numbers of a moment ago would be as wrong as an answer for someone else.
_HEADERS: Final = {"Cache-Control": "no-store"}


def answer(status: int, content: Any) -> JSONResponse:
    """An answer that is not kept by anyone; amounts are decimal strings, to stay exact."""
    encoded = jsonable_encoder(content, custom_encoder={Decimal: lambda value: f"{value:f}"})
    return JSONResponse(encoded, status, _HEADERS)
