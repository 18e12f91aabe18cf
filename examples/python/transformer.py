"""A small language model: what checkpointing and bfloat16 do to the memory of activations.

    python examples/python/transformer.py --run runs/baseline
    python examples/python/transformer.py --run runs/checkpointing --checkpointing --name "+ Checkpointing"
    tidegauge summary runs/baseline
    tidegauge compare runs/baseline runs/checkpointing

The text is made of sentences of a small grammar, so that there is something to learn and the loss falls.
All four configurations start from the same weights and see the same batches: their losses can be compared.
"""

from __future__ import annotations

import argparse
import contextlib
import random

import tidegauge as tg
import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint


class Block(nn.Module):
    """Attention and a perceptron, each added to the residual stream [batch, time, width]."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.perceptron = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, time, width = x.shape
        heads = self.qkv(self.norm1(x)).view(batch, time, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(heads[0], heads[1], heads[2], is_causal=True)
        x = x + self.project(mixed.transpose(1, 2).reshape(batch, time, width))
        return x + self.perceptron(self.norm2(x))


class Transformer(nn.Module):
    """Predicts the next character. With checkpointing blocks but the last are computed again in backward."""

    def __init__(
        self, vocabulary: int, width: int, heads: int, layers: int, time: int, checkpointing: bool
    ) -> None:
        super().__init__()
        self.checkpointing = checkpointing
        self.token, self.position = nn.Embedding(vocabulary, width), nn.Embedding(time, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.token(tokens) + self.position.weight[: tokens.shape[1]]
        for number, block in enumerate(self.blocks):
            if self.checkpointing and number + 1 < len(self.blocks):
                x = checkpoint(block, x, use_reentrant=False)
            else:
                x = block(x)
        return self.head(self.norm(x))


def synthetic_text(sentences: int, seed: int) -> str:
    """Sentences like `the old fox sees a river. `"""
    rng = random.Random(seed)
    nouns = "fox river stone harbour tide gauge ship sailor".split()
    adjectives = "old small quiet grey deep".split()
    verbs = "sees follows reads leaves finds".split()

    def noun() -> str:
        return f"{rng.choice(['the', 'a'])} {rng.choice(adjectives)} {rng.choice(nouns)}"

    return "".join(f"{noun()} {rng.choice(verbs)} {noun()}. " for _ in range(sentences))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", default="runs/transformer", help="folder of the trace")
    parser.add_argument("--name", default="Baseline", help="what `tidegauge compare` calls this run")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1")
    parser.add_argument("--checkpointing", action="store_true", help="compute blocks again in backward")
    parser.add_argument("--bf16", action="store_true", help="autocast to bfloat16")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--time", type=int, default=64, help="characters in a sample")
    parser.add_argument("--quick", action="store_true", help="few steps, for tests")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.steps = min(arguments.steps, 4)
    if arguments.device == "auto":
        arguments.device = "cuda" if torch.cuda.is_available() else "cpu"
    return arguments


def main() -> None:
    arguments = parse()
    torch.manual_seed(0)
    device = torch.device(arguments.device)
    tg.start(arguments.run, config={
        "name": arguments.name, "model": "transformer", "batch_size": arguments.batch_size,
        "checkpointing": arguments.checkpointing, "precision": "bf16" if arguments.bf16 else "fp32",
        "width": arguments.width, "layers": arguments.layers, "time": arguments.time, "device": str(device),
    })  # fmt: skip

    text = synthetic_text(sentences=2000, seed=0)
    characters = sorted(set(text))
    model = Transformer(
        len(characters), arguments.width, 4, arguments.layers, arguments.time, arguments.checkpointing
    ).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    tg.attach(model, optimizer)
    corpus = torch.tensor([characters.index(character) for character in text])
    samples = torch.Generator().manual_seed(1)

    losses = []
    for number in range(arguments.steps):
        with tg.step(number, batch_size=arguments.batch_size) as step:
            with tg.span("data_to_device"):
                starts = torch.randint(
                    len(corpus) - arguments.time - 1, (arguments.batch_size, 1), generator=samples
                )
                window = corpus[starts + torch.arange(arguments.time + 1)].to(device)
            with tg.span("forward"):
                precision = (
                    torch.autocast(device.type, torch.bfloat16)
                    if arguments.bf16
                    else contextlib.nullcontext()
                )
                with precision:
                    logits = model(window[:, :-1])
                loss = functional.cross_entropy(logits.float().flatten(0, 1), window[:, 1:].flatten())
            with tg.span("backward"):
                loss.backward()
            with tg.span("optimizer"):
                optimizer.step()
            with tg.span("zero_grad"):
                optimizer.zero_grad()
            step.loss = loss.item()
        losses.append(step.loss)

    trace = tg.stop()
    print(
        f"{arguments.name}: loss {losses[0]:.3f} → {losses[-1]:.3f} "
        f"in {len(losses)} steps on {device}; trace in {trace}"
    )


if __name__ == "__main__":
    main()
