"""What a trial step of training changes, kept so that it can be put back."""

from __future__ import annotations

import copy
import random
import sys
from typing import Any


class TrainingState:
    """Parameters, buffers, gradients, state and settings of the optimizer, and the random generators.

    What a trial registers is taken out again, and a buffer that was None is None again. A lazy module does
    not go back to what it was: its weights are put back to those that its initialisation gave it. `close`
    ends that this is waited for.

    Copies lie in host memory, so that they take nothing of the device whose memory is measured. `restore`
    writes into the tensors that were there, so that whoever holds them (optimizer, hooks, compiled graphs)
    still does. Python attributes that modules set in their forward pass are not known to be state, and stay
    as the trial left them.
    """

    def __init__(self, model: Any, optimizer: Any) -> None:
        import torch

        self._torch = torch
        self._model = model
        self._optimizer = optimizer
        self._copies: dict[int, tuple[Any, Any]] = {}
        with torch.no_grad():
            tables = [table for module in model.modules() for table in (module._parameters, module._buffers)]
            self._registered = [
                (table, name, tensor, self._copy(tensor))
                for table in tables
                for name, tensor in table.items()
                if tensor is not None
            ]
            #: What TorchScript keeps elsewhere is of the shape that it was compiled with.
            self._tables = [
                (module, table, dict(table))
                for module in model.modules()
                for table in (module._parameters, module._buffers, module._modules)
                if isinstance(table, dict)
            ]
            self._parameters = _unique([*model.parameters(), *_optimized(optimizer)])
            self._gradients = [None if p.grad is None else self._copy(p.grad) for p in self._parameters]
            self._optimizer_state = {
                parameter: {key: (value, self._copy(value)) for key, value in state.items()}
                for parameter, state in optimizer.state.items()
            }
        self._settings = [
            {key: copy.deepcopy(value) for key, value in group.items() if key != "params"}
            for group in optimizer.param_groups
        ]
        self._extra = [
            (module, copy.deepcopy(module.get_extra_state()))
            for module in model.modules()
            if type(module).get_extra_state is not torch.nn.Module.get_extra_state
        ]
        self._copies.clear()
        self._generators = _Generators(torch, self._parameters)
        self._initialised = [
            module.register_forward_pre_hook(self._keep_initialised)
            for module in model.modules()
            if any(map(_is_uninitialized, [*module._parameters.values(), *module._buffers.values()]))
        ]

    def drop_gradients(self) -> None:
        """As at the beginning of a step: no gradients, and what they held is free."""
        for parameter in self._parameters:
            parameter.grad = None

    def restore(self) -> None:
        """Puts everything back; may be called again after another trial."""
        with self._torch.no_grad():
            for table, name, tensor, saved in self._registered:
                self._write(tensor, saved)
                if not isinstance(table, dict):
                    continue
                if table.get(name) is not tensor:
                    table[name] = tensor
            for module, table, registered in self._tables:
                for name in [name for name in table if name not in registered]:
                    del table[name]
                    module._non_persistent_buffers_set.discard(name)
                table.update({name: None for name, value in registered.items() if value is None})
            for parameter, saved in zip(self._parameters, self._gradients):
                parameter.grad = None if saved is None else saved.to(parameter.device, copy=True)
            state = self._optimizer.state
            for parameter in [known for known in state if known not in self._optimizer_state]:
                del state[parameter]
            for parameter, saved_state in self._optimizer_state.items():
                state[parameter] = {
                    key: self._put_back(value, saved) for key, (value, saved) in saved_state.items()
                }
        del self._optimizer.param_groups[len(self._settings) :]
        for group, settings in zip(self._optimizer.param_groups, self._settings):
            for key in [key for key in group if key != "params" and key not in settings]:
                del group[key]
            group.update(copy.deepcopy(settings))
        for module, extra in self._extra:
            module.set_extra_state(copy.deepcopy(extra))
        self._generators.restore()

    def close(self) -> None:
        """Takes its hooks off the model."""
        for handle in self._initialised:
            handle.remove()

    def _keep_initialised(self, module: Any, inputs: Any) -> None:
        """Called when a lazy module has just been initialised, and before it computes anything."""
        own = {id(tensor) for tensor in [*module._parameters.values(), *module._buffers.values()]}
        with self._torch.no_grad():
            self._registered = [
                (table, name, tensor, self._copy(tensor) if saved is None and id(tensor) in own else saved)
                for table, name, tensor, saved in self._registered
            ]
            self._copies.clear()

    def _copy(self, value: Any) -> Any:
        if not isinstance(value, self._torch.Tensor):
            return copy.deepcopy(value)
        if _is_uninitialized(value):
            return None
        if id(value) not in self._copies:
            # Tied weights are one tensor under several names. The tensor is kept so that its id stays its
            # own.
            self._copies[id(value)] = (value, value.detach().to("cpu", copy=True))
        return self._copies[id(value)][1]

    def _write(self, tensor: Any, saved: Any) -> None:
        # A trial that failed before it came to a lazy module has left nothing to put back.
        if saved is not None:
            tensor.detach().copy_(saved)

    def _put_back(self, value: Any, saved: Any) -> Any:
        if not isinstance(value, self._torch.Tensor):
            return copy.deepcopy(saved)
        self._write(value, saved)
        return value


class _Generators:
    """States of the random generators of Python, NumPy and torch, on the host and on devices."""

    def __init__(self, torch: Any, parameters: list[Any]) -> None:
        self._torch = torch
        self._python = random.getstate()
        numpy = sys.modules.get("numpy")
        self._numpy = None if numpy is None else (numpy, numpy.random.get_state())
        self._host = torch.get_rng_state()
        devices = sorted(
            {parameter.device.index for parameter in parameters if parameter.device.type == "cuda"}
        )
        self._devices = [(device, torch.cuda.get_rng_state(device)) for device in devices]

    def restore(self) -> None:
        random.setstate(self._python)
        if self._numpy is not None:
            numpy, state = self._numpy
            numpy.random.set_state(state)
        self._torch.set_rng_state(self._host)
        for device, state in self._devices:
            self._torch.cuda.set_rng_state(state, device)


def _unique(parameters: list[Any]) -> list[Any]:
    return list({id(parameter): parameter for parameter in parameters}.values())


def _optimized(optimizer: Any) -> list[Any]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _is_uninitialized(tensor: Any) -> bool:
    from torch.nn.parameter import is_lazy

    return bool(is_lazy(tensor))
