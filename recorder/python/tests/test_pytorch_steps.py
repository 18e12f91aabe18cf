"""Automatic steps and phases of training loops that are less plain than the usual one.

Each program runs many loops, one after the other, since importing torch takes longer than they do. Each loop
has hooks of its own, so that its steps are counted from 0.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch_program import PRELUDE, Outcome, record

LOOPS = (
    PRELUDE
    + """
def loop(run):
    torch.manual_seed(0)
    tg.attach(allocations=False)
    tg.checkpoint(run.__name__)
    say(loop=run.__name__, **(run() or {}))
    tg.detach()
    tg.checkpoint(run.__name__ + " end")

def model():
    net = nn.Sequential(nn.Linear(32, 8), nn.Tanh(), nn.Linear(8, 1))
    return net, torch.optim.SGD(net.parameters(), lr=0.01)

def update(net, optimizer, x, y, losses=None):
    loss = nn.functional.mse_loss(net(x), y)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    if losses is not None:
        losses.append(loss.item())

tg.start(RUN)
"""
)
END = "\ntg.stop()\n"

Rows = list[dict[str, Any]]


class Loops:
    """What was recorded of each loop."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self.said = {facts["loop"]: facts for facts in outcome.said if "loop" in facts}

    def rows(self, name: str) -> Rows:
        """Checkpoints while a loop ran."""
        names = [row["name"] if row["kind"] == "mark" else None for row in self.outcome.checkpoints]
        return self.outcome.checkpoints[names.index(name) : names.index(f"{name} end")]

    def told(self, name: str, leave_out: tuple[str, ...] = ("data", "zero_grad", "optimizer")) -> list[str]:
        """Beginnings and ends of phases and steps."""
        signs = {"span_begin": "+", "span_end": "-", "step_begin": "[", "step_end": "]"}
        return [
            signs[row["kind"]] + (row["name"] or str(row["step"]))
            for row in self.rows(name)
            if row["kind"] in signs and row["name"] not in leave_out
        ]

    def ends(self, name: str) -> Rows:
        """Steps that have ended; each was begun once, on the same thread, after the one before had ended."""
        rows = [row for row in self.rows(name) if row["kind"] in ("step_begin", "step_end")]
        begun, ended = rows[::2], rows[1::2]
        assert [row["kind"] for row in begun] == ["step_begin"] * len(begun)
        assert [row["kind"] for row in ended] == ["step_end"] * len(begun)
        assert [row["step"] for row in begun] == [row["step"] for row in ended] == list(range(len(begun)))
        assert [row["thread"] for row in begun] == [row["thread"] for row in ended]
        return ended

    def losses(self, name: str) -> list[float | None]:
        return [row["value"] for row in self.ends(name)]

    def sizes(self, name: str) -> list[int | None]:
        return [row["batch_size"] for row in self.ends(name)]


