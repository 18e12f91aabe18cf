"""The callback for Hugging Face's Trainer, on a tiny model with random weights."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch_program import PRELUDE, record

TRAINER = """
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments
from tidegauge.huggingface import TidegaugeCallback
from transformers import TrainerCallback

class Losses(TrainerCallback):
    def on_log(self, args, state, control, logs=None, **more):
        if "loss" in (logs or {}):
            losses.append((state.global_step, logs["loss"]))
losses = []
class Samples(torch.utils.data.Dataset):
    def __len__(self): return 32
    def __getitem__(self, index):
        ids = torch.arange(index, index + 16) % 50
        return {"input_ids": ids, "labels": ids}
model = GPT2LMHeadModel(GPT2Config(vocab_size=50, n_positions=16, n_embd=16, n_layer=2, n_head=2))
arguments = TrainingArguments(
    output_dir=RUN + "-out", per_device_train_batch_size=4, gradient_accumulation_steps=2, num_train_epochs=2,
    logging_steps=LOGGING, report_to=[], save_strategy="no", eval_strategy="epoch", use_cpu=True,
    per_device_eval_batch_size=8, disable_tqdm=True)
trainer = Trainer(model, arguments, train_dataset=Samples(), eval_dataset=Samples(),
    callbacks=[TidegaugeCallback(RUN), Losses()])
trainer.train()
assert not tg.is_on()
say(losses=losses)
"""


@pytest.mark.parametrize("logging", [1, 3])
def test_trainer(tmp_path: Path, logging: int) -> None:
    outcome = record(tmp_path, TRAINER, prelude=PRELUDE + f"LOGGING = {logging}\n")
    assert outcome.process["notes"] == []
    losses = {step - 1: loss for step, loss in outcome.said[0]["losses"]}
    assert len(losses) == 8 // logging
    steps = outcome.steps()
    assert [number for number, _, _ in steps] == list(range(8))
    # The trainer rounds what it logs.
    assert {number: loss for number, loss, _ in steps if loss is not None} == pytest.approx(losses)
    kinds = [row["kind"] for row in outcome.checkpoints if row["kind"].startswith(("step", "epoch"))]
    assert kinds == (["epoch_begin"] + ["step_begin", "step_end"] * 4 + ["epoch_end"]) * 2
    # Two batches are accumulated in each step, and evaluations are in none.
    assert outcome.spans("forward") == ["+forward", "-forward"] * 16
    assert outcome.spans("eval") == ["+eval", "-eval"] * 8
    assert outcome.spans("optimizer") == ["+optimizer", "-optimizer"] * 8
    paths = {event["path"] for event in outcome.events}
    assert "GPT2LMHeadModel.transformer.h.1.mlp.c_fc" in paths
    configured = outcome.query("SELECT name, value FROM checkpoints WHERE kind = 'config'")
    assert {"name": "gradient_accumulation_steps", "value": 2.0} in configured
