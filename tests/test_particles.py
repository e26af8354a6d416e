import pytest
import torch

from evolvent.noise import Noise
from evolvent.particles import Fresh, Persistent, PersistentByClass
from evolvent.reference import Gaussian
from evolvent.shapes import apart


def test_fresh_particles_are_new_every_time():
    particles = Fresh(Gaussian((2,)))
    first, _ = particles.start(8, Noise())
    second, _ = particles.start(8, Noise())
    assert (first != second).all()


def test_rows_go_back_to_the_slots_they_came_from():
    particles = Persistent(Gaussian((2,)), 50, rebirth=0.0)
    before = particles.bank.clone()
    x, slots = particles.start(10, Noise())
    assert torch.equal(x, before[slots])
    particles.commit(slots, x + 100)
    others = torch.ones(50, dtype=torch.bool)
    others[slots] = False
    assert torch.equal(particles.bank[slots], before[slots] + 100)
    assert torch.equal(particles.bank[others], before[others])


def test_slots_are_distinct_and_every_slot_is_reached():
    particles = Persistent(Gaussian((2,)), 30)
    seen = [particles.start(20, Noise())[1] for _ in range(30)]
    assert all(len(slots.unique()) == 20 for slots in seen)
    assert len(torch.cat(seen).unique()) == 30


def test_the_share_of_reborn_chains_is_rebirth():
    """10,000 chains: error 0.004."""
    torch.manual_seed(0)
    particles = Persistent(Gaussian((1,)), 10_000, rebirth=0.2)
    particles.bank.fill_(99.0)
    x, _ = particles.start(10_000, Noise())
    assert (x != 99).float().mean() == pytest.approx(0.2, abs=0.02)


def test_the_bank_is_part_of_the_state():
    assert "bank" in Persistent(Gaussian((2,)), 5).state_dict()


def test_impossible_banks_are_refused():
    with pytest.raises(ValueError, match="at least 1 slot"):
        Persistent(Gaussian((2,)), 0)
    with pytest.raises(ValueError, match="between 0 and 1"):
        Persistent(Gaussian((2,)), 5, rebirth=1.5)
    with pytest.raises(ValueError, match="batch of 6 does not fit a bank of 5"):
        Persistent(Gaussian((2,)), 5).start(6, Noise())


def test_a_batch_gets_chains_of_its_classes_each_from_a_slot_of_its_own():
    bank = PersistentByClass(Gaussian((2,)), 20, 3, rebirth=0.0)
    bank.bank[:] = (torch.arange(60) % 3)[:, None]  # every chain tells its class
    seen = []
    for labels in (torch.randint(3, (20,)), torch.full((20,), 2), *(torch.arange(20) % 3 for _ in range(40))):
        labelled, slots = bank.start_of(labels, Noise())
        x, told = apart(labelled)
        assert torch.equal(told, labels)
        assert torch.equal(x, labels[:, None].expand(-1, 2).float())
        assert len(slots.unique()) == 20
        seen.append(slots)
    assert len(torch.cat(seen).unique()) == 60


def test_chains_of_classes_go_back_without_their_labels():
    bank = PersistentByClass(Gaussian((2,)), 8, 3, rebirth=0.0)
    x, slots = bank.start_of(torch.tensor([2, 0, 2]), Noise())
    bank.commit(slots, x + 100)
    assert torch.equal(bank.bank[slots], x[:, :2] + 100)
    assert bank.ages.sum() == 3


def test_a_batch_that_could_exhaust_a_class_is_refused():
    with pytest.raises(
        ValueError, match="a batch of 9 may be all of one class, of which the bank has 8 chains"
    ):
        PersistentByClass(Gaussian((2,)), 8, 3).start_of(torch.arange(9) % 3, Noise())
