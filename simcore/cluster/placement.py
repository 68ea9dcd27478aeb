"""Which node each worker stands on."""

from __future__ import annotations

from contracts.hardware import GpuSpec


class _Node:
    __slots__ = ("alive", "free", "sku")

    def __init__(self, sku: str, gpus: int) -> None:
        self.sku = sku
        self.free = gpus
        self.alive = True


class Placement:
    """Puts workers on nodes of one GPU kind, each on the first node with room.

    A worker larger than a node takes whole nodes. A new node is opened when no other has
    room; nodes that were lost are never used again.
    """

    def __init__(self) -> None:
        self._nodes: list[_Node] = []

    def __len__(self) -> int:
        return len(self._nodes)

    def place(self, gpu: GpuSpec, gpus: int) -> tuple[int, ...]:
        """Take ``gpus`` GPUs; returns the numbers of the nodes."""
        size = gpu.gpus_per_node
        taken = []
        for part in _parts(gpus, size):
            at = next(
                (
                    number
                    for number, node in enumerate(self._nodes)
                    if node.alive and node.sku == gpu.sku and node.free >= part
                ),
                len(self._nodes),
            )
            if at == len(self._nodes):
                self._nodes.append(_Node(gpu.sku, size))
            self._nodes[at].free -= part
            taken.append(at)
        return tuple(taken)

    def leave(self, gpu: GpuSpec, gpus: int, nodes: tuple[int, ...]) -> None:
        """Give GPUs back."""
        for part, number in zip(_parts(gpus, gpu.gpus_per_node), nodes, strict=True):
            self._nodes[number].free += part

    def lose(self, number: int) -> None:
        """A node is gone for good."""
        self._nodes[number].alive = False


def _parts(gpus: int, size: int) -> list[int]:
    """GPUs of one worker on each of its nodes; a worker over several takes them whole."""
    if gpus <= size:
        return [gpus]
    return [size] * -(-gpus // size)
