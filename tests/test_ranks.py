"""N processes are one: same losses, same bank, same decisions; and one that dies takes the others with it."""

import math
import multiprocessing
import os
import pickle
import signal
import socket
import sys
import time
import traceback
from datetime import timedelta
from functools import partial

import numpy as np
import pytest
import torch
import torch.distributed as dist
from tiny import Heard, create
from tiny import trainer as tiny_trainer
from torch import nn

from evolvent.cli import main
from evolvent.data.toys import Ring
from evolvent.dynamics import MALA, Langevin
from evolvent.energy import Energy
from evolvent.flows import JKO, logistic
from evolvent.guard import Guard
from evolvent.learners.amortized import Adversarial, Cooperative
from evolvent.learners.gcn import GCN
from evolvent.learners.ggcn import GGCN
from evolvent.learners.wgcn import WGCN
from evolvent.nets.mapping import PlainMapping
from evolvent.nets.score import PlainScore
from evolvent.noise import Noise
from evolvent.particles import Fresh, Persistent
from evolvent.ranks import ALONE, RankLost, Ranks, buckets, here, normalise
from evolvent.recipes.toys import PlaneScore
from evolvent.reference import Gaussian, Uniform
from evolvent.runs import Run, Shadow, read_lines
from evolvent.session import train
from evolvent.trainer import Adam, Diverged, Schedule, Trainer

FORK = multiprocessing.get_context("fork") if hasattr(os, "fork") else None
CHAIN = Langevin(0.05, 3)
NUM_STEPS = 20
TOLERANCE = 1e-5
"""Sums in another order differ by 1e-7 of a number; twenty steps of Adam make up to 1e-6 of it (measured)."""

pytestmark = pytest.mark.skipif(FORK is None, reason="needs fork: a process takes seconds to start")


def child(rank, num, store, function, pipe, patience):
    """One process of a group: what the function returns, or the error, goes into the pipe."""
    try:
        place = dist.FileStore(str(store), num)
        dist.init_process_group("gloo", store=place, rank=rank, world_size=num, timeout=patience)
        found = function(Ranks(rank, num))
    except BaseException as error:
        found = error
    pipe.send_bytes(pickle.dumps(found))
    pipe.close()
    os._exit(0)


def begin(tmp_path, function, num=2, patience=20):
    """Start `num` processes; their pipes."""
    store = tmp_path / f"store-{time.monotonic_ns()}"
    started = []
    for rank in range(num):
        ours, theirs = FORK.Pipe(duplex=False)
        process = FORK.Process(
            target=child, args=(rank, num, store, function, theirs, timedelta(seconds=patience))
        )
        process.start()
        theirs.close()
        started.append((process, ours))
    return started


def together(tmp_path, function, num=2):
    """What the function returns, or raises, in each of `num` processes."""
    found = []
    for process, pipe in begin(tmp_path, function, num):
        assert pipe.poll(60), "a process hangs"
        found.append(pickle.loads(pipe.recv_bytes()))
        process.join()
    return found


class Grey(nn.Module):
    """Images of 8 px with one bright half."""

    event_shape = (1, 8, 8)

    def draw(self, num):
        side = torch.rand(num, 1, 1, 1) < 0.5
        image = torch.linspace(-1, 1, 8).sign().expand(num, 1, 8, 8)
        return 0.5 * torch.where(side, image, image.mT) + 0.05 * torch.randn(num, 1, 8, 8)


def on_plane(kind, particles=Persistent, chain=CHAIN, **flow):
    energy = Energy(PlaneScore(width=16), Gaussian((2,)))
    born = (
        Persistent(energy.reference, 45, rebirth=0.1) if particles is Persistent else Fresh(energy.reference)
    )
    return kind(energy, born, chain, **flow), Ring()


