"""What every learner owes to the trainer and to whoever samples from it."""

import copy

import pytest
import torch

from evolvent.augmentation import AdaptiveAugmentation
from evolvent.data.toys import Ring
from evolvent.dynamics import MALA, Independent, Langevin
from evolvent.energy import Energy
from evolvent.flows import JKO, KL, logistic
from evolvent.learners.amortized import Adversarial, Cooperative
from evolvent.learners.gcn import GCN
from evolvent.learners.ggcn import GGCN
from evolvent.learners.multigrid import MultiGrid
from evolvent.learners.wgcn import WGCN
from evolvent.nets.filters import FilterScore, filter_bank
from evolvent.nets.mapping import PlainMapping, Upsampling
from evolvent.nets.score import PlainScore
from evolvent.noise import ImageNoise
from evolvent.particles import Fresh, Persistent
from evolvent.reference import Gaussian, Uniform
from evolvent.training.schedule import Adam, Schedule
from evolvent.training.trainer import Trainer

SHAPE = (1, 8, 8)
CHAIN = Langevin(0.05, 3, temperature=0.01)


def energy(reference=Gaussian):
    return Energy(PlainScore(8, width=8), reference(SHAPE))


def gcn(kind=GCN, particles=Fresh, dynamics=CHAIN, **flow):
    e = energy()
    born = particles(e.reference, 64) if particles is Persistent else particles(e.reference)
    return kind(e, born, dynamics, **flow)


def ggcn(mapping_loss, flow=None, *, augmentation=None, **training):
    return GGCN(
        energy(Uniform),
        PlainMapping(8, num_hidden=4, width=8),
        flow=flow or JKO(tau=0.1, ends="data"),
        mapping_loss=mapping_loss,
        training=training,
        sampling=training,
        augmentation=augmentation,
    )


def frame():
    e = Energy(FilterScore(1, filter_bank(sizes=(3, 5))), Gaussian(SHAPE))
    return GCN(e, Fresh(e.reference), CHAIN)


def multigrid(mapping_loss):
    return MultiGrid(
        [Energy(PlainScore(size, width=8), Uniform((1, size, size))) for size in (4, 8)],
        [PlainMapping(4, num_hidden=4, width=8), Upsampling(8, 4, width=8)],
        flow=JKO(tau=0.1, ends="data"),
        mapping_loss=mapping_loss,
        dynamics=CHAIN,
    )


LEARNERS = {
    "gcn": gcn,
    "gcn-persistent": lambda: gcn(particles=Persistent),
    "gcn-mala": lambda: gcn(dynamics=MALA(0.001, 3)),
    "wgcn": lambda: gcn(WGCN, flow=JKO(tau=0.1)),
    "wgcn-data": lambda: gcn(WGCN, Persistent, flow=JKO(tau=0.1, ends="data", share=0.5)),
    "cooperative": lambda: ggcn(Cooperative(), image=CHAIN),
    "hidden-then-image": lambda: ggcn(Adversarial(), hidden=Langevin(0.05, 2), image=CHAIN),
    "selection-then-image": lambda: ggcn(Adversarial(), selection=Independent(num_steps=2), image=CHAIN),
    "adversarial-linear": lambda: ggcn(Adversarial()),
    "adversarial-logistic": lambda: ggcn(Adversarial(logistic), JKO(contrast=logistic, tau=0.1, ends="data")),
    "augmented": lambda: ggcn(Adversarial(logistic), augmentation=AdaptiveAugmentation(num_images=100)),
    "multigrid-cooperative": lambda: multigrid(Cooperative()),
    "multigrid-adversarial": lambda: multigrid(Adversarial()),
    "frame": frame,
}


@pytest.fixture(params=LEARNERS)
def learner(request):
    torch.manual_seed(0)
    return LEARNERS[request.param]()


def data(num=16):
    return torch.rand(num, *SHAPE) * 2 - 1


