"""A Hugging Face Trainer, recorded by a callback: a tiny GPT-2 with random weights learns to count.

    python examples/python/huggingface_trainer.py --run runs/trainer
    tidegauge summary runs/trainer
    tidegauge peaks runs/trainer --by module

The loop is the Trainer's. The callback records its steps, losses and epochs and attaches to its model and
optimizer; evaluation is a phase of its own. Nothing is downloaded: the model is built from a configuration.

Needs `transformers` and `accelerate` beside torch.
"""

from __future__ import annotations

import argparse
import os
import tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import tidegauge as tg
import torch
from tidegauge.huggingface import TidegaugeCallback
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

VOCABULARY, TIME = 64, 32


class Counting(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """Samples like 7 10 13 16 …: where a count begins and by how much it goes on is drawn."""

    def __init__(self, samples: int, seed: int) -> None:
        draws = torch.Generator().manual_seed(seed)
        begins = torch.randint(VOCABULARY, (samples, 1), generator=draws)
        strides = torch.randint(1, 5, (samples, 1), generator=draws)
        self.tokens = (begins + strides * torch.arange(TIME)) % VOCABULARY

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self.tokens[index], "labels": self.tokens[index]}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", default="runs/trainer", help="folder of the trace")
    parser.add_argument("--name", default="GPT-2", help="what `tidegauge compare` calls this run")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--device", default="auto", help="auto or cpu")
    parser.add_argument("--checkpointing", action="store_true", help="compute blocks again in backward")
    parser.add_argument("--quick", action="store_true", help="few steps, for tests")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.steps = min(arguments.steps, 6)
    return arguments


def main() -> None:
    arguments = parse()
    torch.manual_seed(0)
    tg.start(arguments.run, config={"name": arguments.name, "batch_size": arguments.batch_size})
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=VOCABULARY,
            n_positions=TIME,
            n_embd=64,
            n_layer=3,
            n_head=4,
            use_cache=False,
            bos_token_id=0,
            eos_token_id=0,
            loss_type="ForCausalLM",
        )  # fmt: skip
    )
    if arguments.checkpointing:
        model.gradient_checkpointing_enable()
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model=model,
            args=TrainingArguments(
                output_dir=folder,
                max_steps=arguments.steps,
                per_device_train_batch_size=arguments.batch_size,
                per_device_eval_batch_size=arguments.batch_size,
                learning_rate=3e-3,
                seed=0,
                logging_steps=5,
                eval_strategy="steps",
                eval_steps=max(1, arguments.steps // 2),
                save_strategy="no",
                report_to=[],
                use_cpu=arguments.device == "cpu",
                disable_tqdm=True,
                dataloader_pin_memory=torch.cuda.is_available(),
            ),  # fmt: skip
            train_dataset=Counting(samples=512, seed=0),
            eval_dataset=Counting(samples=64, seed=1),
            callbacks=[TidegaugeCallback()],
        )
        before = trainer.evaluate()["eval_loss"]
        trainer.train()
        after = trainer.evaluate()["eval_loss"]
    trace = tg.stop()
    print(
        f"{arguments.name}: evaluation loss {before:.3f} → {after:.3f} "
        f"in {arguments.steps} steps; trace in {trace}"
    )


if __name__ == "__main__":
    main()