def ggcn(mapping_loss, **training):
    energy = Energy(PlainScore(8, width=8), Uniform((1, 8, 8)))
    mapping = PlainMapping(8, num_hidden=4, width=8)
    flow = JKO(tau=0.1, ends="data", contrast=logistic)
    learner = GGCN(
        energy, mapping, flow=flow, mapping_loss=mapping_loss, training=training, sampling=training
    )
    return learner, Grey()


LEARNERS = {
    "gcn with a bank": partial(on_plane, GCN),
    "gcn afresh, mala": partial(on_plane, GCN, Fresh, MALA(0.05, 3)),
    "wgcn with a bank": partial(on_plane, WGCN, flow=JKO(tau=0.1, ends="data", share=0.5)),
    "ggcn, batch norm": partial(ggcn, Adversarial()),
    "cooperative, batch norm, chains": partial(
        ggcn, Cooperative(), hidden=Langevin(0.01, 2), image=Langevin(0.01, 2)
    ),
}


def trained(make, ranks, num_steps=NUM_STEPS, state=None):
    """Losses, signs and state after so many steps; a batch of 16."""
    torch.manual_seed(0)
    learner, data = make()
    adam = {name: Adam(1e-3, betas=(0.5, 0.9)) for name in ("energy", "mapping") if hasattr(learner, name)}
    trainer = Trainer(learner, data, Schedule(100, 16, adam), seed=5, ranks=ranks)
    if state is not None:
        trainer.load_state_dict(state)
    lines = []
    for _ in range(num_steps):
        update = trainer.advance()
        lines.append({name: x.item() for name, x in (update.losses | update.stats).items()})
    return lines, trainer.state_dict()


@pytest.mark.parametrize("make", LEARNERS.values(), ids=LEARNERS)
def test_two_processes_have_the_losses_and_the_bank_of_one(tmp_path, make):
    alone, alone_state = trained(make, ALONE)
    both = together(tmp_path, partial(trained, make))
    for lines, state in both:
        for line, other in zip(alone, lines, strict=True):
            for name in line:
                if name != "gap_spread":  # the mean of what it is in each rank
                    assert other[name] == pytest.approx(line[name], rel=TOLERANCE, abs=TOLERANCE), name
        for name, tensor in alone_state["learner"].items():
            assert torch.allclose(state["learner"][name].float(), tensor.float(), atol=TOLERANCE), name
    for name, tensor in both[0][1]["averaged"].items():
        assert torch.equal(tensor, both[1][1]["averaged"][name]), name


def given(num, ranks):
    """A gradient of its own in every rank, in buckets of 100 elements, and its mean."""
    torch.manual_seed(ranks.rank)
    gradients = [torch.randn(shape) for shape in ((70,), (40, 2), (), (250,))] + [torch.randn(5).double()]
    before = [g.clone() for g in gradients]
    ranks.add(gradients)
    return before, gradients


def test_gradients_are_summed_over_ranks_whatever_their_bucket(tmp_path, monkeypatch):
    monkeypatch.setattr("evolvent.ranks.BUCKET", 100)
    sizes = [[t.numel() for t in bucket] for bucket in buckets(map(torch.zeros, (70, 30, 1, 250)))]
    assert sizes == [[70, 30], [1], [250]]
    found = together(tmp_path, partial(given, 3), num=3)
    for k, expected in enumerate(map(sum, zip(*(before for before, _ in found), strict=True))):
        for _, after in found:
            assert after[k].dtype == expected.dtype
            assert torch.allclose(after[k], expected, atol=1e-6)  # a sum in another order


def noise_and_rows(ranks):
    torch.manual_seed(1)
    with ranks.sharing():
        here_ = Noise().normal(4, 3)
    return here_, Noise().uniform(2), ranks.whole(here_)


def test_every_row_has_the_noise_that_it_has_in_one_process(tmp_path):
    torch.manual_seed(1)
    normal, uniform = torch.randn(8, 3), torch.rand(2)
    for rank, (rows, outside, whole) in enumerate(together(tmp_path, noise_and_rows)):
        assert torch.equal(rows, normal[rank::2])
        assert torch.equal(outside, uniform)  # outside a step a process is by itself
        assert torch.equal(whole, normal)


