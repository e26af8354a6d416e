"""Samples: point i depends on (seed, i) alone, and stages are chosen by name."""

import pytest
import torch
from torch import nn

import evolvent.machine
from evolvent.cli.drawing import Sampling, draw_into
from evolvent.data.toys import Ring
from evolvent.dynamics import MALA, Independent, Langevin
from evolvent.energy import Energy
from evolvent.flows import KL
from evolvent.learners.amortized import Adversarial
from evolvent.learners.gcn import GCN
from evolvent.learners.ggcn import GGCN
from evolvent.particles import Fresh
from evolvent.pretrained import Saved
from evolvent.reference import Gaussian
from evolvent.sampling import choose_stages, classes_of, draw, moments, num_at_once
from evolvent.training.schedule import Experiment, Schedule

HIDDEN, IMAGE = Langevin(0.05, 50, final_step_size=0.01), MALA(0.1, 5)
OFFERED = {"hidden": HIDDEN, "image": IMAGE}


def learner():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 16), nn.SiLU(), nn.Linear(16, 1), nn.Flatten(0))
    energy = Energy(net, Gaussian((2,)))
    return GCN(energy, Fresh(energy.reference), Langevin(0.1, 3))


def test_a_point_does_not_depend_on_how_many_are_drawn():
    few, many = (draw(learner(), num, seed=1, batch_size=4) for num in (5, 11))
    assert len(few) == 5
    assert torch.equal(few, many[:5])


def test_a_point_depends_on_the_seed():
    assert not torch.equal(draw(learner(), 4, seed=1), draw(learner(), 4, seed=2))


def test_without_stages_the_points_are_births():
    births = draw(learner(), 500, stages={}, batch_size=500)
    assert abs(float(births.var()) - 1) < 0.15  # 1000 draws of N(0, 1): a standard error of 0.045


def test_images_come_in_chunks_that_a_cpu_draws_in_seconds_and_other_points_as_the_recipe_says():
    assert [num_at_once(500, (3, 32, 32), device) for device in ("cpu", "cuda")] == [64, 500]
    assert num_at_once(8, (1, 64, 64), "cpu") == 8
    assert num_at_once(1024, (2,), "cpu") == 1024


def test_at_least_one_point_must_be_asked_for():
    with pytest.raises(ValueError, match="at least 1 sample"):
        draw(learner(), 0)


def test_named_stages_keep_the_order_of_the_recipe():
    assert list(choose_stages(OFFERED, "image,hidden")) == ["hidden", "image"]
    assert choose_stages(OFFERED) == OFFERED
    assert choose_stages(OFFERED, "none") == {}


def test_numbers_given_replace_those_of_every_chosen_stage_and_nothing_else():
    chosen = choose_stages(OFFERED, num_steps=7, temperature=0.5)
    assert chosen["hidden"] == Langevin(0.05, 7, temperature=0.5, final_step_size=0.01)
    assert chosen["image"] == MALA(0.1, 7, temperature=0.5)


def test_numbers_given_for_one_stage_leave_the_others():
    chosen = choose_stages(OFFERED, num_steps={"hidden": 7}, temperature={"image": 0.5, "hidden": 2.0})
    assert chosen["hidden"] == Langevin(0.05, 7, temperature=2.0, final_step_size=0.01)
    assert chosen["image"] == MALA(0.1, 5, temperature=0.5)
    with pytest.raises(
        ValueError, match="num_steps is given for the stage image, and those chosen are hidden"
    ):
        choose_stages(OFFERED, "hidden", num_steps={"image": 3})


def test_what_was_asked_is_told_as_it_is_typed():
    sampling = Sampling(seed=1, num_steps={"hidden": 7}, step_size=0.5)
    assert sampling.asked() == "--seed 1 --num-steps.hidden 7 --step-size 0.5"


def test_a_step_size_given_holds_for_all_steps():
    assert choose_stages(OFFERED, "hidden", step_size=0.2)["hidden"].step_sizes() == [0.2] * 50


def test_a_stage_that_the_recipe_left_out_can_be_added_with_its_numbers():
    added = choose_stages({"image": IMAGE}, "hidden", num_steps=3, step_size=0.1, temperature=0.5)
    assert added == {"hidden": Langevin(0.1, 3, temperature=0.5)}
    with pytest.raises(ValueError, match=r'"hidden" is not among the stages .* \(image\)'):
        choose_stages({"image": IMAGE}, "hidden")


