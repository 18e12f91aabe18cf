"""The largest batch that fits a budget, found by trial steps of `AdaptiveBatchTrainer`.

    python examples/python/adaptive_batch.py --run runs/adaptive
    tidegauge steps runs/adaptive

On a GPU the budget is of what torch's allocator holds, on the CPU of the resident memory of the process,
which is why the budget here is counted from what the process takes before it trains. Trials leave no trace
in the training; in the recorded trace they are spans `batch size trial`.
"""

from __future__ import annotations

import argparse

import tidegauge as tg
import torch
from tidegauge.monitor import AdaptiveBatchTrainer, MemoryMonitor
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", default="runs/adaptive", help="folder of the trace")
    parser.add_argument("--steps", type=int, default=2, help="epochs")
    parser.add_argument(
        "--budget", type=float, default=16.0, help="MB (bytes / 1024²) for the steps of training"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1")
    parser.add_argument("--quick", action="store_true", help="one epoch, for tests")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.steps = 1
    if arguments.device == "auto":
        arguments.device = "cuda" if torch.cuda.is_available() else "cpu"
    return arguments


def main() -> None:
    arguments = parse()
    torch.manual_seed(0)
    tg.start(arguments.run, config={"budget_mb": arguments.budget, "device": arguments.device})
    model = nn.Sequential(nn.Linear(32, 4096), nn.ReLU(), nn.Linear(4096, 10)).to(arguments.device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    tg.attach(model, optimizer, steps=False)  # the trainer makes them
    inputs = torch.randn(4096, 32)
    labels = inputs[:, :10].argmax(1)
    # Once before, so that what torch sets up at first use counts as taken already.
    nn.functional.cross_entropy(
        model(inputs[:8].to(arguments.device)), labels[:8].to(arguments.device)
    ).backward()
    optimizer.zero_grad()

    taken = (
        MemoryMonitor.get_cpu_memory_mb() if arguments.device == "cpu" else MemoryMonitor.get_gpu_memory_mb()
    )
    trainer = AdaptiveBatchTrainer(model, optimizer, max_memory_mb=taken + arguments.budget)
    loader = DataLoader(TensorDataset(inputs, labels), batch_size=32, shuffle=True)
    losses = [trainer.train_epoch(loader) for _ in range(arguments.steps)]
    trace = tg.stop()
    print(f"batch size {trainer.current_batch_size} within {arguments.budget:.0f} MB more; "
          f"loss {losses[0]:.3f} → {losses[-1]:.3f}; trace in {trace}")  # fmt: skip


if __name__ == "__main__":
    main()
