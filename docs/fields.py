"""The fields of linen modules as a signature, which Flax makes of them on import."""

from typing import Any

import griffe


class Fields(griffe.Extension):
    """For mkdocstrings, which reads the source and imports nothing."""

    def on_class(self, *, cls: griffe.Class, **_: Any) -> None:
        """Gives a class the signature of its annotated fields."""
        fields = [
            member
            for member in cls.members.values()
            if isinstance(member, griffe.Attribute) and member.annotation is not None
        ]
        if not cls.path.startswith("jdrop.linen.") or not fields:
            return
        parameters = [
            griffe.Parameter(
                field.name,
                annotation=field.annotation,
                kind=griffe.ParameterKind.positional_or_keyword,
                default=field.value and str(field.value),
            )
            for field in fields
        ]
        init = griffe.Function("__init__", parameters=griffe.Parameters(*parameters))
        cls.set_member("__init__", init)
