"""A callback for Hugging Face's Trainer: steps, epochs, loss and configuration, with what `tidegauge.attach`
records.

    from tidegauge.huggingface import TidegaugeCallback

    trainer = Trainer(model, arguments, train_dataset=data, callbacks=[TidegaugeCallback("runs/a")])

Importing it needs transformers; nothing else in Tidegauge does.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from . import _native, recording, steps
from .pytorch import attach

#: Of the arguments of a training: what analyses compare runs by. All of them would be two hundred.
_COMPARED = (
    "per_device_train_batch_size",
    "per_device_eval_batch_size",
    "gradient_accumulation_steps",
    "gradient_checkpointing",
    "learning_rate",
    "num_train_epochs",
    "max_steps",
    "optim",
    "bf16",
    "fp16",
    "tf32",
    "torch_compile",
    "seed",
    "fsdp",
    "deepspeed",
)


class TidegaugeCallback(TrainerCallback):
    """Records a training by Hugging Face's Trainer.

    run: the folder to record into, if nothing is recorded yet when training begins; recording then ends with
    training. Without it, recording must be on by then (`tidegauge.start`, or TIDEGAUGE in the environment),
    else nothing happens.
    settings: arguments of `tidegauge.start`.

    A step is one of the trainer's: an update of the weights, gradients accumulated before it included. The
    loss is what the trainer logs, the mean since it logged before, and belongs to the step that it is logged
    after. The batch size is that of all batches of the step together, on this process.
    """

    def __init__(self, run: str | os.PathLike[str] | None = None, **settings: Any) -> None:
        self._run = run
        self._settings = settings
        self._has_started = False
        #: The open step.
        self._step: int | None = None
        self._loss: float | None = None
        #: Samples in one batch, and batches of the open step.
        self._batch_size: int | None = None
        self._batches = 1
        self._epoch: int | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> None:
        """Starts recording if it is not on, and attaches to the model and its optimizer."""
        if self._run is not None and not _native.is_on():
            try:
                recording.start(self._run, **self._settings)
                self._has_started = True
            except _native.Error as error:
                print(f"tidegauge: the training is not recorded: {error}", file=sys.stderr)
        if not _native.is_on():
            return
        recording.add_config(**{name: getattr(args, name) for name in _COMPARED if hasattr(args, name)})
        recording.add_config(world_size=args.world_size)
        # On several devices of one process, and where the trainer has looked for it, it is not the argument.
        self._batch_size = getattr(state, "train_batch_size", None) or args.train_batch_size
        optimizer = more.get("optimizer")
        # Accelerate's wrapper has groups of its own, which are those of the optimizer within.
        attach(more.get("model"), getattr(optimizer, "optimizer", optimizer), steps=False)
        # The steps are the trainer's, whoever has attached before.
        self._announce(state.global_step)

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> None:
        """Begins an epoch."""
        self._epoch = int(state.epoch or 0)
        _native.epoch_begin(self._epoch)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> None:
        """Ends an epoch."""
        self._end_step()
        if self._epoch is not None:
            _native.epoch_end(self._epoch)
            self._epoch = None

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> None:
        """Begins a step."""
        self._end_step()
        self._step, self._batches = state.global_step, 1
        self._announce(self._step)
        _native.step_begin(self._step)

    def on_substep_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> None:
        """Counts a batch whose gradients are accumulated for a later one."""
        self._batches += 1

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> None:
        """Ends a step, unless its loss is about to be logged."""
        if not control.should_log:
            self._end_step()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **more: Any,
    ) -> None:
        """Ends the step whose loss is logged, before an evaluation or a checkpoint that may follow."""
        loss = (logs or {}).get("loss")
        if loss is not None:
            self._loss = steps.as_number(loss)
            self._end_step()

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> None:
        """Ends the last step, and recording if that began with training."""
        self._end_step()
        if self._has_started:
            self._has_started = False
            try:
                recording.stop()
            except _native.Error as error:
                print(f"tidegauge: {error}", file=sys.stderr)

    def _end_step(self) -> None:
        if self._step is not None:
            samples = None if self._batch_size is None else self._batch_size * self._batches
            _native.step_end(self._step, self._loss, samples)
            self._step = self._loss = None

    @staticmethod
    def _announce(number: int) -> None:
        for listener in list(steps._listeners):
            listener(number)