def normalised(x, slope, ranks):
    norm = nn.BatchNorm2d(3)
    if ranks.num > 1:
        norm.forward = partial(normalise, norm, ranks)
    rows = ranks.rows(x).requires_grad_()
    y = norm(rows)
    (first,) = torch.autograd.grad((y * ranks.rows(slope)).sum(), rows, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), rows)
    return ranks.whole(y.detach()), ranks.whole(first.detach()), ranks.whole(second), norm.running_var


def test_batch_norm_sees_the_whole_batch_and_so_do_its_first_two_derivatives(tmp_path):
    torch.manual_seed(0)
    x, slope = 3 + torch.randn(8, 3, 4, 4), torch.randn(8, 3, 4, 4)
    expected = normalised(x, slope, ALONE)
    for found in together(tmp_path, partial(normalised, x, slope)):
        for a, b in zip(found, expected, strict=True):
            assert torch.allclose(a, b, atol=1e-5)  # float32, variance by a sum in another order


def sit(path, scene, ranks, minutes=None):
    """One sitting of the tiny run: what was said, and the error or the status."""
    heard = Heard()
    first = (lambda: Run.open(path)) if (path / "run.json").exists() else (lambda: create(path))
    with first() if ranks.first else Shadow(path, {}) as run:
        try:
            trainer = tiny_trainer(ranks=ranks, **scene)
            return heard.sentences, train(run, trainer, show=heard, max_minutes=minutes).status, trainer.step
        except (Diverged, RankLost) as error:
            return heard.sentences, str(error), trainer.step


CALM = {"num_steps": 24, "log_every": 4, "checkpoint_every": 4}


def assert_same_log(path, other):
    """Logs agree, the spread (of each rank's own) and the force on an eighth of 8 data aside."""
    for line, mine in zip(read_lines(path / "log.jsonl"), read_lines(other / "log.jsonl"), strict=True):
        assert line.keys() == mine.keys()
        for name in line.keys() - {"seconds"}:
            if not name.startswith(("gap_spread", "data_force_norm")):
                assert mine[name] == pytest.approx(line[name], rel=TOLERANCE, abs=TOLERANCE), name


def test_a_run_goes_on_with_another_number_of_processes(tmp_path, monkeypatch):
    monkeypatch.setattr("evolvent.session._save_picture", lambda *_: None)
    monkeypatch.setattr("evolvent.session._show_samples", lambda *_: None)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert sit(whole, CALM, ALONE)[1] == "finished"

    def until(step, ranks):
        monkeypatch.setattr(Trainer, "finished", property(lambda t: t.step >= step))
        return sit(parts, CALM, ranks)

    until(8, ALONE)
    assert [end[2] for end in together(tmp_path, partial(until, 16))] == [16, 16]
    assert [end[2] for end in together(tmp_path, partial(until, 20), num=4)] == [20] * 4
    until(24, ALONE)
    assert_same_log(whole, parts)
    with Run.open(whole) as a, Run.open(parts) as b:
        first, second = (run.load_checkpoint()[0]["trainer"] for run in (a, b))
    for name, tensor in first["learner"].items():
        assert torch.allclose(tensor.float(), second["learner"][name].float(), atol=TOLERANCE), name


def test_the_guard_decides_alike_everywhere_and_as_in_one_process(tmp_path):
    scene = {**CALM, "num_steps": 30, "lr": 10.0, "guard": Guard(warm_up=2, max_gap=1e3, shrink=1e-3)}
    scene["log_every"] = scene["checkpoint_every"] = 2
    alone = sit(tmp_path / "alone", scene, ALONE)
    first, second = together(tmp_path, partial(sit, tmp_path / "both", scene))
    assert first == second
    assert first[1:] == alone[1:] == ("finished", 30)
    assert [s.split(":")[0] for s in first[0]] == [s.split(":")[0] for s in alone[0]]
    assert sum("Back to step" in sentence for sentence in first[0]) >= 1


