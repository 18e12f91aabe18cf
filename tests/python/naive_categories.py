"""What blocks are for, told from a trace's rows alone: the table of categories once more, simple and slow.

Written from the table at the head of analyzer/src/analysis/categories/inference.rs, to hold the analyzer
against. It searches every block's life through every phase, and keeps everything.
"""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

CLASSES = {
    "data": "data", "data_to_device": "data", "forward": "forward", "loss": "forward", "recompute": "recompute",
    "backward": "backward", "optimizer": "optimizer", "zero_grad": "zero_grad", "eval": "eval",
}  # fmt: skip
END = 1 << 62


@dataclass
class Block:
    """A block from its allocation to its free; `died` is `END` for one that is alive at the end."""

    address: int
    size: int
    site: str | None
    born: int
    category: str | None
    died: int = END


@dataclass(eq=False)
class Phase:
    """A span that means something: events with begin < seq <= end are in it, unless in one within it."""

    kind: str
    begin: int
    end: int
    around: Phase | None = None

    @property
    def run(self) -> Phase:
        """The pass that it is part of."""
        if self.around is not None and (self.around.kind, self.kind) in (
            ("backward", "recompute"),
            ("forward", "forward"),
        ):
            return self.around.run
        return self


@dataclass
class Step:
    number: int
    begin: int
    end: int
    batch_size: int | None


