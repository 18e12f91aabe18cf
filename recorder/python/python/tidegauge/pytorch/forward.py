"""Forward calls of modules: the phases forward, loss, eval and recompute, sites of allocations, sites in
backward.

Torch calls these hooks for every module, so that each nanosecond here is paid thousands of times a step.

Where backward is, is told by hooks on autograd nodes: on the node of each output of a module, for that
module, and on the node of each input, for the module that calls it, since that has made it if no module
within it has. A node has one hook, of the innermost module that made it. `register_full_backward_hook` is not
used: it breaks modules that work in place.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import Module
from torch.nn.modules import module as hooks
from torch.nn.modules.loss import _Loss

from .._native import Site, Span
from .dynamo import never_compile
from .modules import row, shapes_of
from .notes import failed
from .tensors import tensors_in
from .threads import ThreadState
from .tracers import is_traced

if TYPE_CHECKING:
    from .installation import Installation
    from .sites import ModuleSite

_is_compiling = torch.compiler.is_compiling
_is_grad_enabled = torch.is_grad_enabled
#: −1 outside of a backward pass.
_graph_task = torch._C._current_graph_task_id
_function_modes = torch._C._len_torch_function_stack
_WithoutTorchFunction = torch._C.DisableTorchFunction
#: The number that this thread's next autograd node gets. Where torch has no such thing, all are looked at.
_next_node: Callable[[], int] = getattr(torch._C._autograd, "_get_sequence_nr", lambda: 0)
#: So many tensors of what a module returns are looked at.
MOST_OUTPUTS = 16
_leave = Site.leave


class Forward:
    """The hooks that torch calls around every module's forward."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._threads: ThreadState = installation.threads
        self._sites = installation.sites
        self._by_id = installation.sites.by_id
        self._forward = Span("forward")
        self._loss = Span("loss")
        self._eval = Span("eval")
        self._recompute = Span("recompute")

    def install(self) -> None:
        """Registers the hooks for all modules."""
        before = hooks.register_module_forward_pre_hook(self.before)
        after = hooks.register_module_forward_hook(self.after, always_call=True)
        self._installation.patches.add(before.remove)
        self._installation.patches.add(after.remove)

    def before(self, module: Module, arguments: tuple[Any, ...]) -> None:
        """A module is called. `arguments` are the positional ones."""
        if _is_compiling():
            return
        try:
            threads = self._threads
            calls = threads.calls
            if not calls and is_traced():
                return
            site = self._by_id.get(id(module))
            if calls and (site is None or site.is_root):
                # Recursion, a module made within the call, or calls that an interrupt has ended unseen.
                threads.forget_ended()
            if site is None:
                site = self._meet(module, calls[-1][0] if calls else None)
            shapes = None
            if site.rows_left:
                first = arguments[0] if arguments else None
                shape: Any = None
                # Of these, attributes can be asked without calling the program's own code.
                if type(first) is Tensor and not _function_modes():
                    try:
                        shape = first.shape
                    except RuntimeError:  # a nested tensor has none
                        pass
                else:
                    shape = _shape_of(first)
                if shape is None or shape != site.last_shape:
                    shapes = self._new_shapes(site, shape, arguments)
            span = None
            if not calls:
                threads.first_node = _next_node()
                if not site.is_root:
                    self._sites.add_root(module)
                span = self._outermost(module, site, arguments)
            elif arguments and _is_grad_enabled():
                self._know_inputs(calls[-1][0], arguments)
            # Once a phase has begun, nothing comes that could keep it from being ended.
            calls.append((site, site.site.enter(), span, shapes))
        except Exception as error:
            failed("a module's forward", error)

    def after(self, module: Module, arguments: tuple[Any, ...], output: Any) -> None:
        """A module's call has ended, also by an exception; `output` is None then."""
        if _is_compiling():
            return
        try:
            threads = self._threads
            calls = threads.calls
            if not calls:
                return
            site, before, span, shapes = calls[-1]
            if site.key != id(module):
                if not any(call[0].key == id(module) for call in calls):
                    return
                # Those above were ended by something that torch calls no hooks for.
                while calls[-1][0].key != id(module):
                    threads.leave_calls(len(calls) - 1)
                site, before, span, shapes = calls[-1]
            calls.pop()
            _leave(before)
            if span is not None:
                span.end()
            if output is not None and _is_grad_enabled():
                self._know_outputs(site, output)
            if shapes is not None:
                site.rows_left -= 1
                site.has_row = True
                row(module, site.path, shapes, shapes_of(output))
            if not calls:
                threads.known_nodes.clear()
                if not site.has_told_parts:
                    self._tell_parts(site, module)
        except Exception as error:
            failed("the end of a module's forward", error)

    def _meet(self, module: Module, parent: ModuleSite | None) -> ModuleSite:
        site = self._sites.meet(module, parent)
        if not getattr(module, "_is_replica", False):
            self._installation.tags.parameters(module)
        return site

    def _outermost(self, module: Module, site: ModuleSite, arguments: tuple[Any, ...]) -> Span | None:
        """Begins the phase that a call from outside of all modules is."""
        if self._threads.optimizer_steps:
            self._threads.forget_ended()
        if not self._installation.has_phases:
            return None
        if _graph_task() != -1:
            span = self._recompute
        elif self._evaluates(module, site):
            span = self._eval
        elif getattr(module, "_is_replica", False):
            return None
        else:
            span = self._loss if isinstance(module, _Loss) else self._forward
            if span is self._forward:
                self._take(tensors_in((arguments, _keywords(sys._getframe(2)))))
        span.begin()
        return span

    def _take(self, given: list[Tensor]) -> None:
        try:
            with _WithoutTorchFunction():
                self._installation.steps.on_forward(given)
        except Exception as error:
            failed("the step that a forward is in", error)
        self._installation.tags.inputs(given)

    def _evaluates(self, module: Module, site: ModuleSite) -> bool:
        """Whether a call is an evaluation: without gradients, or in evaluation mode after it was trained.

        A model that has been in evaluation mode all along may be part of training: one that was loaded so,
        or whose features a loss compares.
        """
        is_in_training = getattr(module, "training", True)
        has_gradients = _is_grad_enabled()
        if is_in_training and has_gradients:
            site.has_trained = True
            return False
        is_in_evaluation = site.has_trained and not is_in_training and not isinstance(module, _Loss)
        if is_in_evaluation:
            self._installation.steps.on_evaluation()
        return is_in_evaluation or not has_gradients

    def _tell_parts(self, site: ModuleSite, module: Module) -> None:
        """Rows for modules that are there and were not called: containers, and those whose weights alone are
        used.
        """
        site.has_told_parts = True
        for part, its_module in self._sites.within(module):
            if not part.has_row:
                part.has_row = True
                row(its_module, part.path, None, None)

    def _know_inputs(self, caller: ModuleSite, arguments: tuple[Any, ...]) -> None:
        """Nodes of inputs that no module within the caller has made are the caller's."""
        if _function_modes():
            self._know_all(caller, tensors_in(arguments, 1, MOST_OUTPUTS))
            return
        for argument in arguments:
            if type(argument) is Tensor:
                node = argument.grad_fn
                if node is not None:
                    self._know(node, caller)
            elif issubclass(type(argument), Tensor):
                self._know_all(caller, (argument,))

    def _know_outputs(self, site: ModuleSite, output: Any) -> None:
        if type(output) is Tensor and not _function_modes():
            node = output.grad_fn
            if node is not None:
                self._know(node, site)
        else:
            self._know_all(site, tensors_in(output, 2, MOST_OUTPUTS))

    def _know_all(self, site: ModuleSite, tensors: Iterable[Tensor]) -> None:
        has_modes = _function_modes()
        for tensor in tensors:
            node = tensor.grad_fn if type(tensor) is Tensor and not has_modes else _node_of(tensor)
            if node is not None:
                self._know(node, site)

    def _know(self, node: Any, site: ModuleSite) -> None:
        number = node._sequence_nr()
        threads = self._threads
        # One that is older than the outermost call was made by no module in it, and would get another hook
        # in each call that uses it.
        if number not in threads.known_nodes and number >= threads.first_node:
            threads.known_nodes.add(number)
            node.register_prehook(site.arrive)

    def _new_shapes(self, site: ModuleSite, shape: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """The shapes of a call if a row is to be made of it."""
        site.last_shape = shape
        shapes = shapes_of(arguments)
        if shapes in site.seen_shapes:
            return None
        site.seen_shapes.add(shapes)
        return shapes


def _shape_of(value: Any) -> Any:
    """The shape of a tensor; None of what is none, or where torch does not tell it (nested tensors)."""
    if not issubclass(type(value), Tensor):
        return None
    try:
        with _WithoutTorchFunction():
            shape = value.shape
            # Sizes that are symbols can be compared with nothing.
            return shape if all(type(size) is int for size in shape) else None
    except Exception:
        return None


def _node_of(tensor: Tensor) -> Any:
    """The autograd node of a tensor of any type; None where that does not tell it."""
    try:
        with _WithoutTorchFunction():
            return tensor.grad_fn
    except Exception:
        return None


def _keywords(frame: Any) -> Any:
    """Keyword arguments of the outermost call: torch gives them to no global hook, but they are in its
    frame.
    """
    keywords = frame.f_locals.get("kwargs")
    return keywords if isinstance(keywords, dict) else {}


never_compile(Forward.before, Forward.after)