def test_an_update_is_finite_named_and_cut_from_the_graph(learner):
    update = learner(data())
    assert update.particles.shape == (16, *SHAPE)
    assert all(loss.isfinite() and loss.dim() == 0 for loss in update.losses.values())
    assert {"energy_gap", "force_norm", "kinetic"} <= update.stats.keys()
    assert ("energy_drop" in update.stats) == (getattr(learner, "evolution_in_training", None) != {})
    assert all(sign.isfinite() and not sign.requires_grad for sign in update.stats.values())
    for name in update.losses:
        learner.get_submodule(name)


def test_a_loss_reaches_the_module_it_names_and_moves_no_other(learner):
    for moved in learner(data()).losses:
        learner.zero_grad()
        learner(data()).losses[moved].backward(inputs=list(learner.get_submodule(moved).parameters()))
        for name, parameter in learner.named_parameters():
            inside = name.startswith(f"{moved}.")
            assert (parameter.grad is not None) == inside, name


def test_updates_are_simultaneous(learner):
    """One step of both nets equals each net's step taken from the same starting point."""
    names = {name.split(".")[0] for name in learner(data()).losses}

    class Once(torch.nn.Module):
        event_shape = SHAPE

        def draw(self, num):
            return torch.full((num, *SHAPE), 0.5)

    def trained(*moving):
        copied = copy.deepcopy(learner)
        adam = {name: Adam(1e-3 if name in moving else 1e-30) for name in names}
        Trainer(copied, Once(), Schedule(10, 8, adam)).advance()
        return copied

    together = trained(*names)
    for name in names:
        alone = trained(name).get_submodule(name)
        both = together.get_submodule(name)
        for a, b in zip(alone.parameters(), both.parameters(), strict=True):
            assert torch.equal(a, b)


def test_an_image_depends_on_its_seed_alone(learner):
    learner.eval()
    together = learner.sample(4, ImageNoise(0, 10, 4))
    alone = learner.sample(1, ImageNoise(0, 12, 1))
    assert together.shape == (4, *SHAPE)
    assert not together.requires_grad
    assert torch.allclose(together[2], alone[0], atol=1e-5)


def test_without_stages_sampling_stops_at_birth(learner):
    learner.eval()
    births = learner.sample(3, ImageNoise(0, 0, 3), {})
    assert births.shape == (3, *SHAPE)
    if learner.stages:
        assert not torch.equal(births, learner.sample(3, ImageNoise(0, 0, 3)))


def test_unknown_stages_are_refused(learner):
    with pytest.raises(ValueError, match='no dynamics "sideways"'):
        learner.sample(1, ImageNoise(0, 0, 1), {"sideways": CHAIN})


def test_wgcn_at_tau_zero_is_gcn_to_the_last_bit():
    torch.manual_seed(0)
    plain = gcn(flow=KL())
    torch.manual_seed(0)
    jko = gcn(WGCN, flow=JKO(tau=0.0))
    x = data()
    schedule = Schedule(5, 16, {"energy": Adam(1e-2)})

    class Same(torch.nn.Module):
        event_shape = SHAPE

        def draw(self, num):
            return x

    for learner in (plain, jko):
        trainer = Trainer(learner, Same(), schedule)
        for _ in range(5):
            trainer.advance()
    for a, b in zip(plain.parameters(), jko.parameters(), strict=True):
        assert torch.equal(a, b)


def test_adversarial_learning_runs_no_chain(monkeypatch):
    monkeypatch.setattr(Langevin, "evolve", lambda *_: pytest.fail("a chain was run"))
    ggcn(Adversarial(logistic))(data())


def test_an_adversarial_update_asks_for_the_potential_of_the_data_once():
    """At rest: the flow looks at data and births, the mapping's loss at births, two signs at eighths."""
    learner, seen = ggcn(Adversarial(logistic), KL(contrast=logistic)), []
    learner.energy.net.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    learner(data(16))
    assert sorted(seen) == [2, 2, 16, 32]


