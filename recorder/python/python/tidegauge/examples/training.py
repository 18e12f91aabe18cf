"""Monitors of training with PyTorch; on the GPU where there is one, else on the CPU."""

from __future__ import annotations

from typing import Any

from tidegauge.monitor import (
    AdaptiveBatchTrainer,
    BatchMemoryProfiler,
    EpochMemoryMonitor,
    MemoryMonitor,
    StreamingInference,
)


def problem(width: int = 256) -> tuple[Any, Any, Any, str]:
    """A small network, its optimizer, a loader of (x, y), and the device."""
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    layers = [torch.nn.Linear(64, width), torch.nn.ReLU(), torch.nn.Linear(width, 10)]
    model = torch.nn.Sequential(*layers).to(device)
    data = TensorDataset(torch.randn(400, 64), torch.randint(0, 10, (400,)))
    return model, torch.optim.Adam(model.parameters()), DataLoader(data, batch_size=16, shuffle=True), device


def epochs() -> None:
    import torch

    model, optimizer, loader, device = problem()
    monitor = EpochMemoryMonitor(enabled=True, verbose_batches=3)
    for _ in range(2):
        monitor.on_epoch_start()
        for number, (x, y) in enumerate(loader):
            optimizer.zero_grad()
            loss: Any = torch.nn.functional.cross_entropy(model(x.to(device)), y.to(device))
            loss.backward()
            optimizer.step()
            monitor.on_batch_end(number, loss)
        monitor.on_epoch_end()


def batch() -> None:
    import torch

    model, optimizer, loader, device = problem()
    profiler = BatchMemoryProfiler(enabled=True)
    for number, (x, y) in enumerate(loader):
        if number >= 2:
            profiler.disable()  # only the first two batches
        profiler.checkpoint("start")
        x, y = x.to(device), y.to(device)
        profiler.checkpoint("data_to_gpu")
        loss: Any = torch.nn.functional.cross_entropy(model(x), y)
        profiler.checkpoint("forward")
        loss.backward()
        profiler.checkpoint("backward")
        optimizer.step()
        profiler.checkpoint("optimizer")
        optimizer.zero_grad()
        profiler.print_summary()
        profiler.reset()


def batch_size() -> None:
    model, optimizer, loader, device = problem(width=4096)
    held_mb = MemoryMonitor.get_gpu_memory_mb() if device == "cuda" else MemoryMonitor.get_cpu_memory_mb()
    trainer = AdaptiveBatchTrainer(model, optimizer, max_memory_mb=held_mb + 20)
    print(f"mean loss {trainer.train_epoch(loader):.4f}")


def inference() -> None:
    import torch

    model, _, _, _ = problem()
    predictions = StreamingInference(model, chunk_size=500).predict_large_batch(torch.randn(10_000, 64))
    print(tuple(predictions.shape), predictions.device, "training:", model.training)
