"""Predictions for more samples than fit at once: in one forward pass, and in chunks by `StreamingInference`.

    python examples/python/streaming_inference.py --run runs/streaming
    tidegauge phases runs/streaming

The phases `all_at_once` and `streamed` give the same predictions; the peak inside of them is what differs.
"""

from __future__ import annotations

import argparse

import tidegauge as tg
import torch
from tidegauge.monitor import StreamingInference
from torch import nn


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", default="runs/streaming", help="folder of the trace")
    parser.add_argument("--batch-size", type=int, default=500, help="samples in a chunk")
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1")
    parser.add_argument("--quick", action="store_true", help="fewer samples, for tests")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.samples = min(arguments.samples, 5_000)
    if arguments.device == "auto":
        arguments.device = "cuda" if torch.cuda.is_available() else "cpu"
    return arguments


def main() -> None:
    arguments = parse()
    torch.manual_seed(0)
    tg.start(arguments.run, config={"chunk_size": arguments.batch_size, "samples": arguments.samples})
    model = nn.Sequential(nn.Linear(64, 1024), nn.GELU(), nn.Linear(1024, 8)).to(arguments.device).eval()
    tg.attach(model)
    inputs = torch.randn(arguments.samples, 64)
    with tg.span("all_at_once"), torch.no_grad():
        at_once = model(inputs.to(arguments.device)).cpu()
    with tg.span("streamed"):
        streamed = StreamingInference(model, chunk_size=arguments.batch_size).predict_large_batch(inputs)
    difference = (at_once - streamed).abs().max().item()
    trace = tg.stop()
    print(f"{len(streamed)} predictions, at most {difference:.1e} apart; trace in {trace}")


if __name__ == "__main__":
    main()
