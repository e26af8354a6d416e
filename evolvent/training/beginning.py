"""What a session may begin from: the newest checkpoint of its run that can be read, and fits it."""

from typing import Any

from evolvent.storage.reading import read_log
from evolvent.storage.runs import Run


def checkpoint_to_begin_with(run: Run) -> tuple[dict[str, Any] | None, list[str]]:
    """As `Run.load_checkpoint`. ValueError when a run that made steps has lost its checkpoints."""
    state, warnings = run.load_checkpoint()
    if state is None:
        logged = (line["step"] for line in read_log(run.path / "log.jsonl"))
        if made := max([run.record.get("step", 0), *logged]):
            raise ValueError(
                f"{run.path} was at step {made} and has no checkpoint any more: restore its folder checkpoints from a"
                " copy, or start anew in another folder with --out"
            )
    return state, warnings


def check_state(state: dict[str, Any], *, seed: int) -> None:
    """ValueError, KeyError or TypeError where a number in a checkpoint is impossible, or its seed is not the run's."""
    trainer, told = state["trainer"], [rollback["told"] for rollback in state["health"]["rollbacks"]]
    whole = all(type(number) is int for number in (trainer["step"], trainer["seed"]))
    if not (whole and trainer["step"] >= 0 and 0 < trainer["lr_scale"] <= 1 and state["seconds"] >= 0):
        raise ValueError("its step, seed, learning rates or seconds are impossible")
    if trainer["seed"] != seed:
        raise ValueError(f"its seed is {trainer['seed']}, and the run's is {seed}")
    if not all(isinstance(sentence, str) for sentence in told):
        raise ValueError("its rollbacks are impossible")
