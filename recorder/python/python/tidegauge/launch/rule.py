"""Who records by itself: the first process of a rank, and no tool.

A process that starts by itself says so in `TIDEGAUGE_OWNER=PID:RANK:START`, which its children inherit:
data-loader workers, helpers run by `subprocess`, workers that compile. They leave recording to it unless
`TIDEGAUGE_CHILDREN=1`, or it is gone: a shell or a daemon may have inherited it long ago. Processes that a
shell starts one after the other have inherited nothing, and each is a first one; so are the workers of a
launcher, whose rank is another than that of who has started the launcher, if anybody records there.

This file is loaded alone, without the package, by `bootstrap/sitecustomize.py`: it imports nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Says who has started by itself.
OWNER_VARIABLE = "TIDEGAUGE_OWNER"
#: `1`: children record too.
CHILDREN_VARIABLE = "TIDEGAUGE_CHILDREN"
#: Names the folder.
RUN_VARIABLE = "TIDEGAUGE"

#: Rank as torchrun, mpirun or Slurm say it; the recorder looks at the same, in this order.
_RANK_VARIABLES = ("RANK", "OMPI_COMM_WORLD_RANK", "SLURM_PROCID")
#: In place of a rank, where there is none.
_NO_RANK = "-"

#: Programs in Python that train nothing: what is to be recorded is what they start, if that.
_TOOLS = frozenset(
    """
    torchrun torch.distributed.run torch.distributed.launch
    accelerate accelerate-launch accelerate.commands.launch
    deepspeed deepspeed.launcher.runner deepspeed.launcher.launch
    jupyter jupyter-lab jupyter-notebook jupyter-server jupyterlab notebook tensorboard wandb
    pip ensurepip venv virtualenv compileall conda mamba poetry pipx pipenv tox nox
    """.split()
)
#: Ends of paths of helpers that frameworks start as scripts.
_HELPER_PATHS = ("/torch/_inductor/compile_worker/__main__.py", "/torch/_inductor/compile_worker")
#: Beginnings of what helpers of `multiprocessing` are told to execute.
_HELPER_CODE = (
    "from multiprocessing.resource_tracker import",
    "from multiprocessing.semaphore_tracker import",
)
_FORK_SERVER_CODE = "from multiprocessing.forkserver import"
_SPAWNED_CODE = "from multiprocessing.spawn import"


def what_runs(command: Sequence[str]) -> tuple[str, str]:
    """What a command line has an interpreter run: `("-m", module)`, `("-c", code)` or `("", script)`."""
    words = iter(command[1:])
    for word in words:
        if word.startswith("--"):
            if word == "--check-hash-based-pycs":
                next(words, None)
            continue
        if word == "-" or not word.startswith("-"):
            return "", word
        # Flags may be written together, the last of them with its value: -uOm module, -Wignore.
        for place, flag in enumerate(word[1:], start=2):
            if flag in "mc":
                return f"-{flag}", word[place:] or next(words, "")
            if flag in "WX":
                if not word[place:]:
                    next(words, None)
                break
    return "", ""


def is_tool(option: str, what: str) -> bool:
    """Whether that is a program that trains nothing, as `what_runs` tells it."""
    if option == "-c":
        return what.lstrip().startswith((*_HELPER_CODE, _FORK_SERVER_CODE))
    if option == "-m":
        # `pip.__main__` is `pip`.
        return what.removesuffix(".__main__") in _TOOLS
    name = what.rpartition("/")[2].removesuffix(".exe")
    # pip3, pip3.11: the same program.
    return name.rstrip("0123456789.") in _TOOLS or name in _TOOLS or what.endswith(_HELPER_PATHS)


def is_fork_server(command: Sequence[str]) -> bool:
    """Whether this process forks workers of `multiprocessing`, and does nothing else."""
    option, what = what_runs(command)
    return option == "-c" and what.lstrip().startswith(_FORK_SERVER_CODE)


def rank(environment: Mapping[str, str]) -> str:
    """The rank that the environment tells, or `-`."""
    told = (environment.get(name, "") for name in _RANK_VARIABLES)
    return next((value for value in told if value.isdecimal()), _NO_RANK)


def owner(environment: Mapping[str, str]) -> tuple[int, str] | None:
    """Process and rank of who has started by itself, if one of this process's parents has and is there still."""
    pid, _, rest = environment.get(OWNER_VARIABLE, "").partition(":")
    its_rank, _, its_start = rest.partition(":")
    if not pid.isdecimal() or its_start != start_of(int(pid)):
        return None
    return int(pid), its_rank


def start_of(pid: int) -> str:
    """When a process began, in clock ticks since the machine did: tells it from another that gets its number; empty
    if there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name, in parentheses, may hold anything. 22nd field of all: proc(5).
            return file.read().rpartition(b")")[2].split()[19].decode()
    except (OSError, IndexError, UnicodeDecodeError):
        return ""


def reason_not_to_record(environment: Mapping[str, str], command: Sequence[str], pid: int) -> str | None:
    """Why this process is not to start by itself; None if it is to.

    command: the interpreter's whole command line, as `sys.orig_argv`. pid: this process.
    """
    if not environment.get(RUN_VARIABLE):
        return f"{RUN_VARIABLE} names no folder"
    option, what = what_runs(command)
    if is_tool(option, what):
        return "it is a tool"
    if option == "-m" and what.removesuffix(".__main__") == "tidegauge":
        return "its command line says how to record"
    if environment.get(CHILDREN_VARIABLE) == "1":
        return None
    first = owner(environment)
    # A process that has executed another program is still the same.
    if first is None or first[0] == pid:
        return None
    # Its rank may have been set by the parent for itself: a launcher's workers are started otherwise.
    is_spawned = option == "-c" and what.lstrip().startswith(_SPAWNED_CODE)
    if is_spawned or first[1] == rank(environment):
        return f"process {first[0]} records"
    return None