@pytest.fixture(scope="module")
def loops(tmp_path_factory: pytest.TempPathFactory) -> Loops:
    """Loops that differ in how batches, gradients and updates follow each other."""
    folder = tmp_path_factory.mktemp("loops")
    outcome = record(
        folder,
        """
@loop
def one_batch():
    net, optimizer = model()
    x, y = next(iter(DataLoader(data(), batch_size=8)))
    losses = []
    for _ in range(30):
        update(net, optimizer, x, y, losses)
    return {"losses": losses}

@loop
def several_batches_at_once():
    net, optimizer = model()
    for x, y in list(DataLoader(data(), batch_size=8)):
        update(net, optimizer, x, y)

@loop
def evaluation_with_gradients():
    net, optimizer = model()
    for epoch in range(2):
        net.train()
        for x, y in DataLoader(data(32), batch_size=16):
            update(net, optimizer, x, y)
        net.eval()
        for x, y in DataLoader(data(16), batch_size=16):
            net(x)

@loop
def evaluation_without_a_loader():
    net, optimizer = model()
    x, y = data()[:8]
    for epoch in range(2):
        net.train()
        update(net, optimizer, x, y)
        net.eval()
        with torch.no_grad():
            net(x)

@loop
def evaluation_mode_all_along():
    net, optimizer = model()
    features = nn.Linear(1, 4).requires_grad_(False).eval()
    net.eval()
    for x, y in DataLoader(data(32), batch_size=16):
        nn.functional.mse_loss(features(net(x)), features(y)).backward()
        optimizer.step(); optimizer.zero_grad()

@loop
def sampling_between_two_updates():
    net, optimizer = model()
    other, second = model()
    for x, y in DataLoader(data(32), batch_size=16):
        update(net, optimizer, x, y)
        net.eval()
        with torch.no_grad():
            net(x)
        net.train()
        update(other, second, x, y)

@loop
def left_over():
    net, optimizer = model()
    for epoch in range(2):
        net.train()
        for number, (x, y) in enumerate(DataLoader(data(40), batch_size=8)):
            nn.functional.mse_loss(net(x), y).backward()
            if number % 2:
                optimizer.step(); optimizer.zero_grad()
        net.eval()
        with torch.no_grad():
            for x, y in DataLoader(data(16), batch_size=8):
                net(x)

@loop
def left_over_and_used():
    net, optimizer = model()
    for epoch in range(2):
        for number, (x, y) in enumerate(DataLoader(data(24), batch_size=8)):
            nn.functional.mse_loss(net(x), y).backward()
            if number % 2:
                optimizer.step(); optimizer.zero_grad()
        optimizer.step(); optimizer.zero_grad()

@loop
def overflow():
    net, optimizer = model()
    scaler = torch.amp.GradScaler("cpu")
    for number, (x, y) in enumerate(DataLoader(data(), batch_size=8)):
        loss = nn.functional.mse_loss(net(x), y)
        if number < 3:
            loss = loss * float("inf")
        scaler.scale(loss).backward()
        scaler.step(optimizer); scaler.update(); optimizer.zero_grad()

@loop
def ahead():
    net, optimizer = model()
    for epoch in range(2):
        batches = iter(DataLoader(data(20), batch_size=8))
        batch = next(batches)
        while batch is not None:
            following = next(batches, None)
            update(net, optimizer, *batch)
            batch = following

@loop
def time_first():
    net, optimizer = model()
    for x, y in DataLoader(data(32), batch_size=16):
        update(net, optimizer, x.expand(5, 16, 32), y)

@loop
def other_gradients():
    net, optimizer = model()
    x, y = data()[:8]
    x.requires_grad_()
    losses = []
    for _ in range(3):
        loss = nn.functional.mse_loss(net(x), y)
        loss.backward()
        torch.autograd.grad(net(x).sum() * 1000, x)
        optimizer.step(); optimizer.zero_grad()
        losses.append(loss.item())
    return {"losses": losses}

@loop
def closures():
    net, _ = model()
    optimizer = torch.optim.LBFGS(net.parameters(), max_iter=2)
    x, y = data()[:8]
    def closure():
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(net(x), y)
        loss.backward()
        return loss
    for _ in range(3):
        optimizer.step(closure)

@loop
def tried_before():
    net = nn.Linear(32, 1)
    net(torch.zeros(1, 32))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    for number in range(2):
        with tg.step(number):
            update(net, optimizer, *data()[:8])
"""
        + END,
        prelude=LOOPS,
    )
    assert outcome.process["notes"] == []
    return Loops(outcome)


def test_a_batch_that_is_used_again_makes_a_step_of_each_update(loops: Loops) -> None:
    # The first two are one: until then it could have been a batch like any other.
    expected = loops.said["one_batch"]["losses"][1:]
    assert loops.losses("one_batch") == pytest.approx(expected) and len(expected) == 29
    assert len(loops.ends("several_batches_at_once")) == 7


def test_evaluation_mode_is_evaluation_of_what_was_trained(loops: Loops) -> None:
    part = ["+forward", "-forward", "+backward", "-backward"]
    evaluation = ["+eval", "-eval"]
    steps = [["[" + str(n), *part, "]" + str(n)] for n in range(4)]
    assert loops.told("evaluation_with_gradients") == [
        *steps[0],
        *steps[1],
        *evaluation,
        *steps[2],
        *steps[3],
        *evaluation,
    ]
    assert loops.told("evaluation_without_a_loader") == [*steps[0], *evaluation, *steps[1], *evaluation]
    together = ["+forward", "-forward"] * 3 + ["+backward", "-backward"]
    told = loops.told("evaluation_mode_all_along")
    assert told == ["[0", *together, "]0", "[1", *together, "]1"]