class NaNInOne(Ring):
    """A rank whose own rows are not finite from some step on."""

    def __init__(self, rank):
        super().__init__()
        self.rank, self.left = rank, 10

    def draw(self, num):
        x, self.left = super().draw(num), self.left - 1
        if self.left < 0:
            x[self.rank] = math.nan
        return x


def test_a_number_that_is_not_finite_in_one_process_stops_all(tmp_path):
    ends = together(tmp_path, lambda ranks: sit(tmp_path / "run", {**CALM, "data": NaNInOne(1)}, ranks))
    assert ends[0] == ends[1]
    assert "the data of this step are not finite" in ends[0][1]


class Killed(Ring):
    """Sends its own process a signal while data are drawn for the given step, in one rank alone."""

    def __init__(self, step, number, rank):
        super().__init__()
        self.left, self.number, self.rank = step, number, rank

    def draw(self, num):
        self.left -= 1
        if self.left == 0 and here().rank == self.rank:
            os.kill(os.getpid(), self.number)
        return super().draw(num)


@pytest.mark.parametrize("dying", [0, 1])
def test_a_process_that_dies_ends_the_others_with_a_sentence(tmp_path, dying):
    scene = {**CALM, "data": Killed(10, signal.SIGKILL, dying)}
    begun = time.monotonic()
    started = begin(tmp_path, partial(sit, tmp_path / "run", scene))
    _, pipe = started[1 - dying]
    assert pipe.poll(15), "the survivor hangs"
    assert "another process of this run is gone" in pickle.loads(pipe.recv_bytes())[1]
    assert time.monotonic() - begun < 15
    for process, _ in started:
        process.join()
    with Run.open(tmp_path / "run") as run:
        assert run.load_checkpoint()[0]["trainer"]["step"] == 8


class Hanging(Ring):
    """One rank sleeps."""

    def draw(self, num):
        if here().rank == 1:
            time.sleep(30)
        return super().draw(num)


def test_a_process_that_hangs_ends_the_others_when_their_patience_is_over(tmp_path):
    scene = {**CALM, "data": Hanging()}
    (_, waiting), (hanging, _) = begin(tmp_path, partial(sit, tmp_path / "run", scene), patience=2)
    assert waiting.poll(15), "the other one hangs, too"
    assert "silent for too long" in pickle.loads(waiting.recv_bytes())[1]
    hanging.kill()
    hanging.join()


def test_a_signal_to_one_process_stops_all_at_the_same_step(tmp_path):
    scene = {**CALM, "data": Killed(10, signal.SIGTERM, 1)}
    ends = together(tmp_path, partial(sit, tmp_path / "run", scene))
    assert [end[1:] for end in ends] == [("stopped", 10)] * 2


def test_time_is_over_for_all_at_the_same_step(tmp_path):
    scene = {**CALM, "num_steps": 10**6, "log_every": 10**6, "checkpoint_every": 10**6}
    ends = together(tmp_path, lambda ranks: sit(tmp_path / "run", scene, ranks, 0.01 if ranks.first else 1))
    assert ends[0][1:] == ends[1][1:]
    assert ends[0][1] == "stopped"


class Own(Persistent):
    """A bank that no one knows of."""

    shards = ()

    def commit(self, slots, x):
        self.bank[slots[: len(x)]] = x.detach()

    def start(self, num, noise):
        return self.reference.sample(num, noise), torch.arange(num)


def test_a_bank_that_the_processes_do_not_share_is_told(tmp_path):
    def disagree(ranks):
        energy = Energy(PlaneScore(width=16), Gaussian((2,)))
        learner = GCN(energy, Own(energy.reference, 32), CHAIN)
        trainer = Trainer(learner, Ring(), Schedule(9, 16, {"energy": Adam(1e-3)}), ranks=ranks)
        trainer.advance()
        trainer.state_dict()

    for error in together(tmp_path, disagree):
        assert "no longer agree on particles.bank" in str(error)