@dataclass
class Trace:
    """The rows of the only process of a trace."""

    program: Path
    run: Path
    has_tags: bool = True
    blocks: list[Block] = field(default_factory=list)
    phases: list[Phase] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    marks: list[tuple[str, int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._read_blocks()
        self._read_checkpoints()

    def _query(self, sql: str) -> list[dict[str, Any]]:
        line = [str(self.program), "query", str(self.run), sql, "--json"]
        done = subprocess.run(line, check=True, capture_output=True, text=True)
        return list(json.loads(done.stdout))

    def _read_blocks(self) -> None:
        sites = {row["site"]: row["name"] for row in self._query("SELECT site, name FROM sites")}
        alive: dict[int, Block] = {}
        for row in self._query(
            "SELECT seq, kind, address, size_bytes, site, category FROM events ORDER BY seq"
        ):
            address, kind = row["address"], row["kind"]
            if kind in ("alloc", "baseline"):
                block = Block(address, row["size_bytes"], sites.get(row["site"]), row["seq"], row["category"])
                assert address not in alive
                alive[address] = block
                self.blocks.append(block)
            elif kind == "free" and address in alive:
                alive.pop(address).died = row["seq"]
            elif kind == "annotate" and address in alive:
                alive[address].category = row["category"] or alive[address].category
        for block in self.blocks:
            block.category = block.category if self.has_tags else None

    def _read_checkpoints(self) -> None:
        rows = self._query("SELECT seq, kind, name, step, thread, batch_size FROM checkpoints ORDER BY seq")
        thread = next(row["thread"] for row in rows if row["kind"] == "step_begin")
        open_spans: list[tuple[str, Phase | None]] = []
        for row in rows:
            if row["thread"] != thread:
                continue
            kind, name, seq = row["kind"], row["name"], row["seq"]
            if kind == "span_begin":
                phase = None
                # A span in one of its own name is no phase of its own.
                if name in CLASSES and name not in [of for of, _ in open_spans]:
                    around = [of for _, of in open_spans if of is not None]
                    phase = Phase(CLASSES[name], seq, END, around[-1] if around else None)
                    self.phases.append(phase)
                open_spans.append((name, phase))
            elif kind == "span_end":
                of, phase = open_spans.pop()
                assert of == name
                if phase is not None:
                    phase.end = seq
            elif kind == "step_begin":
                self.steps.append(Step(row["step"], seq, END, None))
            elif kind == "step_end":
                self.steps[-1].end, self.steps[-1].batch_size = seq, row["batch_size"]
            elif kind == "mark":
                step = self.steps[-1].number if self.steps and self.steps[-1].end == END else -1
                self.marks.append((name, step, seq))

    def phase_at(self, seq: int) -> Phase | None:
        """The innermost phase."""
        around = [phase for phase in self.phases if phase.begin < seq <= phase.end]
        return max(around, key=lambda phase: phase.begin, default=None)

    def _next(self, seq: int, *kinds: str) -> Phase | None:
        later = [phase for phase in self.phases if phase.begin >= seq and phase.kind in kinds]
        return min(later, key=lambda phase: phase.begin, default=None)

    def _place(self, seq: int) -> Any:
        """What two moments have in common that are of one pass, or of one gap between phases."""
        phase = self.phase_at(seq)
        if phase is not None:
            return phase.run
        return max((of.end for of in self.phases if of.end < seq), default=0), "gap"

    @cached_property
    def _first_call(self) -> int:
        return min((of.begin for of in self.phases if of.kind in ("forward", "eval")), default=END)

    def label(self, block: Block) -> tuple[str, bool]:
        """The category of a block, and whether it is an activation that was made once more."""
        inferred = self.infer(block)
        if block.category is not None:
            return block.category, block.category == "activation" and inferred[1]
        return inferred

    def infer(self, block: Block) -> tuple[str, bool]:
        """The same, whatever the framework told."""
        born = self.phase_at(block.born)
        kind = born.kind if born is not None else None
        is_within = block.died != END and self._place(block.born) == self._place(block.died)
        if born is not None and kind == "forward":
            return self._of_forward(block, born.run.end, is_within), False
        if born is not None and kind == "recompute":
            if self.phase_at(block.died) is born:
                return "temporary", False
            is_kept = self._is_gone_by_next_forward(block, born.run.end)
            return ("activation", True) if is_kept else ("unknown", False)
        if born is not None and kind == "backward":
            use = self._next(born.run.end, "optimizer", "zero_grad")
            is_used = block.died > use.begin if use is not None else block.died == END
            return "gradient" if is_used and not is_within else "autograd_detail", False
        if born is not None and kind == "optimizer":
            following = self._next(born.end, "forward")
            is_kept = following is None or block.died > following.begin
            return "optimizer_state" if is_kept and not is_within else "temporary", False
        if kind == "data":
            return "temporary" if is_within else "input", False
        if kind is not None:
            return "temporary" if is_within else "unknown", False
        return self._outside(block, is_within), False

    def _of_forward(self, block: Block, end: int, is_within: bool) -> str:
        backward = self._next(end, "backward")
        assert backward is not None, "these programs always go backward"
        if is_within or block.died <= backward.begin:
            return "temporary"
        return "activation" if self._is_gone_by_next_forward(block, backward.end) else "unknown"

    def _is_gone_by_next_forward(self, block: Block, backward_end: int) -> bool:
        following = self._next(backward_end, "forward")
        return following is None or block.died <= following.end

    def _outside(self, block: Block, is_within: bool) -> str:
        before = max((of for of in self.phases if of.end < block.born), key=lambda of: of.end, default=None)
        after = self._next(block.born, *CLASSES.values())
        if before is not None and after is not None and (before.kind, after.kind) == ("forward", "backward"):
            return self._of_forward(block, before.run.end, is_within)
        if before is not None and after is not None and (before.kind, after.kind) == ("forward", "forward"):
            backward, died = self._next(block.born, "backward"), self.phase_at(block.died)
            if backward is not None and died is not None and died.run is backward:
                return "activation"
        if block.born <= self._first_call:
            if block.died <= self._first_call:
                return "temporary"
            last = max(of.begin for of in self.phases)
            died = self.phase_at(block.died)
            if block.died == END or (died is None and block.died > last):
                return "parameter"
            kinds = {"optimizer": "optimizer_state", "zero_grad": "gradient"}
            return kinds.get(died.kind if died is not None else "", "input")
        forward = self._next(block.born, "forward")
        if is_within or (forward is not None and block.died <= forward.begin):
            return "temporary"
        kinds_around = (before.kind if before else None, after.kind if after else None)
        if forward is None or kinds_around == ("backward", "optimizer"):
            return "unknown"
        backward = self._next(forward.run.end, "backward")
        second = self._next(backward.end, "forward") if backward is not None else None
        return "input" if second is None or block.died <= second.end else "unknown"

    def alive_at(self, seq: int) -> list[Block]:
        """After the event of that number."""
        return [block for block in self.blocks if block.born <= seq < block.died]

    def highest(self, begin: int = 0, end: int = END) -> int:
        """`seq` of the first moment at which most is alive after `begin`, up to `end`."""
        changes = [(block.born, block.size) for block in self.blocks]
        changes += [(block.died, -block.size) for block in self.blocks if block.died != END]
        alive = highest = 0
        at = begin
        for seq, size in sorted(changes):
            if seq > end:
                break
            if seq > begin and alive + size > highest:
                highest, at = alive + size, seq
            elif seq <= begin:
                highest = alive + size
            alive += size
        return at

    def sums(self, seq: int) -> dict[str, int]:
        """Bytes alive by category."""
        found: Counter[str] = Counter()
        for block in self.alive_at(seq):
            found[self.label(block)[0]] += block.size
        return {category: size for category, size in found.items() if size}
