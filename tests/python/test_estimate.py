"""`tidegauge estimate` against models that torch really builds: parameters, gradients, optimizer state, saved tensors."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")
nn = torch.nn
functional = torch.nn.functional

ROOT = pathlib.Path(__file__).parents[2]
BATCH, LENGTH, WIDTH, HEADS = 6, 10, 32, 4


def tidegauge(*arguments: str | pathlib.Path) -> Any:
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
    line = [target / "debug" / "tidegauge", "estimate", *arguments, "--json"]
    return json.loads(subprocess.run(line, check=True, capture_output=True, text=True).stdout)


def estimate(folder: pathlib.Path, description: dict[str, Any], *arguments: str) -> Any:
    """The row of the whole, of a description that is written to a file."""
    path = folder / "model.json"
    path.write_text(json.dumps({"device": "cpu", **description}))
    rows = {row["layer"]: row for row in tidegauge(path, *arguments)}
    return rows["total"]


def saved_bytes(model: Any, forward: Callable[[], Any]) -> int:
    """Sum of the storages that autograd keeps, each counted once, without parameters and buffers."""
    own = {tensor.untyped_storage().data_ptr() for tensor in [*model.parameters(), *model.buffers()]}
    kept: dict[int, Any] = {}

    def pack(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage  # alive, so that no address comes twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = forward()
    assert output.requires_grad
    return sum(storage.nbytes() for storage in kept.values())


def numbers(tensors: Any) -> tuple[int, int]:
    """How many numbers, and their bytes."""
    tensors = list(tensors)
    return sum(one.numel() for one in tensors), sum(one.nbytes for one in tensors)


def state_bytes(optimizer: Any) -> int:
    def size(value: Any) -> int:
        if torch.is_tensor(value):
            return int(value.nbytes)
        return sum(map(size, value)) if isinstance(value, list) else 0

    return sum(size(value) for state in optimizer.state.values() for value in state.values())


def floats(*shape: int) -> Callable[[], Any]:
    return lambda: torch.randn(BATCH, *shape)


def tokens(*shape: int) -> Callable[[], Any]:
    return lambda: torch.randint(0, 50, (BATCH, *shape))


class Residual(nn.Module):
    def __init__(self, *layers: Any) -> None:
        super().__init__()
        self.inner = nn.Sequential(*layers)

    def forward(self, x: Any) -> Any:
        return x + self.inner(x)


class Positions(nn.Module):
    def __init__(self, length: int, width: int, is_sliced: bool = False) -> None:
        super().__init__()
        self.table, self.is_sliced = nn.Embedding(length, width), is_sliced

    def forward(self, x: Any) -> Any:
        length = x.shape[1]
        return x + (self.table.weight[:length] if self.is_sliced else self.table(torch.arange(length)))


class Attention(nn.Module):
    """As nanoGPT has it: one projection, heads as views of it, a fused kernel or everything written out."""

    def __init__(self, width: int, heads: int, scores: str, is_packed: bool = True, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads, self.scores, self.dropout = heads, scores, dropout
        self.packed = nn.Linear(width, 3 * width) if is_packed else None
        self.apart = nn.ModuleList() if is_packed else nn.ModuleList(nn.Linear(width, width) for _ in range(3))
        self.output = nn.Linear(width, width)

    def forward(self, x: Any) -> Any:
        batch, length, width = x.shape
        parts = self.packed(x).split(width, 2) if self.packed else [one(x) for one in self.apart]
        query, key, value = [part.view(batch, length, self.heads, -1).transpose(1, 2) for part in parts]
        if self.scores == "materialised":
            scores = query @ key.transpose(-2, -1) / (width // self.heads) ** 0.5
            later = torch.ones(length, length).tril() == 0
            shares = functional.softmax(scores.masked_fill(later, float("-inf")), -1)
            mixed = functional.dropout(shares, self.dropout) @ value
        else:
            kind = torch.nn.attention.SDPBackend.MATH
            backends = [kind] if self.scores == "math" else [kind, torch.nn.attention.SDPBackend.FLASH_ATTENTION]
            with torch.nn.attention.sdpa_kernel(backends):
                mixed = functional.scaled_dot_product_attention(
                    query, key, value, dropout_p=self.dropout, is_causal=True
                )
        return self.output(mixed.transpose(1, 2).contiguous().view(batch, length, width))


def block(scores: str = "flash") -> Any:
    """A block of GPT."""
    perceptron = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))
    return nn.Sequential(
        Residual(nn.LayerNorm(WIDTH), Attention(WIDTH, HEADS, scores)), Residual(nn.LayerNorm(WIDTH), perceptron)
    )


class Sketched(nn.Module):
    """A sketched linear layer by the formula of its authors: y = Σ (x S1 U1 + x U2 S2) / 2 terms + b."""

    def __init__(self, inputs: int, outputs: int, rank: int, terms: int, has_bias: bool = True) -> None:
        super().__init__()
        self.S1s = nn.Parameter(torch.randn(terms, inputs, rank))
        self.S2s = nn.Parameter(torch.randn(terms, rank, outputs))
        self.register_buffer("U1s", torch.randn(terms, rank, outputs))
        self.register_buffer("U2s", torch.randn(terms, inputs, rank))
        self.bias = nn.Parameter(torch.randn(outputs)) if has_bias else None

    def forward(self, x: Any) -> Any:
        terms = range(len(self.S1s))
        sums = sum(x @ self.S1s[t] @ self.U1s[t] + x @ self.U2s[t] @ self.S2s[t] for t in terms)
        scaled = sums / (2 * len(self.S1s))
        return scaled if self.bias is None else scaled + self.bias


def linear(inputs: int, outputs: int, **more: Any) -> dict[str, Any]:
    return {"type": "linear", "in_features": inputs, "out_features": outputs, **more}


def encoder(**more: Any) -> dict[str, Any]:
    return {
        "type": "transformer_encoder_layer", "d_model": WIDTH, "nhead": HEADS, "dim_feedforward": 64, **more
    }  # fmt: skip


def torch_encoder(**more: Any) -> Any:
    return nn.TransformerEncoderLayer(WIDTH, HEADS, 64, batch_first=True, **more)


GPT_BLOCK = {"type": "transformer_block", "d_model": WIDTH, "num_heads": HEADS, "causal": True}
SEQUENCE = {"input": [LENGTH, WIDTH]}
IMAGES = {"input": [3, 16, 16]}

#: Name: description, the model, what goes in.
MODELS: dict[str, tuple[dict[str, Any], Callable[[], Any], Callable[[], Any]]] = {
    "perceptron": (
        {"layers": [linear(20, 30), {"type": "relu"}, linear(30, 40, bias=False), {"type": "gelu"}, linear(40, 5)]},
        lambda: nn.Sequential(
            nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 40, bias=False), nn.GELU(), nn.Linear(40, 5)
        ),
        floats(20),
    ),
    "convolutions": (
        {**IMAGES, "layers": [
            {"type": "conv2d", "in_channels": 3, "out_channels": 8, "kernel_size": 3, "padding": 1},
            {"type": "batch_norm", "num_features": 8}, {"type": "relu", "inplace": True},
            {"type": "max_pool2d", "kernel_size": 2},
            {"type": "conv2d", "in_channels": 8, "out_channels": 12, "kernel_size": [3, 5], "stride": 2,
             "padding": [1, 2], "groups": 4, "bias": False},
            {"type": "group_norm", "num_channels": 12, "num_groups": 3}, {"type": "silu"},
            {"type": "conv2d", "in_channels": 12, "out_channels": 4, "kernel_size": 4, "padding": "same"},
            {"type": "avg_pool2d", "kernel_size": 2}, {"type": "flatten"}, linear(16, 10),
        ]},
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.MaxPool2d(2),
            nn.Conv2d(8, 12, (3, 5), 2, (1, 2), groups=4, bias=False), nn.GroupNorm(3, 12), nn.SiLU(),
            nn.Conv2d(12, 4, 4, padding="same"), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(16, 10),
        ),
        floats(3, 16, 16),
    ),
    "residual convolutions to a mean": (
        {**IMAGES, "layers": [
            {"type": "conv2d", "in_channels": 3, "out_channels": 8, "kernel_size": 3, "dilation": 2},
            {"type": "residual", "layers": [
                {"type": "conv2d", "out_channels": 8, "kernel_size": 3, "padding": "same"},
                {"type": "batch_norm"}, {"type": "leaky_relu"}]},
            {"type": "upsample", "scale_factor": 2}, {"type": "adaptive_avg_pool2d", "output_size": 1},
            {"type": "flatten"}, linear(8, 10),
        ]},
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 3, dilation=2),
            Residual(nn.Conv2d(8, 8, 3, padding="same"), nn.BatchNorm2d(8), nn.LeakyReLU()),
            nn.Upsample(scale_factor=2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10),
        ),
        floats(3, 16, 16),
    ),
    "convolutions in one dimension": (
        {"input": [4, 50], "layers": [
            {"type": "conv1d", "in_channels": 4, "out_channels": 8, "kernel_size": 5, "stride": 2},
            {"type": "tanh"}, {"type": "max_pool1d", "kernel_size": 2},
            {"type": "conv1d", "in_channels": 8, "out_channels": 2, "kernel_size": 4, "padding": "same"},
            {"type": "sigmoid"}, {"type": "adaptive_avg_pool1d", "output_size": 3}, {"type": "flatten"},
            {"type": "softmax"},
        ]},
        lambda: nn.Sequential(
            nn.Conv1d(4, 8, 5, 2), nn.Tanh(), nn.MaxPool1d(2), nn.Conv1d(8, 2, 4, padding="same"), nn.Sigmoid(),
            nn.AdaptiveAvgPool1d(3), nn.Flatten(), nn.Softmax(-1),
        ),
        floats(4, 50),
    ),
    "encoder without dropout": (
        {**SEQUENCE, "layers": [{"type": "repeat", "times": 3, "layers": [encoder(dropout=0)]}]},
        lambda: nn.Sequential(*(torch_encoder(dropout=0) for _ in range(3))),
        floats(LENGTH, WIDTH),
    ),
    "encoder with dropout, norms first": (
        {**SEQUENCE, "layers": [{"type": "repeat", "times": 2, "layers": [encoder(norm_first=True)]}]},
        lambda: nn.Sequential(*(torch_encoder(norm_first=True) for _ in range(2))),
        floats(LENGTH, WIDTH),
    ),
    "encoder with gelu and no biases": (
        {**SEQUENCE, "layers": [encoder(activation="gelu", bias=False, dropout=0.2), linear(WIDTH, 3)]},
        lambda: nn.Sequential(torch_encoder(activation="gelu", bias=False, dropout=0.2), nn.Linear(WIDTH, 3)),
        floats(LENGTH, WIDTH),
    ),
    "multihead attention": (
        {**SEQUENCE, "layers": [linear(WIDTH, WIDTH), {"type": "multihead_attention", "num_heads": HEADS}]},
        lambda: nn.Sequential(nn.Linear(WIDTH, WIDTH), SelfAttention(WIDTH, HEADS)),
        floats(LENGTH, WIDTH),
    ),
    **{
        f"gpt, scores {scores}": (
            {"sequence": LENGTH, "layers": [
                {"type": "embedding", "num_embeddings": 50, "embedding_dim": WIDTH},
                {"type": "position_embedding", "num_embeddings": 64},
                {"type": "repeat", "times": 2, "layers": [{**GPT_BLOCK, "scores": scores}]},
                {"type": "layer_norm"}, linear(WIDTH, 50, bias=False),
            ]},
            lambda scores=scores: nn.Sequential(
                nn.Embedding(50, WIDTH), Positions(64, WIDTH), block(scores), block(scores),
                nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 50, bias=False),
            ),
            tokens(LENGTH),
        )
        for scores in ("flash", "math", "materialised")
    },
    **{
        f"attention apart, scores {scores}, dropout {dropout}": (
            {**SEQUENCE, "layers": [
                linear(WIDTH, WIDTH), {"type": "attention", "num_heads": HEADS, "packed": False, "causal": True,
                                       "scores": scores, "dropout": dropout}]},
            lambda scores=scores, dropout=dropout: nn.Sequential(
                nn.Linear(WIDTH, WIDTH), Attention(WIDTH, HEADS, scores, is_packed=False, dropout=dropout)
            ),
            floats(LENGTH, WIDTH),
        )
        for scores in ("flash", "math", "materialised")
        for dropout in (0.0, 0.1)
    },
    "embeddings": (
        {"sequence": LENGTH, "layers": [
            {"type": "embedding", "num_embeddings": 50, "embedding_dim": 8},
            {"type": "position_embedding", "num_embeddings": 64, "lookup": "slice"},
            {"type": "rms_norm"}, {"type": "dropout", "p": 0.3}, {"type": "mean", "dim": 1},
            linear(8, 4), {"type": "log_softmax"},
        ]},
        lambda: nn.Sequential(
            nn.Embedding(50, 8), Positions(64, 8, is_sliced=True), nn.RMSNorm(8), nn.Dropout(0.3), Mean(),
            nn.Linear(8, 4), nn.LogSoftmax(-1),
        ),
        tokens(LENGTH),
    ),
    "sketched": (
        {"layers": [
            {"type": "sketched_linear", "in_features": 48, "out_features": 36, "sketch_size": 5, "terms": 3},
            {"type": "relu"},
            {"type": "sketched_linear", "in_features": 36, "out_features": 24, "low_rank": 4, "num_terms": 1,
             "bias": False},
        ]},
        lambda: nn.Sequential(Sketched(48, 36, 5, 3), nn.ReLU(), Sketched(36, 24, 4, 1, has_bias=False)),
        floats(48),
    ),
    "frozen": (
        {"layers": [
            linear(20, 30, frozen=True), {"type": "gelu"}, linear(30, 30), {"type": "relu"},
            linear(30, 10, frozen=True),
        ]},
        lambda: frozen(
            nn.Sequential(nn.Linear(20, 30), nn.GELU(), nn.Linear(30, 30), nn.ReLU(), nn.Linear(30, 10)), (0, 4)
        ),
        floats(20),
    ),
    **{
        function: (
            {"layers": [linear(20, 30), {"type": "activation", "function": function}, {"type": "dropout"}]},
            lambda module=module: nn.Sequential(nn.Linear(20, 30), module(), nn.Dropout()),
            floats(20),
        )
        for function, module in {
            "relu6": nn.ReLU6, "elu": nn.ELU, "selu": nn.SELU, "celu": nn.CELU, "softplus": nn.Softplus,
            "mish": nn.Mish, "hardswish": nn.Hardswish, "hardsigmoid": nn.Hardsigmoid, "hardtanh": nn.Hardtanh,
            "log_sigmoid": nn.LogSigmoid, "softsign": nn.Softsign, "tanhshrink": nn.Tanhshrink, "glu": nn.GLU,
            "prelu": nn.PReLU,
        }.items()
    },
}  # fmt: skip


class SelfAttention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(self, x: Any) -> Any:
        return self.inner(x, x, x, need_weights=False)[0]


class Mean(nn.Module):
    def forward(self, x: Any) -> Any:
        return x.mean(1)


def frozen(model: Any, parts: tuple[int, ...]) -> Any:
    for part in parts:
        model[part].requires_grad_(False)
    return model


#: Of these other element types are tested too.
SEVERAL = ["perceptron", "convolutions", "encoder without dropout", "gpt, scores flash", "embeddings"]


@pytest.mark.parametrize("name", MODELS)
def test_models_hold_what_torch_says(name: str, tmp_path: pathlib.Path) -> None:
    description, build, batch = MODELS[name]
    torch.manual_seed(0)
    model, x = build(), batch()
    total = estimate(tmp_path, {"optimizer": "adamw", **description}, "--batch", str(BATCH))
    assert (total["parameters"], total["parameter_bytes"]) == numbers(model.parameters())
    assert (total["buffers"], total["buffer_bytes"]) == numbers(model.buffers())
    kept = saved_bytes(model, lambda: model(x))
    print(f"{name}: activations {total['activation_bytes']} of {kept}: {total['activation_bytes'] / kept:.4f}")
    assert total["activation_bytes"] == kept
    optimizer = torch.optim.AdamW(model.parameters())
    model(x).sum().backward()
    optimizer.step()
    gradients = [one.grad for one in model.parameters() if one.grad is not None]
    assert total["gradient_bytes"] == numbers(gradients)[1]
    assert total["optimizer_bytes"] == state_bytes(optimizer)


@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
@pytest.mark.parametrize("name", SEVERAL)
def test_other_element_types(name: str, dtype: str, tmp_path: pathlib.Path) -> None:
    description, build, batch = MODELS[name]
    model, x = build().to(getattr(torch, dtype)), batch()
    x = x.to(getattr(torch, dtype)) if x.is_floating_point() else x
    total = estimate(tmp_path, description, "--batch", str(BATCH), "--dtype", dtype)
    assert (total["parameters"], total["parameter_bytes"]) == numbers(model.parameters())
    assert (total["buffers"], total["buffer_bytes"]) == numbers(model.buffers())
    assert total["activation_bytes"] == saved_bytes(model, lambda: model(x))


@pytest.mark.parametrize("name", SEVERAL)
def test_autocast(name: str, tmp_path: pathlib.Path) -> None:
    description, build, batch = MODELS[name]
    model, x = build(), batch()

    def forward() -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            return model(x)

    total = estimate(tmp_path, description, "--batch", str(BATCH), "--autocast", "bf16")
    assert (total["parameters"], total["parameter_bytes"]) == numbers(model.parameters())
    kept = saved_bytes(model, forward)
    print(f"{name}: activations {total['activation_bytes']} of {kept}")
    assert total["activation_bytes"] == kept


LOSSES: dict[str, Callable[[Any], Any]] = {
    "cross_entropy": lambda y: functional.cross_entropy(y, torch.zeros(len(y), dtype=torch.long)),
    "mse": lambda y: functional.mse_loss(y, torch.ones_like(y)),
    "l1": lambda y: functional.l1_loss(y, torch.ones_like(y)),
    "bce_with_logits": lambda y: functional.binary_cross_entropy_with_logits(y, torch.ones_like(y)),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_losses(loss: str, tmp_path: pathlib.Path) -> None:
    description, build, batch = MODELS["perceptron"]
    model, x = build(), batch()
    total = estimate(tmp_path, {**description, "loss": loss}, "--batch", str(BATCH))
    assert total["activation_bytes"] == saved_bytes(model, lambda: LOSSES[loss](model(x)))


OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "adam": torch.optim.Adam,
    "adamw-amsgrad": lambda p: torch.optim.AdamW(p, amsgrad=True),
    "rmsprop": torch.optim.RMSprop,
    "adagrad": torch.optim.Adagrad,
    "adadelta": torch.optim.Adadelta,
    "adamax": torch.optim.Adamax,
    "nadam": torch.optim.NAdam,
    "radam": torch.optim.RAdam,
    "adafactor": torch.optim.Adafactor,
    "asgd": torch.optim.ASGD,
    "rprop": torch.optim.Rprop,
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers(name: str, tmp_path: pathlib.Path) -> None:
    description, build, batch = MODELS["convolutions"]
    model = build()
    optimizer = OPTIMIZERS[name](model.parameters())
    model(batch()).sum().backward()
    optimizer.step()
    total = estimate(tmp_path, description, "--batch", str(BATCH), "--optimizer", name)
    assert total["optimizer_bytes"] == state_bytes(optimizer)


def test_lbfgs_with_a_full_history(tmp_path: pathlib.Path) -> None:
    torch.manual_seed(0)
    model, x = nn.Linear(8, 3), torch.randn(50, 8)
    optimizer = torch.optim.LBFGS(model.parameters(), history_size=3, max_iter=10)

    def closure() -> Any:
        optimizer.zero_grad()
        loss = ((model(x) ** 2 - torch.cos(x[:, :3])) ** 2).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    description = {"optimizer": {"name": "lbfgs", "history_size": 3}, "layers": [linear(8, 3)]}
    assert estimate(tmp_path, description)["optimizer_bytes"] == state_bytes(optimizer)


def test_checkpointed_segments_keep_their_inputs(tmp_path: pathlib.Path) -> None:
    from torch.utils.checkpoint import checkpoint

    widths = [64, 48, 32, 24, 16]
    layers: list[dict[str, Any]] = []
    modules: list[Any] = []
    for inputs, outputs in zip(widths, widths[1:], strict=False):
        layers += [linear(inputs, outputs), {"type": "relu"}]
        modules += [nn.Linear(inputs, outputs), nn.ReLU()]
    layers.pop()
    modules.pop()
    model = nn.Sequential(*modules)
    # Seven layers in three segments: two, two, and the three that remain.
    segments = [model[0:2], model[2:4], model[4:7]]
    x = torch.randn(BATCH, widths[0])

    def forward() -> Any:
        y = x
        for segment in segments:
            y = checkpoint(segment, y, use_reentrant=False)
        return y

    total = estimate(tmp_path, {"layers": layers}, "--batch", str(BATCH), "--checkpoint-segments", "3")
    kept = saved_bytes(model, forward)
    assert total["activation_bytes"] == kept
    # In backward of a segment the inputs of it and those before are there, and all that it keeps but its input.
    inputs, peaks, y = 0, [kept], x
    for segment in segments:
        inputs += y.nbytes
        given = y.detach().requires_grad_(y is not x)
        peaks.append(inputs - y.nbytes + saved_bytes(segment, lambda s=segment, g=given: s(g)))
        y = segment(y)
    assert total["peak_activation_bytes"] == max(peaks)
    assert total["recomputed_bytes"] == sum(
        saved_bytes(segment, lambda s=segment, g=given: s(g)) - given.nbytes
        for segment, given in zip(segments, (x, model[:2](x), model[:4](x)), strict=True)
    )


def test_a_weight_that_two_layers_share_counts_once(tmp_path: pathlib.Path) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token, self.head = nn.Embedding(50, 8), nn.Linear(8, 50, bias=False)
            self.head.weight = self.token.weight

        def forward(self, x: Any) -> Any:
            return self.head(self.token(x))

    model, x = Tied(), tokens(LENGTH)()
    layers = [
        {"name": "token", "type": "embedding", "num_embeddings": 50, "embedding_dim": 8},
        {"name": "head", "type": "linear", "out_features": 50, "bias": False, "weight_of": "token"},
    ]
    total = estimate(tmp_path, {"sequence": LENGTH, "layers": layers}, "--batch", str(BATCH))
    assert (total["parameters"], total["parameter_bytes"]) == numbers(model.parameters())
    assert total["activation_bytes"] == saved_bytes(model, lambda: model(x))


def test_standard_against_replacement(tmp_path: pathlib.Path) -> None:
    """The three layers of the reference's breakdown: parameters in float32, 128 samples."""
    for inputs, outputs, rank in [(1024, 512, 256), (2048, 1024, 512), (4096, 2048, 1024)]:
        for terms in (1, 2):
            standard, sketched = nn.Linear(inputs, outputs), Sketched(inputs, outputs, rank, terms)
            layer = {
                "type": "sketched_linear", "in_features": inputs, "out_features": outputs, "sketch_size": rank,
                "num_terms": terms,
            }  # fmt: skip
            path = tmp_path / "model.json"
            path.write_text(json.dumps([layer]))
            (_, row, total) = tidegauge(path, "--batch", "128")
            assert row["parameters"] == numbers(sketched.parameters())[0] == terms * rank * (inputs + outputs) + outputs
            assert row["buffers"] == numbers(sketched.buffers())[0] == row["parameters"] - outputs
            assert row["standard_parameters"] == numbers(standard.parameters())[0]
            assert row["standard_type"] == "linear"
            less = 1 - numbers(sketched.parameters())[1] / numbers(standard.parameters())[1]
            assert row["parameter_reduction_share"] == pytest.approx(less, abs=1e-12)
            stored = numbers([*sketched.parameters(), *sketched.buffers()])[1]
            assert row["stored_reduction_share"] == pytest.approx(
                1 - stored / numbers(standard.parameters())[1], abs=1e-12
            )
            assert total["parameter_reduction_share"] == row["parameter_reduction_share"]
            assert row["input_bytes"] == 128 * inputs * 4
            assert row["output_bytes"] == 128 * outputs * 4
            assert row["intermediate_bytes"] == 128 * rank * 4 * terms


