"""What the validation library finds wrong with a request, in this product's words: what is allowed, after "must be"."""

from collections.abc import Callable, Mapping
from typing import Any

_OURS = "value_error"
"""The type of what a validator of ours says; the library puts its own words before that."""


def _choice(context: Mapping[str, Any]) -> str:
    # The library has them quoted, and the last behind "or": 'daily', 'weekly' or 'monthly'.
    return f"must be {str(context['expected']).replace(chr(39), '')}"


_SENTENCES: Mapping[str, str | Callable[[Mapping[str, Any]], str]] = {
    "missing": "must be given",
    "literal_error": _choice,
    "enum": _choice,
    "string_type": "must be text",
    "string_unicode": "must be text in UTF-8",
    "string_too_long": lambda context: f"must be {context['max_length']} characters at most",
    "string_too_short": lambda context: f"must be {context['min_length']} characters at least",
    "too_long": lambda context: f"must be {context['max_length']} characters at most",  # of a hidden text
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "int_type": "must be an integer",
    "int_parsing": "must be an integer",
    "int_parsing_size": "must be an integer of 64 bits",
    "int_from_float": "must be an integer",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "greater_than_equal": lambda context: f"must be {context['ge']} at least",
    "less_than_equal": lambda context: f"must be {context['le']} at most",
    "list_type": "must be a list",
    "dict_type": "must be a JSON object",
    "model_type": "must be a JSON object",
    "model_attributes_type": "must be a JSON object",
    "none_required": "must be null",
    "json_invalid": lambda context: f"is not JSON: {context.get('error', 'it cannot be read')}",
}


def sentence(found: Mapping[str, Any]) -> str:
    """Return what is allowed, for one mistake with ``type``, ``msg`` and ``ctx`` as the library has it. A kind of
    mistake that no field of ours can have today keeps the library's words."""
    context = found.get("ctx") or {}
    if found["type"] == _OURS and "error" in context:
        return str(context["error"])
    known = _SENTENCES.get(found["type"])
    if known is None:
        return str(found["msg"])
    return known if isinstance(known, str) else known(context)