class Listening(nn.Module):
    """The score f(x) = ⟨w, x⟩, which keeps the precisions that its layer computed in."""

    def __init__(self):
        super().__init__()
        self.layer, self.heard = nn.Linear(2, 1), set()

    def forward(self, x):
        score = self.layer(x)
        self.heard.add(score.dtype)
        return score.flatten()


def heard_by(draws):
    """The precisions in which the net computes while draws(learner) draws, and the points."""
    torch.manual_seed(0)
    net = Listening()
    energy = Energy(net, Gaussian((2,)))
    points = draws(GCN(energy, Fresh(energy.reference), Langevin(0.1, 3)))
    return net.heard, points


def test_nets_compute_in_bfloat16_where_it_is_asked_for_and_points_stay_float32(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    exact, points = heard_by(lambda model: draw(model, 8))
    rounded, near = heard_by(lambda model: draw(model, 8, precision="bfloat16"))
    assert (exact, rounded) == ({torch.float32}, {torch.bfloat16})
    assert points.dtype == near.dtype == torch.float32
    moved = 3 * 0.1 * 2**-8  # three steps of 0.1; a force below 1, to 8 bits
    assert (points - near).abs().max() < moved + 1e-6


@pytest.mark.parametrize(
    ("trained_in", "asked", "computed_in"),
    [
        ("bfloat16", None, torch.bfloat16),
        ("bfloat16", "float32", torch.float32),
        ("float32", "bfloat16", torch.bfloat16),
    ],
)
def test_a_model_is_drawn_from_in_the_precision_it_was_trained_in_unless_another_is_asked_for(
    trained_in, asked, computed_in, monkeypatch
):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)

    def draws(model):
        experiment = Experiment(model, Ring, Schedule(1, 1, {}, precision=trained_in))
        draw_into(list, Saved(model, experiment, "model", 0, "cpu"), 8, Sampling(precision=asked))

    assert heard_by(draws)[0] == {computed_in}


def test_a_precision_that_slows_the_machine_is_refused_where_it_is_asked_for_and_not_where_it_is_the_models(
    monkeypatch,
):
    monkeypatch.setattr(evolvent.machine, "gains_from_bfloat16", lambda device: False)
    saved = Saved(
        nn.Identity(),
        Experiment(nn.Identity(), Ring, Schedule(1, 1, {}, precision="bfloat16")),
        "model",
        0,
        "cpu",
    )
    assert Sampling().computed_in(saved) == "float32"
    with pytest.raises(
        ValueError, match="this cpu is no faster in bfloat16 than in float32: leave --precision out"
    ):
        Sampling(precision="bfloat16").computed_in(saved)


class Along(nn.Module):
    """The score f(x) = ⟨w, x⟩."""

    def forward(self, x):
        return x @ torch.tensor([0.5, 0.0])


def in_codes(**more):
    """Points that are their codes: V(z) = −β ⟨w, z⟩ + ‖z‖²/2, which is N(β w, I)."""
    mapping = nn.Identity()
    mapping.num_hidden = 2
    parts = {
        "flow": KL(),
        "mapping_loss": Adversarial(),
        "training": {},
        "sampling": {"hidden": Langevin(0.1, 60)},
    }
    return GGCN(Energy(Along(), Gaussian((2,))), mapping, **parts, **more)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_selection_draws_births_by_what_the_energy_says_of_them_whatever_beta(temperature):
    """4,000 points: a mean is known to 0.016, and a variance to 0.022."""
    selection = Independent(num_steps=40, temperature=temperature)
    points = draw(in_codes(beta=3.0), 4000, batch_size=4000, stages={"selection": selection})
    assert torch.allclose(points.mean(0), torch.tensor([0.5 / temperature, 0.0]), atol=0.08)
    assert torch.allclose(points.var(0), torch.ones(2), atol=0.12)


def test_selection_can_be_added_where_a_recipe_has_none_and_leaves_the_other_stages_as_they_are():
    assert choose_stages(OFFERED, "selection,hidden") == {"hidden": HIDDEN, "selection": Independent()}
    few = choose_stages({}, "selection", num_steps=5, temperature=0.5)
    assert few == {"selection": Independent(num_steps=5, temperature=0.5)}
    with pytest.raises(ValueError, match="selection goes from birth to birth"):
        choose_stages({}, "selection", step_size=0.3)


