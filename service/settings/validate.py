"""Derives a pydantic model from the tree of `tree.py`. The model checks values and converts them to their types.

The result of a validation is the plain tree again.
"""

from collections.abc import Callable
from dataclasses import Field as PlainField
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, create_model

from service.settings.tree import Secret, Settings


class _Node(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


def _to_model(kind: Any, base: type[BaseModel]) -> type[BaseModel]:
    hints = get_type_hints(kind)
    declared: dict[str, Any] = {each.name: _to_field(each, hints[each.name]) for each in fields(kind)}
    return create_model(kind.__name__, __base__=base, __doc__=kind.__doc__, **declared)


def _to_field(declared: "PlainField[Any]", hint: Any) -> tuple[Any, Any]:
    if isinstance(hint, type) and is_dataclass(hint):

        def to_plain(checked: BaseModel) -> Any:
            return hint(**dict(checked))

        return Annotated[_to_model(hint, _Node), AfterValidator(to_plain)], Field(default_factory=hint)
    rules = dict(declared.metadata)
    check = rules.pop("check", lambda _: None)
    if Secret in (hint, *get_args(hint)):
        return Annotated[SecretStr, AfterValidator(_to_secret(check))] | None, Field(default=declared.default, **rules)
    if get_origin(hint) is Literal:
        hint = Annotated[hint, BeforeValidator(_to_choice(get_args(hint)))]
    if Path in (hint, *get_args(hint)):
        hint = Annotated[hint, BeforeValidator(_refuse_empty)]
    return Annotated[hint, AfterValidator(_checking(check))], Field(default=declared.default, **rules)


def _to_choice(choices: tuple[str, ...]) -> Callable[[Any], Any]:
    """Returns a validator that accepts a choice in any case, and every YAML word for on and off."""
    words = {choice: choice for choice in choices}
    if {"on", "off"} <= set(choices):
        words |= dict.fromkeys(("true", "yes", "1"), "on") | dict.fromkeys(("false", "no", "0"), "off")

    def to_choice(value: Any) -> Any:
        return words.get(str(value).strip().lower(), value)

    return to_choice


def _refuse_empty(value: Any) -> Any:
    """Refuses an empty path, which would be the working directory. Most likely a variable was not set."""
    if value == "":
        raise ValueError("must be a path; leave it out for the default")
    return value


def _to_secret(check: Callable[[str], object]) -> Callable[[SecretStr], Secret]:
    def to_secret(value: SecretStr) -> Secret:
        check(value.get_secret_value())
        return Secret(value.get_secret_value())

    return to_secret


def _checking(check: Callable[[Any], object]) -> Callable[[Any], Any]:
    def checked(value: Any) -> Any:
        check(value)
        return value

    return checked


CHECKED = _to_model(Settings, _Node)