def test_sampling_from_a_model_within_a_step_does_not_end_it(loops: Loops) -> None:
    assert loops.sizes("sampling_between_two_updates") == [16, 16]


def test_what_is_left_of_an_accumulation_ends_before_the_evaluation(loops: Loops) -> None:
    assert loops.sizes("left_over") == [8] * 6
    is_open = False
    for sign in loops.told("left_over"):
        is_open = sign[0] == "[" or (is_open and sign[0] != "]")
        assert not (is_open and sign == "+eval")
    # Where the program uses it after the loop, that update is in the step.
    told = loops.told("left_over_and_used", leave_out=("data", "zero_grad", "forward", "backward"))
    optimizer = ["+optimizer", "-optimizer"]
    assert told == [sign for n in range(4) for sign in (f"[{n}", *optimizer, f"]{n}")]


def test_an_update_that_a_scaler_leaves_out_ends_a_step(loops: Loops) -> None:
    assert loops.sizes("overflow") == [8] * 8


def test_batch_sizes_are_those_of_the_batch_that_is_trained_on(loops: Loops) -> None:
    assert loops.sizes("ahead") == [8, 8, 4] * 2
    assert loops.sizes("time_first") == [16, 16]


def test_the_loss_is_what_gradients_are_accumulated_of(loops: Loops) -> None:
    assert loops.losses("other_gradients") == pytest.approx(loops.said["other_gradients"]["losses"])


def test_a_step_with_a_closure_is_around_the_optimizer(loops: Loops) -> None:
    told = loops.told("closures", leave_out=("zero_grad", "forward", "backward"))
    assert told == [sign for n in range(3) for sign in (f"[{n}", "+optimizer", "-optimizer", f"]{n}")]


def test_a_model_that_is_tried_before_there_is_an_optimizer_makes_no_step(loops: Loops) -> None:
    assert [row["step"] for row in loops.ends("tried_before")] == [0, 1]


def test_threads_samplers_and_models_of_other_kinds(tmp_path: Path) -> None:
    outcome = record(
        tmp_path,
        """
from torch.utils.data import Sampler
from torch.utils.data.distributed import DistributedSampler
from tidegauge.pytorch.loaders import LoaderLengths

def on_a_thread(work):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

@loop
def a_thread_for_each_trial():
    def trial():
        net, optimizer = model()
        for _ in range(3):
            update(net, optimizer, *data()[:8])
    for _ in range(3):
        on_a_thread(trial)

@loop
def an_optimizer_on_another_thread():
    net, optimizer = model()
    for _ in range(5):
        x, y = data()[:8]
        nn.functional.mse_loss(net(x), y).backward()
        on_a_thread(lambda: (optimizer.step(), optimizer.zero_grad()))

@loop
def a_trial_beside():
    # While this one accumulates, the other one makes updates.
    net, optimizer = model()
    other, second = model()
    turns = [threading.Semaphore(0) for _ in range(2)]
    def trial():
        for _ in range(8):
            turns[1].acquire()
            update(other, second, *data()[:4])
            turns[0].release()
    thread = threading.Thread(target=trial)
    thread.start()
    for number, (x, y) in enumerate(DataLoader(data(), batch_size=8)):
        nn.functional.mse_loss(net(x), y).backward()
        turns[1].release()
        turns[0].acquire()
        if number % 4 == 3:
            optimizer.step(); optimizer.zero_grad()
    thread.join()

class Shuffled(Sampler):
    asked = 0
    def __iter__(self):
        order = torch.randperm(64).tolist()
        yield from (order[at:at + 4] for at in range(0, 64, 4))
    def __len__(self):
        Shuffled.asked += 1
        return len(list(iter(self)))

class Counted(TensorDataset):
    asked = 0
    def __len__(self):
        Counted.asked += 1
        return super().__len__()

def draw(samples):
    torch.manual_seed(0)
    Shuffled.asked = 0
    drawn = [torch.rand(1).item() for _ in DataLoader(samples, batch_sampler=Shuffled())]
    return drawn, Shuffled.asked

plain = draw(data())

@loop
def samplers():
    counted = Counted(torch.zeros(64, 1))
    Counted.asked = 0
    for _ in DataLoader(counted, batch_size=4):
        pass
    return {"equal": draw(data()) == plain, "asked": Counted.asked}

Counted.asked = 0
for _ in DataLoader(Counted(torch.zeros(64, 1)), batch_size=4):
    pass
lengths = LoaderLengths()
def more(**settings):
    batches = iter(DataLoader(data(4), batch_size=2, **settings))
    answers = [lengths.has_more(batches)]
    for _ in batches:
        answers.append(lengths.has_more(batches))
    return answers
say(without=Counted.asked, random=more(shuffle=True), list=more(sampler=[3, 1, 0]),
    distributed=more(sampler=DistributedSampler(data(4), num_replicas=2, rank=0)))
kept = DataLoader(data(4), batch_size=2, num_workers=1, persistent_workers=True)
def epoch():
    batches = iter(kept)
    return [lengths.has_more(batches), *(lengths.has_more(batches) for _ in batches)]
say(kept=[epoch(), epoch()])

class Duck:
    def named_modules(self): yield "", self
    def parameters(self): return iter([nn.Parameter(torch.zeros(1))])
    def buffers(self): return iter([])
class Raises(Duck):
    @property
    def training(self): raise RuntimeError("training")

@loop
def models_of_other_kinds():
    answers = []
    net, optimizer = model()
    for duck in (Duck(), Raises()):
        tg.attach(duck)
        for x, y in DataLoader(data(16), batch_size=8):
            update(net, optimizer, x, y)
        answers.append(type(duck).__name__)
    return {"answers": answers}
"""
        + END,
        prelude=LOOPS,
    )
    loops = Loops(outcome)
    assert len(loops.ends("a_thread_for_each_trial")) == 9
    assert len({row["thread"] for row in loops.ends("a_thread_for_each_trial")}) == 3
    assert len(loops.ends("an_optimizer_on_another_thread")) == 5
    assert loops.sizes("a_trial_beside") == [8, 8]

    # Loaders bring what they do without us, and are asked once more for the number of their batches.
    assert loops.said["samplers"]["equal"]
    without, kept = (facts for facts in outcome.said if "loop" not in facts)
    assert loops.said["samplers"]["asked"] <= without["without"] + 2
    assert without["random"] == [True, True, False]
    assert without["list"] == [True, True, False]
    assert without["distributed"] == [True, False]
    assert kept["kept"] == [[True, True, False]] * 2
    assert loops.said["models_of_other_kinds"]["answers"] == ["Duck", "Raises"]


