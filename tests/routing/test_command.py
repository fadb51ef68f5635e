"""`mergeometry router` fits one to a merge's output and a file of tasks, as Python does to what the tokenizer gives."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import mergeometry as mg
from tests.helpers import learning_models, models
from tests.helpers.commands import invoke

transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A merge of two tiny models with residuals, and texts of words of their own for each."""
    place = tmp_path_factory.mktemp("command")
    model = models.tiny_bert()
    learning_models.save_base(model, place / "base")
    entries = [
        {"path": str(learning_models.save_tuned(model, place / name, seed)), "name": name}
        for seed, name in enumerate(("first", "second"))
    ]
    recipe = {"base": str(place / "base"), "models": entries, "method": "tsv_m", "output": {"residuals": {"rank": 2}}}
    mg.merge(recipe, place / "merged", workers=1)
    drawn = torch.Generator().manual_seed(0)
    for task, (low, high) in {"first": (0, 18), "second": (16, 34)}.items():
        lengths = torch.randint(3, 12, (50,), generator=drawn).tolist()
        texts = [torch.randint(low, high, (length,), generator=drawn).tolist() for length in lengths]
        rows = [json.dumps({"text": " ".join(f"w{word}" for word in text)}) for text in texts]
        (place / f"{task}.jsonl").write_text("\n".join(rows))
    return place


def tasks(scene: Path, *names: str, **more: dict[str, str]) -> Path:
    entries = [{"name": name, "unlabelled": f"{name}.jsonl"} for name in names]
    (scene / "tasks.yaml").write_text(
        json.dumps({"tasks": [*entries, *({"name": name, **own} for name, own in more.items())]})
    )
    return scene / "tasks.yaml"


def test_it_is_the_router_that_python_fits_to_the_same_inputs(scene: Path, tmp_path: Path) -> None:
    file = tmp_path / "router.safetensors"
    given = ["--tasks", tasks(scene, "first", "second"), "--output", file, "--limit", "50", "--json"]
    done = invoke("router", scene / "merged", *given)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == {
        "file": str(file),
        "tasks": ["first", "second"],
        "layer": 1,
        "bytes": file.stat().st_size,
        "held_out": pytest.approx(mg.Router.load(file).held_out, abs=1e-5),
        "chooses": "residuals",
    }
    router = mg.Router.load(file)
    assert router.held_out is not None and router.held_out > 0.8
    model = transformers.AutoModel.from_pretrained(scene / "merged")
    tokenizer = transformers.AutoTokenizer.from_pretrained(scene / "merged")
    batches = {}
    for task in router.tasks:
        texts = [json.loads(line)["text"] for line in (scene / f"{task}.jsonl").read_text().splitlines()]
        batches[task] = dict(tokenizer(texts, padding=True, return_tensors="pt", return_token_type_ids=False))
    again = mg.fit_router(model, batches)
    torch.testing.assert_close(router.weight, again.weight, rtol=1e-3, atol=1e-3)
    assert [router.route(model, batches[task]).count(task) > 40 for task in router.tasks] == [True, True]
    assert mg.verify(scene / "merged").differences == ()


@pytest.mark.parametrize(
    ("names", "more", "words"),
    [
        (("first",), {"second": {}}, "second: it has no `unlabelled` inputs"),
        (("first",), {}, "second: the merge has a residual of this name"),
        (("first", "second"), {"third": {"unlabelled": "first.jsonl"}}, "third: the merge has no residual"),
    ],
)
def test_tasks_that_are_not_the_merges_are_refused(
    scene: Path, tmp_path: Path, names: tuple[str, ...], more: dict[str, dict[str, str]], words: str
) -> None:
    done = invoke("router", scene / "merged", "--tasks", tasks(scene, *names, **more), "--output", tmp_path / "router")
    assert done.exit_code == 1 and words in done.stderr and not list(tmp_path.iterdir())


def test_without_residuals_it_says_what_it_chooses_among(scene: Path, tmp_path: Path) -> None:
    """The heads of a merge that has some; the file's own tasks where the model is no merge; else nothing."""

    def run(folder: Path, *names: str) -> tuple[int, str]:
        file = tmp_path / f"{folder.name}.safetensors"
        done = invoke("router", folder, "--tasks", tasks(scene, *names), "--output", file)
        assert file.exists() is (done.exit_code == 0)
        return done.exit_code, " ".join(done.output.split())

    recipe = json.loads((scene / "merged" / "mergeometry.json").read_text())["recipe"]
    for name, own in {"bare": {}, "headed": {"heads": ["pooler.*"]}}.items():
        mg.merge({**recipe, "output": {}, **own}, tmp_path / name, workers=1)
    status, said = run(tmp_path / "bare", "first", "second")
    assert status == 1 and "neither residuals nor heads" in said and "output: {residuals:" in said
    status, said = run(tmp_path / "headed", "first")
    assert status == 1 and "second: the merge has a head of this name, and the tasks do not" in said
    status, said = run(tmp_path / "headed", "first", "second")
    assert status == 0 and "chooses among the heads" in said
    status, said = run(scene / "base", "first", "second")
    assert status == 0 and "the folder has no record of a merge" in said


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("notes.txt", "another file where the router goes"),
        ("nowhere/router.safetensors", "the folder of the router does not exist"),
        ("merged/router.safetensors", "write the router beside the folder"),
    ],
)
def test_a_place_that_is_none_for_a_router_is_refused_before_anything_is_read(
    scene: Path, place: str, words: str
) -> None:
    (scene / "notes.txt").write_text("mine")
    done = invoke("router", scene / "merged", "--tasks", tasks(scene, "first"), "--output", scene / place)
    assert done.exit_code != 0 and words in " ".join(done.output.split())
    assert (scene / "notes.txt").read_text() == "mine" and not (scene / "merged" / "router.safetensors").exists()
