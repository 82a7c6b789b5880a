"""Divides a network into a frozen part, which runs once, and a trained part.

The network is traced (torch.fx) into a chain of operations. It can be cut wherever a single tensor is all
that later operations need of earlier ones; it is cut at the last such place before the first operation with
a trained parameter.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn

from finetune.errors import TrainingError

__all__ = ["Cut", "cut"]


@dataclass(frozen=True)
class Cut:
    """A network in two parts, which share its modules.

    Attributes
    ----------
    head : Module or None
        From images to the tensor at the cut; None where everything is trained and the cut is the input.
    tail : Module
        From that tensor to logits.
    module : str
        The module whose output the tensor is, such as ``blocks.5``; empty where it is the output of none.
    shape : tuple of int
        Of the tensor, for one image.
    """

    head: nn.Module | None
    tail: nn.Module
    module: str
    shape: tuple[int, ...]


def cut(network: nn.Module, input_size: tuple[int, int]) -> Cut:
    """Divide a network before the first trained parameter.

    Parameters
    ----------
    network : Module
        One of timm's, in the mode to train in; ``requires_grad`` says which parameters are trained.
    input_size : (int, int)
        Height and width of its images.

    Raises
    ------
    TrainingError
        If the network cannot be traced.
    """
    tracer = _Tracer()
    try:
        graph = tracer.trace(network)
    except (fx.proxy.TraceError, TypeError, RuntimeError, NotImplementedError) as error:
        raise TrainingError(
            f"The network cannot be divided ({str(error).splitlines()[0]}).", "Use --strategy full."
        ) from error
    nodes = list(graph.nodes)
    place = _last_single(nodes, _first_trained(network, nodes))
    node = nodes[place]
    if node.op == "placeholder":
        return Cut(None, fx.GraphModule(network, graph), "", (3, *input_size))
    head = _part(network, nodes[: place + 1], None)
    with torch.no_grad():
        shape = tuple(head(torch.zeros(1, 3, *input_size)).shape[1:])
    return Cut(head, _part(network, nodes[place + 1 :], node), tracer.outputs.get(node, ""), shape)


class _Tracer(fx.Tracer):
    """Traces into modules that have submodules, and records which module's output a value is."""

    def __init__(self) -> None:
        from timm.layers import BatchNormAct2d
        from timm.models._features_fx import get_notrace_functions, get_notrace_modules

        super().__init__(autowrap_functions=tuple(get_notrace_functions()))
        self._leaves = (*get_notrace_modules(), BatchNormAct2d)
        self.outputs: dict[fx.Node, str] = {}

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Modules without submodules, and timm's layers that depend on sizes, which a traced value lacks."""
        return isinstance(m, self._leaves) or not any(True for _ in m.children())

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Record which module a value is the output of: the outermost, which returns last."""
        given = super().call_module(m, forward, args, kwargs)
        if isinstance(given, fx.Proxy):
            path, inner = self.path_of_module(m), self.outputs.get(given.node)
            # An identity returns its input, which is another module's output.
            if inner is None or inner.startswith(f"{path}."):
                self.outputs[given.node] = path
        return given


def _first_trained(network: nn.Module, nodes: list[fx.Node]) -> int:
    """The place of the first operation with a trained parameter."""
    for place, node in enumerate(nodes):
        if node.op == "call_module":
            held = list(network.get_submodule(str(node.target)).parameters())
        elif node.op == "get_attr":
            held = (
                [network.get_parameter(str(node.target))] if _is_parameter(network, str(node.target)) else []
            )
        else:
            continue
        if any(parameter.requires_grad for parameter in held):
            return place
    return len(nodes) - 1


def _is_parameter(network: nn.Module, name: str) -> bool:
    return name in dict(network.named_parameters())


def _last_single(nodes: list[fx.Node], end: int) -> int:
    """The last place before `end` whose value is the only one that is used later."""
    places = {node: place for place, node in enumerate(nodes)}
    last_use = [max((places[user] for user in node.users), default=-1) for node in nodes]
    single, furthest = 0, -1  # furthest: the last use of any value before the place
    for place in range(end):
        if place and furthest <= place and nodes[place].op != "get_attr":
            single = place
        furthest = max(furthest, last_use[place])
    return single


def _part(network: nn.Module, nodes: list[fx.Node], given: fx.Node | None) -> nn.Module:
    """A range of operations as a module of its own, whose input is the value `given`."""
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    if given is not None:
        copies[given] = graph.placeholder("given")
    for node in nodes:
        copies[node] = graph.node_copy(node, lambda n: copies[n])
    if nodes[-1].op != "output":
        graph.output(copies[nodes[-1]])
    return fx.GraphModule(network, graph)
