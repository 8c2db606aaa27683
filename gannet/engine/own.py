"""Networks of one's own in the parts of registered ones: plain modules that need to know nothing of Gannet."""

from __future__ import annotations

import inspect
from collections.abc import Iterable

from torch import Tensor, nn

from gannet.core.errors import UsageError
from gannet.core.types import Role, Verdict


def adopted(module: nn.Module, role: Role) -> nn.Module:
    """`module` in the part of `role`. Raises `UsageError` where its `forward` does not take what the role is given."""
    if role.kind in ("discriminator", "encoder"):
        wrapped: nn.Module = Judging(module, role)
        _check_call(module, role, ["x"] + ["y"] * bool(role.data.classes) + ["given"] * bool(role.data.given))
    elif role.kind == "generator":
        wrapped = Generating(module, role)
        _check_call(module, role, ["z"] + ["y"] * bool(role.data.classes))
        if not isinstance(getattr(module, "latent", None), int):
            raise UsageError(
                f"generator={type(module).__name__} does not say how many numbers it starts from. Give it an attribute "
                "`latent`, as in: generator.latent = 64, for z [B, 64]."
            )
    else:
        wrapped = Generating(module, role)
        _check_call(module, role, ["given"])
    return wrapped


def check_names(names: Iterable[str], roles: dict[str, Role]) -> None:
    """Raise `UsageError` for a module that no role of the task would use."""
    strange = [name for name in names if name not in roles]
    if strange:
        raise UsageError(f"{strange[0]}=… of one's own has no part in this task. Its networks are: {', '.join(roles)}.")


class Generating(nn.Module):
    """A generator or translator of one's own, called with y only where there are labels."""

    def __init__(self, module: nn.Module, role: Role):
        super().__init__()
        self.module, self.shape, self.setting = module, role.data.shape, role.setting

    @property
    def latent(self) -> int:
        return int(self.module.latent)  # type: ignore[arg-type]

    def forward(self, source: Tensor, y: Tensor | None = None) -> Tensor:
        made = self.module(source) if y is None else self.module(source, y)
        if not isinstance(made, Tensor) or tuple(made.shape) != (len(source), *self.shape):
            given = list(made.shape) if isinstance(made, Tensor) else type(made).__name__
            raise UsageError(
                f"{self.setting}={type(self.module).__name__} gave {given} for {len(source)} rows; the data need "
                f"{[len(source), *self.shape]}. End it with nn.Unflatten or another width."
            )
        return made


class Judging(nn.Module):
    """A discriminator of one's own that may return plain scores, made to answer with a `Verdict`."""

    def __init__(self, module: nn.Module, role: Role):
        super().__init__()
        self.module, self.setting = module, role.setting
        self.heads = [name for name in role.heads if name != "score"]

    def forward(self, x: Tensor, y: Tensor | None = None, given: Tensor | None = None) -> Verdict:
        said = self.module(x, *(part for part in (y, given) if part is not None))
        missing = [n for n in self.heads if not isinstance(said, Verdict) or n not in said.heads]
        if missing:
            raise UsageError(
                f"{self.setting}={type(self.module).__name__} does not answer {' and '.join(missing)}, which this task "
                f"asks for. Return Verdict((scores,), heads={{{missing[0]!r}: …}}) from its forward."
            )
        if isinstance(said, Verdict):
            return said
        if not isinstance(said, Tensor) or said.shape[:1] != x.shape[:1]:
            answer = list(said.shape) if isinstance(said, Tensor) else type(said).__name__
            raise UsageError(
                f"{self.setting}={type(self.module).__name__} answered {len(x)} rows with {answer}; "
                "it must give scores [B], [B, 1] or [B, …], or a Verdict."
            )
        return Verdict((said.squeeze(1) if said.dim() == 2 and said.shape[1] == 1 else said,))


def _check_call(module: nn.Module, role: Role, parts: list[str]) -> None:
    signature = inspect.signature(module.forward)
    try:
        signature.bind(*parts)
    except TypeError:
        takes = ", ".join(str(p).partition(":")[0] for p in signature.parameters.values())
        if role.data.classes:
            mend = 'The data have labels: take y `[B]` in forward, or train without them: task__labels="ignore".'
        elif "y" in signature.parameters:
            mend = "The data have no labels: give y a default, or train on (array, labels)."
        else:
            mend = "Take as many; names are free."
        raise UsageError(
            f"{role.setting}={type(module).__name__} is called with ({', '.join(parts)}), its forward takes ({takes}). "
            f"{mend}"
        ) from None
