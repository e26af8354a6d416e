"""The documents hold: the places they name exist, the lines they quote stand there, the code they show runs."""

import ast
import re
import shlex
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import evolvent
from evolvent.cli.main import main
from evolvent.data import digits
from evolvent.energy import gradient
from evolvent.nets.score import PlainScore

ROOT = Path(__file__).parent.parent
DOCUMENTS = [path for path in (*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/*.md"))) if path.is_file()]
PAGES = [*DOCUMENTS, *sorted(ROOT.glob("*/results.md")), *sorted(ROOT.glob("evolvent/weights/*.md"))]
PAPER, EXTENDING, METRICS = (ROOT / "docs" / name for name in ("paper.md", "extending.md", "metrics.md"))
README = ROOT / "README.md"

PLACE = re.compile(r"`((?:evolvent|tests|benchmarks|examples)/[\w/.]+\.py)(?::([\w.]+))?`")
ROW = re.compile(r"^\|.*`([\w/.]+\.py):([\w.]+)` \| `(.*)` \|$", re.MULTILINE)


def file_of(path):
    """The package's files are those that are imported; the others stand in the repository."""
    return Path(evolvent.__file__).parent.parent / path if path.startswith("evolvent/") else ROOT / path


@cache
def parsed(path):
    text = file_of(path).read_text()
    return text, ast.parse(text)


def source_of(path, name):
    """The source of a function, class, method or constant; None where there is none of that name."""
    text, node = parsed(path)
    for part in name.split("."):
        node = next((child for child in node.body if part in names(child)), None)
        if node is None:
            return None
    return ast.get_source_segment(text, node)


def names(node):
    targets = getattr(node, "targets", [getattr(node, "target", None)])
    return {getattr(node, "name", None), *(target.id for target in targets if isinstance(target, ast.Name))}


def squeezed(code):
    """Without white space and without the comma that the formatter hangs on a wrapped call."""
    return re.sub(r"\s+", "", code).replace(",)", ")")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_place_that_a_document_names_exists(document):
    for path, name in PLACE.findall(document.read_text()):
        assert file_of(path).is_file(), f"{document.name} names {path}"
        assert not name or source_of(path, name), f"{document.name} names {path}:{name}"


LINK = re.compile(r"\]\(([^()\s]+)\)|^\[[\w-]+\]: (\S+)$", re.MULTILINE)


def anchors(text):
    """Of every heading, as a page that shows Markdown makes them: words in small letters, joined by hyphens."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(document):
    prose = re.sub(r"`[^`]*`", "", document.read_text())
    for link in map("".join, LINK.findall(prose)):
        place, _, anchor = link.partition("#")
        page = document.parent / place if place else document
        assert "://" in link or page.exists(), f"{document.name} links to {link}"
        assert not anchor or "://" in link or anchor in anchors(page.read_text()), (
            f"{document.name} links to {link}"
        )


def test_the_lines_that_the_paper_table_quotes_stand_where_it_says():
    rows = ROW.findall(PAPER.read_text())
    assert len(rows) > 20
    for path, name, line in rows:
        assert squeezed(line) in squeezed(source_of(path, name)), f"{path}:{name} has no line {line}"


def test_every_row_of_the_paper_table_says_whose_it_is():
    table = PAPER.read_text().partition("## Symbols")[2].partition("Which model is which")[0]
    rows = [line for line in table.splitlines() if ".py:" in line]
    assert all(re.search(r"\| (source|derived) \|", row) for row in rows)


def test_the_penalty_is_what_answering_particles_add_to_the_gradient():
    """docs/paper.md, section 2: with x_t(θ) = x − τ∇Φ(x_t), d/dθ of −Φ(x_t(θ)) is −∂Φ(x_t) + (τ/2)∂‖∇Φ(x_t)‖².

    The remainder is of order τ²: halving τ quarters it."""
    torch.manual_seed(0)
    net = PlainScore(8, width=4).double()
    x = torch.randn(3, 1, 8, 8, dtype=torch.float64)
    weight = net.read_out.weight

    def potential(x):
        return -net(x)

    def answer(tau):
        """The implicit step by iteration, a contraction at this tau; differentiable in θ."""
        moved = x.clone().requires_grad_()
        for _ in range(30):
            (slope,) = torch.autograd.grad(potential(moved).sum(), moved, create_graph=True)
            moved = x - tau * slope
        return moved

    def remainder(tau):
        moved = answer(tau)
        (whole,) = torch.autograd.grad(-potential(moved).sum(), weight)
        fixed = moved.detach()
        penalty = tau / 2 * gradient(potential, fixed, create_graph=True).square().sum()
        (parts,) = torch.autograd.grad(-potential(fixed).sum() + penalty, weight)
        return (whole - parts).norm()

    assert remainder(1e-3) / remainder(5e-4) == pytest.approx(4, rel=0.2)


def blocks(text, language):
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty working folder; recipe files put it on the path, which is put back."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


EXTENSIONS = dict(re.findall(r"`(\w+\.py)`:\n\n```python\n(.*?)```", EXTENDING.read_text(), re.DOTALL))
SHORTER = {"train": "--num-steps 3", "sample": "--num 4 --num-steps 3", "evaluate": "--num 8 --num-steps 3"}


def commands(name):
    """The console block that follows the file of this name, without prompts and `evolvent`."""
    text = EXTENDING.read_text().partition(f"`{name}`:\n")[2]
    return [shlex.split(line)[2:] for line in blocks(text, "console")[0].splitlines()]


def test_there_is_a_file_for_each_thing_to_extend():
    assert set(EXTENSIONS) == {"noise_contrast.py", "tamed.py", "discs.py", "patches.py"}


@pytest.mark.parametrize("name", EXTENSIONS)
def test_the_file_on_the_page_runs_by_the_commands_on_the_page(place, name):
    (place / name).write_text(EXTENSIONS[name])
    for words in commands(name):
        # The last of two equal options holds; a sampler without stages takes no number of steps.
        fewer = [] if "none" in words else shlex.split(SHORTER[words[0]])
        assert main([*words, *fewer]) == 0, words


def test_the_new_setting_of_the_dynamics_is_checked_as_the_page_says(place, capsys):
    (place / "tamed.py").write_text(EXTENSIONS["tamed.py"])
    assert main(["train", "tamed.py:ring", "--reach", "-1"]) == 2
    assert "reach is a distance above 0, not -1.0" in capsys.readouterr().err


class MyNet(nn.Module):
    def forward(self, x):
        return -x.flatten(1).square().mean(1) * self.weight

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))


def run_python(code, place, monkeypatch):
    """Run a page's code on ten images of noise, for at most three steps."""
    images = np.random.RandomState(0).randint(256, size=(10, 32, 32)).astype(np.uint8)
    np.save(place / "images.npy", images)
    schedule = evolvent.Schedule
    monkeypatch.setattr(
        evolvent, "Schedule", lambda num_steps, **settings: schedule(min(num_steps, 3), **settings)
    )
    exec(compile(code, "page", "exec"), {"my_images": images, "MyNet": MyNet})


def test_the_python_on_the_extending_page_runs(place, monkeypatch):
    run_python(blocks(EXTENDING.read_text(), "python")[-1], place, monkeypatch)
    assert (place / "samples.png").is_file()


def test_the_python_that_measures_chains_runs(monkeypatch, capsys):
    """On a normal law of the ring's spread, where it takes no training."""
    law = evolvent.Energy(MyNet(), evolvent.Gaussian((2,), std=0.1)).requires_grad_(False)
    learner = SimpleNamespace(energy=law)
    model = SimpleNamespace(
        learner=learner, draw=lambda num: law.reference.sample(num, evolvent.ImageNoise(0, 0, num))
    )
    monkeypatch.setattr(evolvent, "from_pretrained", {"runs/toy-ring-1": model}.get)
    (code,) = (code for code in blocks(METRICS.read_text(), "python") if "effective_sample_size" in code)
    exec(compile(code.replace("range(1000)", "range(100)"), "page", "exec"), {})
    accepted, size = map(float, capsys.readouterr().out.split())
    assert 0 < accepted < 1 < size < 64 * 101


@pytest.mark.skipif(not README.is_file(), reason="there is no README here")
def test_the_python_that_tells_nats_runs():
    """On a few shipped digits: nearer at β = 1 than births are."""
    (code,) = (code for code in blocks(METRICS.read_text(), "python") if "anneal(" in code)
    few = digits(32)
    given = {"ev": evolvent, "model": evolvent.from_pretrained("digits")}
    given |= {"pixels": few.pixels[:200], "labels": few.labels[:200]}
    exec(
        compile(code.replace("5.0)", "1.5)").replace("nearer(rungs", "found = nearer(rungs"), "page", "exec"),
        given,
    )
    (at_own,) = (one for one in given["found"] if one.beta == 1)
    assert 0.1 < at_own.nats < 0.6 and 0 < at_own.error < 0.1


def test_the_python_in_the_readme_runs(place, monkeypatch):
    for code in blocks(README.read_text(), "python"):
        run_python(code, place, monkeypatch)