def test_recordings_leave_nothing_behind_where_cuda_could_be_used(tmp_path: Path) -> None:
    outcome = record(
        tmp_path,
        """
import weakref
from tidegauge import pytorch
def recording(number):
    tg.start(f"{RUN}-{number}" if number else RUN)
    tg.attach()
    installation = weakref.ref(pytorch._installation)
    tg.stop()
    gc.collect()
    return installation() is None
before = len(torch.cuda._queued_calls)
former = torch.version.cuda
recording(1)
# As in a build with CUDA that the program does not use; nothing is compiled from here on.
torch.version.cuda = former or "12.0"
gone = [recording(number) for number in (2, 3, 4)]
say(queued=len(torch.cuda._queued_calls) - before, gone=gone, initialized=torch.cuda.is_initialized())
torch.version.cuda = former
recording(0)
""",
    )
    assert outcome.said[0] == {"queued": 1, "gone": [True] * 3, "initialized": False}


def test_the_batch_size_of_a_trainer_includes_what_is_accumulated(tmp_path: Path) -> None:
    outcome = record(
        tmp_path,
        """
from transformers import Trainer, TrainingArguments
from tidegauge.huggingface import TidegaugeCallback
class Samples(torch.utils.data.Dataset):
    def __len__(self): return 32
    def __getitem__(self, index): return {"x": torch.ones(32), "labels": torch.ones(1)}
class Model(Net):
    def forward(self, x, labels):
        return {"loss": nn.functional.mse_loss(super().forward(x), labels)}
arguments = TrainingArguments(output_dir=RUN + "-out", per_device_train_batch_size=4, num_train_epochs=1,
    gradient_accumulation_steps=3, report_to=[], save_strategy="no", use_cpu=True, disable_tqdm=True)
Trainer(Model(), arguments, train_dataset=Samples(), callbacks=[TidegaugeCallback(RUN)]).train()
""",
    )
    # Eight batches: the last step has two.
    assert [size for _, _, size in outcome.steps()] == [12, 12, 8]
