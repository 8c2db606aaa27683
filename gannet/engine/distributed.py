"""Several processes started by torchrun: joining, agreeing, averaging gradients with one flat all-reduce a turn.

`DistributedDataParallel` is not used: it documents that it does not work with `torch.autograd.grad`, which every
gradient penalty needs.
"""

from __future__ import annotations

import atexit
import datetime
import json
import os

import torch
import torch.distributed as dist
from torch import Tensor, nn

from gannet.core import world
from gannet.core.errors import UsageError

TIMEOUT_SECONDS = 600.0  # how long the others wait while the first one scores, draws and saves
WIDTH = 512  # bytes in which the processes compare notes


def join(device: torch.device) -> None:
    """Join the group torchrun describes in the environment, if it does; once a process, until it exits."""
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ or dist.is_initialized():
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    timeout = datetime.timedelta(seconds=float(os.environ.get("GANNET_TIMEOUT", TIMEOUT_SECONDS)))
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=timeout)
    atexit.register(dist.destroy_process_group)


def agree(device: torch.device, **facts: str) -> None:
    """Refuse to start when the processes were given different experiments, data or versions."""
    if world.size() == 1:
        return
    text = json.dumps(facts).encode()[:WIDTH].ljust(WIDTH)
    gathered = [torch.zeros(WIDTH, dtype=torch.uint8, device=device) for _ in range(world.size())]
    dist.all_gather(gathered, torch.tensor(list(text), dtype=torch.uint8, device=device))
    everyone = [json.loads(bytes(row.tolist())) for row in gathered]
    for rank, theirs in enumerate(everyone):
        different = [f"{k} ({theirs[k]} against {v})" for k, v in everyone[0].items() if theirs[k] != v]
        if different:
            raise UsageError(
                f"process {rank} differs from process 0 in {', '.join(different)}. "
                "Start every process with the same command on the same data."
            )


def same_text(device: torch.device, text: str) -> str:
    """Process 0's text, in every process."""
    if world.size() == 1:
        return text
    raw = torch.tensor(list(text.encode()[:WIDTH].ljust(WIDTH)), dtype=torch.uint8, device=device)
    dist.broadcast(raw, 0)
    return bytes(raw.tolist()).decode().rstrip()


def average_gradients(parameters: list[nn.Parameter], vote: bool) -> int:
    """Average the gradients over processes in one flat all-reduce, an unused parameter counting as zero.

    Every process's `vote` is summed along; the sum is returned. In one process nothing moves.
    """
    if world.size() == 1:
        return int(vote)
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    grads = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([*(g.reshape(-1) for g in grads), grads[0].new_tensor([float(vote)])])
    dist.all_reduce(flat)
    start = 0
    for grad in grads:
        grad.copy_(flat[start : start + grad.numel()].view_as(grad) / world.size())
        start += grad.numel()
    return int(flat[start])


def mean_over_processes(values: dict[str, Tensor]) -> dict[str, Tensor]:
    """The mean of every tensor over processes, one all-reduce."""
    if world.size() == 1 or not values:
        return values
    names = sorted(values)
    flat = torch.cat([values[n].detach().reshape(-1).double() for n in names])
    dist.all_reduce(flat)
    parts = (flat / world.size()).split([values[n].numel() for n in names])
    return {n: part.view_as(values[n]).to(values[n].dtype) for n, part in zip(names, parts, strict=True)}


@torch.no_grad()
def average_buffers(modules: list[nn.Module]) -> None:
    """Average batch norm's local statistics over processes, at commits: what is written is what goes on."""
    if world.size() == 1:
        return
    for module in modules:
        for name, buffer in module.named_buffers():
            if name.rpartition(".")[2] in ("running_mean", "running_var"):
                dist.all_reduce(buffer)
                buffer /= world.size()