PROGRAM = """
import sys
import torch, tidegauge as tg
from torch import nn

torch.manual_seed(0)
model = nn.Sequential(
    nn.Embedding(50, 32), nn.LayerNorm(32), nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32), nn.ReLU(),
    nn.Dropout(0.1), nn.Linear(32, 50), nn.Softsign(),
)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
tg.start(sys.argv[1])
tg.attach(model, optimizer)
for number in range(3):
    # The first batch is of another size than those after it.
    size = 8 if number else 4
    with tg.step(number, batch_size=size):
        tokens = torch.randint(0, 50, (size, 16))
        with tg.span("forward"):
            loss = model(tokens).sum()
        with tg.span("backward"):
            loss.backward()
        with tg.span("optimizer"):
            optimizer.step()
            optimizer.zero_grad()
tg.stop()
"""


def test_modules_of_a_run_beside_what_was_measured(tmp_path: pathlib.Path) -> None:
    package = ROOT / "recorder" / "python" / "python"
    if not list((package / "tidegauge").glob("_native*.so")):
        pytest.skip("the Python package is not built: make python")
    run = tmp_path / "run"
    environment = {**os.environ, "PYTHONPATH": str(package)}
    for name in [name for name in environment if name.startswith("TIDEGAUGE") and name != "TIDEGAUGE_CACHE"]:
        del environment[name]
    subprocess.run([sys.executable, "-c", PROGRAM, run], check=True, env=environment, timeout=300)
    rows = {row["module"]: row for row in tidegauge(run)}
    total = rows.pop("total")
    model = nn.Sequential(
        nn.Embedding(50, 32), nn.LayerNorm(32), nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32), nn.ReLU(),
        nn.Dropout(0.1), nn.Linear(32, 50), nn.Softsign(),
    )  # fmt: skip
    for name, module in model.named_children():
        row = rows[f"Sequential.{name}"]
        own = numbers(module.parameters())
        assert (row["parameters"], row["parameter_bytes"]) == own
        assert row["gradient_bytes"] == row["measured_gradient_bytes"] == own[1]
        assert row["optimizer_bytes"] == own[1]  # momentum, found by the state that SGD has
    assert (total["parameters"], total["parameter_bytes"]) == numbers(model.parameters())
    for what in ("parameter_bytes", "gradient_bytes", "optimizer_bytes"):
        assert total[what] == total[f"measured_{what}"]
    # Of 8 samples, not of the first step's 4. In a chain all that is kept is known from the shapes.
    assert rows["Sequential.0"]["output_bytes"] == 8 * 16 * 32 * 4
    kept = {name: row["activation_bytes"] for name, row in rows.items()}
    measured = {name: row["measured_activation_bytes"] for name, row in rows.items()}
    # What forward gave to `sum` is alive at its end as the program's own variable of no use.
    tokens_in = torch.randint(0, 50, (8, 16))
    truth = saved_bytes(model, lambda: model(tokens_in)) - tokens_in.nbytes
    print(f"kept {total['activation_bytes']}, measured {total['measured_activation_bytes']}, saved {truth}")
    assert total["activation_bytes"] == truth
    for name in [f"Sequential.{number}" for number in range(8)]:
        assert kept[name] == measured[name], name


def test_a_run_takes_no_options_of_a_description(tmp_path: pathlib.Path) -> None:
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
    line = [target / "debug" / "tidegauge", "estimate", tmp_path, "--parts"]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 2
    assert "are for the description of a model" in done.stderr