def test_draws_are_the_same_in_inference_mode_which_knows_no_forces():
    model, stages = in_codes(), {"hidden": Langevin(0.1, 3)}
    wanted = draw(model, 4, stages=stages)
    with torch.inference_mode():
        assert torch.equal(draw(model, 4, stages=stages), wanted)


def test_selection_goes_before_hidden_evolution_in_whatever_order_they_are_named():
    """Under beta 0 hidden evolution leaves N(0, I) as it is: after many steps of it a selection shows no more."""
    hidden, selection = Langevin(0.1, 60), Independent(num_steps=20)
    for stages in ({"hidden": hidden, "selection": selection}, {"selection": selection, "hidden": hidden}):
        points = draw(in_codes(beta=0.0), 4000, batch_size=4000, stages=stages)
        assert torch.allclose(points.mean(0), torch.zeros(2), atol=0.08)


@pytest.mark.parametrize("beta", [None, 0.0, 3.0])
def test_a_beta_given_weighs_the_energy_in_hidden_space(beta):
    """4,000 points: a mean is known to 0.016."""
    model = in_codes()
    points = draw(Sampling(beta=beta).weighed(model), 4000, batch_size=4000)
    wanted = 0.5 * (1.0 if beta is None else beta)
    assert torch.allclose(points.mean(0), torch.tensor([wanted, 0.0]), atol=0.06)
    assert model.beta == 1.0


def test_a_beta_is_refused_where_nothing_evolves_in_hidden_space():
    for model, dynamics in ((learner(), None), (in_codes(), "none"), (in_codes(), "selection")):
        with pytest.raises(ValueError, match="in the stage hidden, which is not among those to run"):
            Sampling(dynamics=dynamics, beta=2.0).stages(model.stages)
    for refused in (lambda: Sampling(beta=-1.0).weighed(in_codes()), lambda: in_codes(beta=-1.0)):
        with pytest.raises(ValueError, match="0 or above and finite, not -1"):
            refused()
    with pytest.raises(ValueError, match="GCN has no number beta"):
        Sampling(beta=2.0).weighed(learner())


def test_dropout_takes_no_part_in_drawing_and_modes_are_left_as_they_were():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 16), nn.Dropout(0.5), nn.SiLU(), nn.Linear(16, 1), nn.Flatten(0))
    energy = Energy(net, Gaussian((2,)))
    learner = GCN(energy, Fresh(energy.reference), Langevin(0.1, 3))
    net[3].eval()
    assert torch.equal(draw(learner, 4), draw(learner, 4))
    assert [layer.training for layer in net] == [True, True, True, False, True]


def test_no_class_is_not_every_class():
    knows = nn.Module()
    knows.num_classes = 3
    with pytest.raises(ValueError, match="no class is asked for"):
        classes_of(knows, [])


def test_the_moments_of_an_evolution_are_what_the_whole_chain_passes_through():
    """Every step size is that of the whole chain, and the last moment is the sample."""
    chain = Langevin(0.1, 7, final_step_size=0.01)
    found = moments({"selection": Independent(num_steps=3), "hidden": chain}, 11)
    assert found[0] == {} and list(found[3]) == ["selection"]
    assert [sum(stage.num_steps for stage in come.values()) for come in found] == list(range(11))
    for k, come in enumerate(found[4:], start=1):
        assert come["hidden"].step_sizes() == pytest.approx(chain.step_sizes()[:k], rel=1e-12)
    stages = {"image": chain}
    born, *_, end = (draw(learner(), 3, stages=come) for come in moments(stages, 8))
    assert torch.equal(born, draw(learner(), 3, stages={}))
    assert torch.allclose(end, draw(learner(), 3, stages=stages), rtol=0, atol=1e-6)


def test_an_evolution_has_two_moments_at_least():
    with pytest.raises(ValueError, match="at least 2 moments, not 1"):
        moments({}, 1)


@pytest.mark.parametrize("num_steps", [0, 3])
def test_an_evolution_has_no_more_moments_than_its_steps_and_its_birth(num_steps):
    stages = {"image": Langevin(0.1, num_steps)} if num_steps else {}
    with pytest.raises(ValueError, match=f"of {num_steps} steps has {num_steps + 1} moments"):
        moments(stages, num_steps + 2)