def test_a_batch_that_cannot_be_split_is_refused():
    with pytest.raises(ValueError, match="batch of 8 cannot be split evenly over 3 processes"):
        tiny_trainer(ranks=Ranks(0, 3))


def command(tmp_path, words, num=2, *, extra=()):
    """`evolvent WORDS` as torchrun starts it: exit codes, and what was printed and told. The last has extra words."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def run(rank):
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": num, "MASTER_PORT": port}
        os.environ |= {name: str(value) for name, value in place.items()} | {"MASTER_ADDR": "127.0.0.1"}
        sys.stdout = sys.__stdout__ = (tmp_path / "out").open("a", buffering=1)
        sys.stderr = (tmp_path / "err").open("a", buffering=1)
        try:
            code = main([*words, *(extra if rank == num - 1 else ())])
        except BaseException:
            traceback.print_exc()
            code = 99
        os._exit(code)

    for name in ("out", "err"):
        (tmp_path / name).write_text("")
    started = [FORK.Process(target=run, args=(rank,)) for rank in range(num)]
    for process in started:
        process.start()
    for process in started:
        process.join(60)
    codes = [process.exitcode for process in started]
    return codes, (tmp_path / "out").read_text(), (tmp_path / "err").read_text()


TOY = ["train", "toy-ring", "--num-steps", "6", "--batch-size", "8", "--num-slots", "32", "--threads", "1"]
FEW = ["--num", "70", "--batch-size", "16", "--num-steps", "3"]


def test_the_command_line_under_torchrun(tmp_path, monkeypatch):
    """One run folder, one voice, one sentence for a mistake, and the samples of one process to the last bit."""
    monkeypatch.chdir(tmp_path)
    codes, out, err = command(tmp_path, TOY)
    assert (codes, err) == ([0, 0], "")
    assert out.count("into runs/toy-ring-1 on cpu, 2 processes") == 1
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["toy-ring-1"]

    codes, _, err = command(tmp_path, [*TOY, "--out", "runs/toy-ring-1"])
    assert codes == [2, 2]
    assert err.count("\n") == err.count("already holds files") == 1
    codes, _, err = command(tmp_path, [*TOY, "--batch-size", "9"])
    assert codes == [2, 2]
    assert err.count("\n") == err.count("cannot be split evenly over 2 processes") == 1
    codes, _, err = command(tmp_path, [*TOY, "--out", "new"], extra=["--num-slots", "0"])
    assert codes == [3, 2]
    assert "the bank needs at least 1 slot" in err.splitlines()[0]
    assert "another process of this run is gone" in err.splitlines()[1]
    assert not (tmp_path / "new").exists()
    with Run.open("runs/toy-ring-1"):
        codes, _, err = command(tmp_path, [*TOY, "--out", "runs/toy-ring-1"])
    assert codes == [2, 2]
    assert err.count("\n") == err.count("in use by another process") == 1

    assert main(["sample", "runs/toy-ring-1", "--out", "one.npz", *FEW]) == 0
    codes, out, err = command(tmp_path, ["sample", "runs/toy-ring-1", "--out", "two.npz", *FEW], num=3)
    assert (codes, err) == ([0, 0, 0], "")
    one, two = (np.load(name)["points"] for name in ("one.npz", "two.npz"))
    assert one.shape == (70, 2)
    assert np.array_equal(one, two)

    for evaluate in (main, partial(command, tmp_path)):
        evaluate(["evaluate", "runs/toy-ring-1", *FEW])
    lines = read_lines(tmp_path / "runs/toy-ring-1/scores.jsonl")
    assert len(lines) % 2 == 0
    for mine, other in zip(lines[: len(lines) // 2], lines[len(lines) // 2 :], strict=True):
        assert mine | {"time": ""} == other | {"time": ""}