def test_a_cooperative_mapping_is_pulled_to_where_its_own_particles_ended():
    """The gradient at the births is 2 (g(z) − x^L) / batch, pair by pair."""
    births = data().requires_grad_()
    learner = ggcn(Cooperative(), image=CHAIN)
    evolution = CHAIN.evolve(learner.energy, births, ImageNoise(0, 0, 16))
    cost = learner.flow(learner.energy, data(), evolution)
    (slope,) = torch.autograd.grad(Cooperative()(learner.energy, births, evolution, cost), births)
    assert torch.allclose(slope, 2 * (births - evolution.end) / 16)


def test_hidden_chains_that_do_not_move_cost_a_cooperative_mapping_nothing():
    learner = ggcn(Cooperative(), hidden=Langevin(1e-12, 2, temperature=0.0))
    assert learner(data()).losses["mapping"] < 1e-6
    with pytest.raises(ValueError, match="at least one stage"):
        ggcn(Cooperative())


@pytest.mark.parametrize(
    "stage", [{"hidden": Langevin(0.5, 3)}, {"selection": Independent(num_steps=3)}], ids=str
)
def test_in_training_too_no_code_sees_another_and_chains_leave_no_trace_in_running_statistics(stage):
    learner = ggcn(Adversarial(), **stage)
    assert learner.mapping.training
    before = copy.deepcopy(learner.mapping.state_dict())
    hidden = torch.randn(6, 4)
    moved = learner.evolve_hidden(hidden, stage, ImageNoise(0, 0, 6))
    others = torch.cat([hidden[:1], torch.randn(5, 4)])
    assert torch.allclose(moved[0], learner.evolve_hidden(others, stage, ImageNoise(0, 0, 6))[0], atol=1e-5)
    assert learner.mapping.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in learner.mapping.state_dict().items())


def test_a_cooperative_mapping_is_not_taught_the_births_of_other_codes():
    with pytest.raises(ValueError, match="leave selection to sampling"):
        ggcn(Cooperative(), selection=Independent(num_steps=2), image=CHAIN)


def test_the_record_of_hidden_then_image_evolution_starts_at_the_births():
    learner = ggcn(Cooperative(), hidden=Langevin(0.5, 5), image=CHAIN)
    torch.manual_seed(0)
    hidden = torch.randn(6, 4)
    births = learner.mapping(hidden)
    evolution = learner.evolve(hidden, births, ImageNoise(0, 0, 6))
    energy = learner.energy
    assert torch.equal(evolution.start, births)
    at_end = energy(evolution.end)
    assert torch.allclose(evolution.energy_drop(at_end), energy(births) - at_end, atol=1e-4)
    assert torch.allclose(evolution.distance, (evolution.end - births).flatten(1).norm(dim=1), atol=1e-4)


class Own(torch.nn.Module):
    """A learner that is not the package's."""

    stages, sample = {}, None

    def __init__(self):
        super().__init__()
        self.energy = energy()


@pytest.mark.parametrize("make", [gcn, lambda: ggcn(Adversarial()), lambda: multigrid(Adversarial()), Own])
def test_a_score_with_batch_norm_is_refused(make, monkeypatch):
    normed = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 3), torch.nn.BatchNorm2d(1))
    monkeypatch.setitem(globals(), "PlainScore", lambda *_, **__: normed)
    with pytest.raises(ValueError, match="the score's layer 1 is a batch norm"):
        Trainer(make(), Ring(), Schedule(1, 8, {"energy": Adam(1e-3)}))


def test_multigrid_climbs_from_coarse_to_fine():
    learner = multigrid(Cooperative())
    stats = learner(data()).stats
    assert {"energy_gap@4", "energy_gap@8"} <= stats.keys()
    assert stats["energy_gap"] == stats["energy_gap@8"]
    with pytest.raises(ValueError, match="do not pair up"):
        MultiGrid([energy()], [], flow=KL(), mapping_loss=Cooperative(), dynamics=CHAIN)


def test_sampling_leaves_running_statistics_and_modes_alone(learner):
    learner.train()
    before = copy.deepcopy(learner.state_dict())
    learner.sample(3, ImageNoise(0, 0, 3))
    assert all(module.training for module in learner.modules())
    assert all(torch.equal(before[name], value) for name, value in learner.state_dict().items())
