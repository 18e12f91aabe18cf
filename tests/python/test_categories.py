"""What blocks are for, at the peak and after forward, against what torch itself knows: its tensors, its
profiler, and what autograd saves.

With `-s` the accuracy that was found is printed as a table.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(Path(__file__).parent)]

from naive_categories import Block, Step, Trace  # noqa: E402

#: As in category_program, which is not imported: importing it loads torch and the recorder.
CASES = [
    "mlp, Adam", "mlp, SGD with momentum", "mlp, in-place ReLU", "mlp, batch norm", "mlp, accumulation",
    "mlp, gradients kept", "mlp, gradients kept, SGD", "mlp, bf16", "mlp, checkpointing",
    "mlp, without spans", "views",
    "transformer", "transformer, accumulation", "transformer, gradients kept", "transformer, bf16",
    "transformer, checkpointing", "transformer, without spans", "transformer, accumulation without spans",
    "rollout, without spans", "unet", "unet, accumulation", "unet, bf16", "unet, checkpointing", "unet, without spans",
]  # fmt: skip
EXACT = ["parameter", "gradient", "optimizer_state"]
#: What a rule below does not explain may be this share of the activations.
TOLERANCE = 0.05


def binary() -> Path:
    target = os.environ.get("CARGO_TARGET_DIR")
    folder = os.environ.get("TIDEGAUGE_BINARIES") or (f"{target}/debug" if target else "target/debug")
    return (ROOT / folder).resolve() / "tidegauge"


def tidegauge(command: str, run: Path, *arguments: str) -> list[dict[str, Any]]:
    line = [str(binary()), command, str(run), *arguments, "--json"]
    done = subprocess.run(line, check=True, capture_output=True, text=True)
    return list(json.loads(done.stdout))


def without_tags(run: Path) -> Path:
    """The same trace as if the framework had told nothing of what blocks are for."""
    import pyarrow
    from pyarrow import parquet

    copy = run.with_name(f"{run.name}-untagged")
    if not copy.exists():
        shutil.copytree(run, copy)
        for path in (copy / "events").rglob("*.parquet"):
            # Not as a part of a partitioned table, whose folders' names would become columns.
            with parquet.ParquetFile(path) as part:
                table, compression = part.read(), part.metadata.row_group(0).column(0).compression
            at = table.schema.get_field_index("category")
            nothing = pyarrow.nulls(len(table), table.schema.field(at).type)
            # Who rewrites a part drops its checksum.
            metadata = dict(table.schema.metadata or {})
            metadata.pop(b"tidegauge.checksum", None)
            table = table.set_column(at, table.schema.field(at), nothing).replace_schema_metadata(metadata)
            parquet.write_table(table, path, compression=compression)
    return copy


@dataclass(frozen=True)
class Case:
    """What one case left: traces with and without what the profiler needs, and torch's own account."""

    name: str
    run: Path
    saved_run: Path

    @cached_property
    def truth(self) -> dict[str, list[dict[str, Any]]]:
        return dict(json.loads(Path(f"{self.run}.json").read_text()))

    @cached_property
    def saved_truth(self) -> dict[str, list[dict[str, Any]]]:
        return dict(json.loads(Path(f"{self.saved_run}.json").read_text()))

    @cached_property
    def untagged(self) -> Path:
        return without_tags(self.run)

    @cached_property
    def trace(self) -> Trace:
        return Trace(binary(), self.run)

    @cached_property
    def saved_trace(self) -> Trace:
        return Trace(binary(), self.saved_run)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All cases, recorded in one process: loading torch takes longer than training."""
    folder = tmp_path_factory.mktemp("categories")
    environment = {key: value for key, value in os.environ.items() if key.startswith("TIDEGAUGE_CACHE") or not (
        key.startswith("TIDEGAUGE") or key in ("RANK", "LOCAL_RANK", "WORLD_SIZE"))}  # fmt: skip
    environment["OMP_NUM_THREADS"] = "1"
    if os.environ.get("TIDEGAUGE_PACKAGE") != "installed":
        paths = [str(ROOT / "recorder" / "python" / "python"), environment.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    line = [sys.executable, str(Path(__file__).with_name("category_program.py")), str(folder)]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


@cache
def case_of(folder: Path, name: str) -> Case:
    number = CASES.index(name)
    return Case(name, folder / f"{number}-profiled", folder / f"{number}-saved")


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, recorded: Path) -> Case:
    return case_of(recorded, request.param)


def by_category(rows: list[dict[str, Any]]) -> dict[str, int]:
    return {row["category"]: row["bytes"] for row in rows if row["bytes"]}


def at_peak(run: Path, step: int) -> dict[str, int]:
    return by_category(tidegauge("peaks", run, "--by", "category", "--step", str(step)))


def kinds_of(trace: Trace, block: Block) -> str | None:
    phase = trace.phase_at(block.born)
    return phase.kind if phase is not None else None


# What differs from the profiler, and why. Each is a rule about one block: what we say, what the profiler says
# (None: it has no tensor there), the phase that it was allocated in, whether it is one of the model's buffers.


def rule_of(case: Case, block: Block, theirs: str | None) -> str | None:
    """The name of the rule that explains why the profiler says something else."""
    ours, is_recomputed = case.trace.label(block)
    born = kinds_of(case.trace, block)
    buffers = case.truth["marks"][0]["parameter"]
    if ours == "activation" and is_recomputed and theirs in ("autograd_detail", "unknown", None):
        return "recomputed: what checkpointing makes again within backward is autograd's there"
    if ours == "temporary" and born == "optimizer":
        return "optimizer's temporaries: they depend on parameters, and are called what those are there"
    if ours == "parameter" and str(block.address) in buffers and theirs in ("input", "temporary", "unknown"):
        return "buffers: no gradient changes them, so they are no parameters there"
    if (
        ours == "autograd_detail"
        and block.size == 4
        and born == "backward"
        and theirs in ("activation", "unknown")
    ):
        return "seed: the gradient of the loss is made before the engine runs"
    if ours in ("activation", "temporary") and born == "forward" and theirs in ("input", "parameter"):
        return "made of inputs or parameters alone: they are what they were made of there"
    if ours in ("activation", "temporary", "autograd_detail") and theirs == "unknown":
        return "written to in place: there is no word there for some later versions, as of what views fill"
    if ours == "temporary" and born == "forward" and theirs == "activation":
        return "gone before backward: no activation to us, but one where data flow alone counts"
    if ours == "input" and born is None and block.size == 4 and theirs == "activation":
        return "where the loss begins: a number made before forward, outside of phases"
    if theirs is None and ours in ("activation", "temporary", "autograd_detail"):
        return "no operation's tensor: workspaces, states of random numbers are counted there and not named"
    return None


def differences(case: Case, step: Step) -> tuple[Counter[tuple[str, str | None, str | None]], int]:
    """Bytes by what we say, what the profiler says and the rule that explains it; and what we have no block of."""
    seq = case.trace.highest(step.begin, step.end)
    theirs = {(address, size): name for address, size, name in case.truth["peaks"][step.number]["alive"]}
    found: Counter[tuple[str, str | None, str | None]] = Counter()
    for block in case.trace.alive_at(seq):
        name = theirs.pop((block.address, block.size), None)
        ours = case.trace.label(block)[0]
        if ours != name:
            found[ours, name, rule_of(case, block, name)] += block.size
    return found, sum(size for _, size in theirs)


def test_the_peak_of_each_step_is_the_profilers_to_the_byte(case: Case) -> None:
    for step in case.trace.steps:
        seq = case.trace.highest(step.begin, step.end)
        total = sum(block.size for block in case.trace.alive_at(seq))
        assert total == case.truth["peaks"][step.number]["bytes"] > 0


def test_categories_at_the_peak_are_those_of_the_table_with_tags_and_without(case: Case) -> None:
    for step in case.trace.steps:
        seq = case.trace.highest(step.begin, step.end)
        assert at_peak(case.run, step.number) == case.trace.sums(seq)
        untagged: Counter[str] = Counter()
        for block in case.trace.alive_at(seq):
            untagged[case.trace.infer(block)[0]] += block.size
        assert at_peak(case.untagged, step.number) == dict(untagged)


def test_inference_alone_finds_what_tags_tell(case: Case) -> None:
    for step in case.trace.steps:
        tagged, inferred = at_peak(case.run, step.number), at_peak(case.untagged, step.number)
        assert sum(tagged.values()) == sum(inferred.values())
        for category in {*tagged, *inferred}:
            assert inferred.get(category, 0) == tagged.get(category, 0), category


@pytest.mark.parametrize("category", EXACT)
def test_what_models_and_optimizers_hold_is_found_exactly(case: Case, category: str) -> None:
    """At the peak, and after backward and the optimizer: their own tensors that are alive then, no other, no less."""
    marks = list(zip(case.trace.marks, case.truth["marks"], strict=True))
    assert [mark[0] for mark, _ in marks] == [truth["name"] for _, truth in marks]
    moments = [seq for (_, _, seq), _ in marks]
    moments += [case.trace.highest(step.begin, step.end) for step in case.trace.steps]
    # The blocks that torch has ever said to be of the category: those alive at a mark at the addresses that it named.
    own: set[int] = set()
    for (_, _, seq), truth in marks:
        named = truth[category]
        here = [block for block in case.trace.alive_at(seq) if str(block.address) in named]
        assert sum(block.size for block in here) == sum(named.values())
        own.update(id(block) for block in here)
    for seq in moments:
        alive = case.trace.alive_at(seq)
        expected = sum(block.size for block in alive if id(block) in own)
        for found in (case.trace.label, case.trace.infer):
            assert sum(block.size for block in alive if found(block)[0] == category) == expected


def test_the_profiler_says_the_same_or_a_rule_says_why_not(case: Case) -> None:
    for step in case.trace.steps:
        found, missing = differences(case, step)
        assert missing == 0
        activations = at_peak(case.run, step.number).get("activation", 0)
        for (ours, theirs, rule), size in found.items():
            assert rule is not None or size <= TOLERANCE * activations, (ours, theirs, size)


def test_activations_after_forward_are_what_autograd_saved(case: Case) -> None:
    """What it saved, and what a rule names: what variables hold, and what is needed to make things again."""
    for row, (of_saved, beside) in zip(forward_ends(case), compared_with_saved(case), strict=True):
        assert of_saved <= row
        assert row - of_saved == sum(beside.values())
        assert beside["unexplained"] <= TOLERANCE * row, beside


def forward_ends(case: Case) -> list[int]:
    """Activations where each forward ends."""
    trace = case.saved_trace
    ends = [seq for name, _, seq in trace.marks if name == "after_forward"]
    return [trace.sums(seq).get("activation", 0) for seq in ends]


def compared_with_saved(case: Case) -> Iterator[tuple[int, Counter[str]]]:
    """For each forward: the bytes of our activations that autograd has saved, and the others by what they are."""
    trace = case.saved_trace
    for (name, _, seq), truth in zip(trace.marks, case.saved_truth["marks"], strict=True):
        if name != "after_forward":
            continue
        saved, others = truth["saved"], {**truth["parameter"], **truth["input"]}
        ours = [block for block in trace.alive_at(seq) if trace.label(block)[0] == "activation"]
        known = {block.address for block in ours}
        # Nothing that autograd holds is anything else to us.
        elsewhere = {int(address) for address in others}
        assert {int(address) for address in saved} <= known | elsewhere
        beside: Counter[str] = Counter()
        for block in ours:
            if str(block.address) in saved:
                continue
            beside[reason(block, case, truth)] += block.size
        yield sum(block.size for block in ours if str(block.address) in saved), beside


def reason(block: Block, case: Case, truth: dict[str, Any]) -> str:
    """Why an activation is none that autograd saved."""
    if str(block.address) in truth["loss"]:
        return "the loss, which a variable holds (its storage is that of the sum's terms)"
    if "checkpointing" in case.name:
        return "inputs of checkpoints and states of random numbers, which the checkpoint holds itself"
    return "unexplained"


def test_activations_after_forward_are_an_independent_count(case: Case) -> None:
    trace = case.saved_trace
    rows = {row["step"]: row for row in tidegauge("activations", case.saved_run)}
    assert list(rows) == [step.number for step in trace.steps]
    for step in trace.steps:
        begins = sorted((phase.begin, phase.end) for phase in trace.phases if phase.kind == "backward")
        held = []
        for begin, _ in begins:
            if step.begin < begin < step.end:
                alive = [block for block in trace.alive_at(begin) if trace.label(block)[0] == "activation"]
                assert not any(trace.label(block)[1] for block in alive)
                held.append(sum(block.size for block in alive))
        row = rows[step.number]
        assert row["at_forward_end_bytes"] == max(held) > 0
        assert row["forwards"] == len(held) == (row["batch_size"] // 16)
        if len(held) == 1:
            assert abs(row["per_sample_bytes"] - held[0] / 16) <= 0.5
        at = trace.highest(step.begin, step.end)
        alive = [block for block in trace.alive_at(at) if trace.label(block)[0] == "activation"]
        assert row["at_peak_bytes"] == sum(block.size for block in alive)
        again = [
            block for block in trace.blocks if step.begin < block.born < step.end and trace.label(block)[1]
        ]
        assert row["recomputed_bytes"] == sum(block.size for block in again)
        assert (row["recomputed_bytes"] > 0) == ("checkpointing" in case.name)
        assert row["evidence"] == "measured"
        assert row["difference_bytes"] == row["estimate_from_checkpoints_bytes"] - row["at_forward_end_bytes"]
    modules = tidegauge("activations", case.saved_run, "--by", "module")
    highest = max(row["at_forward_end_bytes"] for row in rows.values())
    assert sum(row["bytes"] for row in modules) == highest


def test_the_accuracy(recorded: Path) -> None:
    """Prints it, and holds what is said in the README: of every case the step after the first one, at its peak."""
    print("\n\n| model | category | ours, tagged | ours, inferred | torch.profiler | difference |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    rules: Counter[str] = Counter()
    for name in CASES:
        case = case_of(recorded, name)
        step = case.trace.steps[-1]
        tagged, inferred = at_peak(case.run, step.number), at_peak(case.untagged, step.number)
        theirs: Counter[str] = Counter()
        for _, size, category in case.truth["peaks"][step.number]["alive"]:
            theirs[category] += size
        total = case.truth["peaks"][step.number]["bytes"]
        theirs["unknown"] += total - theirs.total()
        categories = sorted({*tagged, *inferred, *theirs})
        rows = [(of, tagged.get(of, 0), inferred.get(of, 0), theirs[of]) for of in categories]
        rows.append(("total", sum(tagged.values()), sum(inferred.values()), total))
        for category, one, other, torchs in rows:
            if (one, other, torchs) != (0, 0, 0):
                share = f"{(one - torchs) / torchs * 100:+.2f} %" if torchs else "–"
                print(f"| {name} | {category} | {one:,} | {other:,} | {torchs:,} | {share} |")
        for (_, _, rule), size in differences(case, step)[0].items():
            rules[str(rule)] += size
    print("\nWhy they differ, bytes over all models:\n")
    for rule, size in rules.most_common():
        print(f"* {size:,}: {rule}")
    print("\n| model | activations after forward | saved for backward | ratio | beside |")
    print("| --- | ---: | ---: | ---: | --- |")
    for name in CASES:
        case = case_of(recorded, name)
        held, (saved, beside) = forward_ends(case)[-1], list(compared_with_saved(case))[-1]
        why = ", ".join(f"{size:,}: {reason}" for reason, size in beside.items())
        print(f"| {name} | {held:,} | {saved:,} | {held / saved:.4f} | {why} |")
        assert held > 0
    assert "None" not in rules
