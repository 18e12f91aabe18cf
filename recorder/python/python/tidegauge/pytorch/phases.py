"""Phases other than forward: backward, optimizer, zero_grad, data.

Backward is a wrapper around the one function through which torch starts its autograd engine; a pass that
begins inside of another (checkpointing that re-enters) is part of it. Optimizer steps are hooks of torch's,
which it calls after no
exception: an open step is found and ended when the thread comes by again (`threads`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .._native import Site, Span
from .dynamo import never_compile
from .notes import failed, note
from .tensors import tensors_in
from .threads import OptimizerStep, ThreadState

if TYPE_CHECKING:
    from .installation import Installation

_is_compiling = torch.compiler.is_compiling
_graph_task = torch._C._current_graph_task_id


class Phases:
    """Wrappers and hooks for what a training loop calls besides modules."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._patches = installation.patches
        self._threads: ThreadState = installation.threads
        self._backward = Span("backward")
        self._zero_grad = Span("zero_grad")
        self._data = Span("data")
        self._optimizer = installation.optimizer_span
        self._optimizer_sites: dict[type, Site] = {}
        #: Losses that a GradScaler has scaled for the next backward: the number itself where it could be
        #: read.
        self._is_scaled = False
        self._unscaled: float | None = None

    def install(self) -> None:
        """Wraps and registers everything."""
        self._install_backward()
        self._install_optimizer()
        for owner in (torch.optim.Optimizer, torch.nn.Module):
            self._patches.replace(owner, "zero_grad", self._zeroing(owner.zero_grad))
        self._install_data()
        self._install_scaler()

    # backward

    def _install_backward(self) -> None:
        import torch.autograd.graph as graph

        run = getattr(graph, "_engine_run_backward", None)
        if run is not None:
            wrapper = self._running(run)
            for owner in (graph, torch.autograd):
                if getattr(owner, "_engine_run_backward", None) is run:
                    self._patches.replace(owner, "_engine_run_backward", wrapper)
        else:  # torch before 2.1
            for name in ("backward", "grad"):
                run = getattr(torch.autograd, name)
                self._patches.replace(torch.autograd, name, self._running(run, name == "backward"))

    def _running(self, run: Callable[..., Any], accumulates_always: bool = True) -> Callable[..., Any]:
        """`accumulates_always`: where the call does not say whether gradients are accumulated or returned."""
        installation, span = self._installation, self._backward

        @functools.wraps(run)
        def run_backward(*arguments: Any, **keywords: Any) -> Any:
            if _is_compiling() or not installation.is_active or _graph_task() != -1:
                return run(*arguments, **keywords)
            accumulates = bool(keywords.get("accumulate_grad", accumulates_always))
            before = self._before_backward(arguments[0] if arguments else None, accumulates)
            if installation.has_phases:
                span.begin()
            try:
                return run(*arguments, **keywords)
            finally:
                Site.leave(before)
                if installation.has_phases:
                    span.end()

        return run_backward

    def _before_backward(self, roots: Any, accumulates: bool) -> int:
        """Looks at the loss; returns where this thread is."""
        before = self._installation.here.enter()
        Site.leave(before)
        try:
            threads = self._threads
            if threads.calls or threads.optimizer_steps:
                threads.forget_ended(self._optimizer)
            tensors = [roots] if isinstance(roots, Tensor) else list(roots or ())
            loss = None
            if accumulates:
                loss = self._unscaled if self._is_scaled else _number(tensors)
                self._is_scaled, self._unscaled = False, None
            self._installation.steps.on_backward(loss, accumulates)
            self._begin_nowhere(tensors, before)
        except Exception as error:
            failed("the beginning of backward", error)
        return before

    def _begin_nowhere(self, roots: Iterable[Any], before: int) -> None:
        """Threads of the engine are still where the last pass ended: this one begins where it was started."""

        def arrive(_gradients: Any) -> None:
            if not _is_compiling():
                Site.leave(before)

        for root in roots:
            if isinstance(root, Tensor) and not root.is_cpu and root.grad_fn is not None:
                # Called before the hook of the module that has made it, if one has: first come, first served.
                root.grad_fn.register_prehook(arrive)

    # optimizers

    def _install_optimizer(self) -> None:
        from torch.optim import optimizer as hooks

        before = hooks.register_optimizer_step_pre_hook(self._before_step)
        after = hooks.register_optimizer_step_post_hook(self._after_step)
        self._patches.add(before.remove)
        self._patches.add(after.remove)
        self._patches.replace(torch.optim.Optimizer, "__init__", self._making(torch.optim.Optimizer.__init__))

    def _making(self, make: Callable[..., None]) -> Callable[..., None]:
        steps = self._installation.steps

        @functools.wraps(make)
        def make_optimizer(*arguments: Any, **keywords: Any) -> None:
            make(*arguments, **keywords)
            steps.meet_optimizer()

        return make_optimizer

    def _before_step(self, optimizer: Any, arguments: Any, keywords: Any) -> None:
        if _is_compiling():
            return
        try:
            threads = self._threads
            if threads.calls or threads.optimizer_steps:
                threads.forget_ended(self._optimizer)
            # The optimizer itself is the first argument.
            closure = arguments[1] if len(arguments) > 1 else keywords.get("closure")
            if callable(closure) and not threads.optimizer_steps:
                self._installation.steps.before_closure()
            self._installation.tags.gradients(optimizer)
            kind = type(optimizer)
            site = self._optimizer_sites.get(kind)
            if site is None:
                site = self._optimizer_sites[kind] = Site(kind.__name__)
            threads.optimizer_steps.append(OptimizerStep(site.enter()))
            if self._installation.has_phases:
                self._optimizer.begin()
        except Exception as error:
            failed("the beginning of an optimizer's step", error)

    def _after_step(self, optimizer: Any, _arguments: Any, _keywords: Any) -> None:
        if _is_compiling():
            return
        try:
            self._installation.tags.optimizer_state(optimizer)
            self._installation.steps.on_optimizer(optimizer)
            if self._threads.optimizer_steps:
                Site.leave(self._threads.optimizer_steps.pop().before)
                if self._installation.has_phases:
                    self._optimizer.end()
        except Exception as error:
            failed("the end of an optimizer's step", error)

    def _forget_ended(self) -> None:
        try:
            self._threads.forget_ended(self._optimizer)
        except Exception as error:
            failed("calls that an exception has ended", error)

    # zero_grad

    def _zeroing(self, zero_grad: Callable[..., Any]) -> Callable[..., Any]:
        installation, span, threads = self._installation, self._zero_grad, self._threads

        @functools.wraps(zero_grad)
        def zero(*arguments: Any, **keywords: Any) -> Any:
            if (
                _is_compiling()
                or not installation.is_active
                or not installation.has_phases
                or threads.is_zeroing
            ):
                return zero_grad(*arguments, **keywords)
            if threads.optimizer_steps or threads.calls:
                self._forget_ended()
            # A module's own zero_grad may call those of its optimizers or parts.
            threads.is_zeroing = True
            span.begin()
            try:
                return zero_grad(*arguments, **keywords)
            finally:
                threads.is_zeroing = False
                span.end()

        return zero

    # data loaders

    def _install_data(self) -> None:
        from torch.utils.data.dataloader import _BaseDataLoaderIter

        installation, span, threads = self._installation, self._data, self._threads
        following = _BaseDataLoaderIter.__next__

        @functools.wraps(following)
        def next_batch(iterator: Any) -> Any:
            if _is_compiling() or not installation.is_active:
                return following(iterator)
            if threads.calls or threads.optimizer_steps:
                self._forget_ended()
            steps = installation.steps
            steps.before_data(iterator)
            # That there is nothing left is no batch.
            is_phase = installation.has_phases and steps.lengths.has_more(iterator) is not False
            if is_phase:
                span.begin()
            try:
                batch = following(iterator)
            except StopIteration:
                steps.after_last_data()
                raise
            finally:
                if is_phase:
                    span.end()
            steps.after_data(batch)
            installation.tags.inputs(_of_batch(batch))
            return batch

        self._patches.replace(_BaseDataLoaderIter, "__next__", next_batch)

    # scaled losses

    def _install_scaler(self) -> None:
        # Before 2.3 there was one for CUDA only.
        owner: Any = getattr(torch.amp, "GradScaler", None) or torch.cuda.amp.GradScaler
        scaling = owner.scale

        @functools.wraps(scaling)
        def scale(scaler: Any, outputs: Any) -> Any:
            if not _is_compiling() and self._installation.is_active and scaler.is_enabled():
                self._is_scaled = True
                self._unscaled = _number([outputs] if isinstance(outputs, Tensor) else [])
                if self._unscaled is None:
                    note("losses that a GradScaler has scaled on an accelerator are not recorded")
            return scaling(scaler, outputs)

        self._patches.replace(owner, "scale", scale)
        stepping = owner.step

        @functools.wraps(stepping)
        def step(scaler: Any, optimizer: Any, *arguments: Any, **keywords: Any) -> Any:
            steps = self._installation.steps
            before = steps.updates
            result = stepping(scaler, optimizer, *arguments, **keywords)
            # A batch whose gradients overflow ends like others, though the optimizer is left out.
            if not _is_compiling() and self._installation.is_active and steps.updates == before:
                steps.on_optimizer(optimizer)
            return result

        self._patches.replace(owner, "step", step)


def _number(roots: list[Any]) -> float | None:
    """A loss: one number on the CPU. An accelerator would have to be waited for."""
    if len(roots) != 1:
        return None
    root = roots[0]
    try:
        if isinstance(root, Tensor) and root.is_cpu and root.numel() == 1 and root.is_floating_point():
            return float(root.detach().item())
    except Exception:  # one of torch.func's, or a fake one
        return None
    return None


def _of_batch(batch: Any) -> list[Tensor]:
    try:
        return list(tensors_in(batch))
    except Exception as error:
        failed("tensors of a batch", error)
        return []


never_compile(Phases._before_step, Phases._after_step)
