"""Models on the hub: found, judged by headers, fetched, checked. The hub's own library talks to a server of ours."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import mergeometry as mg
from mergeometry.errors import MismatchError, SourceError
from mergeometry.sources.hub import client
from tests.helpers.hub_server import Hub, serving
from tests.helpers.models import random_tensors, tuned, write_adapter, write_model, write_shards
from tests.helpers.quantised import bnb_4bit, stored

BASE = random_tensors(0)
TOKEN = "hf_a_secret_of_nobody"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    from huggingface_hub import constants
    from huggingface_hub.utils import close_session

    with serving() as server:
        for variable in ("HF_TOKEN", "HF_HUB_OFFLINE", "HUGGING_FACE_HUB_TOKEN"):
            monkeypatch.delenv(variable, raising=False)
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setenv("MERGEOMETRY_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setattr(client, "_FIRST_WAIT", 0.0)
        monkeypatch.setattr("time.sleep", lambda _: None)
        monkeypatch.chdir(tmp_path)
        config = {"model_type": "toy", "architectures": ["Toy"]}
        write_model(tmp_path / "made" / "base", BASE, config)
        (tmp_path / "made" / "base" / "README.md").write_text("a base")
        (tmp_path / "made" / "base" / "pytorch_model.bin").write_bytes(b"never fetched")
        (tmp_path / "made" / "base" / "modeling.py").write_text("raise SystemExit")
        write_shards(tmp_path / "made" / "one", tuned(BASE, 1), 2, config)
        write_model(tmp_path / "made" / "two", tuned(BASE, 2), config)
        for name in ("base", "one", "two"):
            server.add(f"acme/{name}", tmp_path / "made" / name)
        yield server
        close_session()


def recipe(**keys: object) -> dict[str, object]:
    return {"base": "acme/base", "models": ["acme/one", "hf://acme/two@main"], "method": "average", **keys}


def test_a_merge_of_hub_models_is_that_of_local_ones(hub: Hub, tmp_path: Path) -> None:
    record = mg.merge(recipe(), "merged", workers=1)
    local = {"base": "made/base", "models": ["made/one", "made/two"], "method": "average"}
    assert record.digest == mg.merge(local, "local", workers=1).digest
    commits = {source.label: (source.repository, source.commit) for source in record.inputs}
    assert commits == {
        name: (f"acme/{name}", hub.repositories[f"acme/{name}"].commit) for name in ("base", "one", "two")
    }
    written = json.loads((tmp_path / "merged" / "mergeometry.json").read_text())
    assert written["inputs"][0]["commit"] == hub.repositories["acme/base"].commit
    assert any(note.startswith("base: acme/base on the hub, commit ") for note in record.warnings)
    card = (tmp_path / "merged" / "README.md").read_text()
    assert '- "acme/one"' in card and f'"acme/one@{hub.repositories["acme/one"].commit}"' in card
    assert str(tmp_path) not in card


def test_a_stack_of_hub_models_is_that_of_local_ones(hub: Hub, tmp_path: Path) -> None:
    """Layers of two models on the hub, one of them twice; each is fetched once, and the record pins both commits."""
    shapes = {
        "embed.weight": (5, 4),
        **{f"layers.{layer}.mlp.weight": (4, 4) for layer in range(3)},
        "norm.weight": (4,),
    }
    for seed, name in enumerate(("deep", "other")):
        config = {"model_type": "toy", "num_hidden_layers": 3}
        write_model(tmp_path / "made" / name, random_tensors(seed, shapes=shapes), config)
        hub.add(f"acme/{name}", tmp_path / "made" / name)

    def stacked(deep: str, other: str) -> dict[str, object]:
        ranges = [(deep, [0, 2]), (other, [1, 3]), (deep, [2, 3])]
        return {
            "models": [{"stack": [{"path": path, "layers": layers} for path, layers in ranges], "name": "stack"}],
            "method": "passthrough",
        }

    hub.requests.clear()
    record = mg.merge(stacked("acme/deep", "acme/other@main"), "merged", workers=1)
    weights = [name for name in hub.fetched() if name.endswith(".safetensors")]
    local = mg.merge(stacked("made/deep", "made/other"), "local", workers=1)
    assert record.digest == local.digest
    assert weights == ["model.safetensors"] * 2
    config = json.loads((tmp_path / "merged" / "config.json").read_text())
    assert config["num_hidden_layers"] == 5
    text = (tmp_path / "merged" / "mergeometry.json").read_text()
    for name in ("deep", "other"):
        assert hub.repositories[f"acme/{name}"].commit in text


def test_only_what_the_merge_reads_is_fetched_once_into_the_cache_of_the_hub(hub: Hub, tmp_path: Path) -> None:
    mg.merge(recipe(), "merged", workers=1)
    fetched = hub.fetched()
    shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    assert sorted(name for name in fetched if name.endswith(".safetensors")) == [*shards, *2 * ["model.safetensors"]]
    assert not {"pytorch_model.bin", "modeling.py", "README.md"} & set(fetched)
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache("acme/base", "model.safetensors", cache_dir=tmp_path / "hub", revision="main")
    hub.requests.clear()
    mg.merge(recipe(), "again", workers=1)
    assert not [name for name in hub.fetched() if name.endswith(".safetensors")]
    assert Path(str(cached)).is_file()


def test_a_plan_reads_headers_alone_and_cannot_be_carried_out(hub: Hub, tmp_path: Path) -> None:
    big = {"big.weight": torch.zeros(1024, 1024)}
    for name in ("base", "one"):
        write_model(tmp_path / "made" / f"big-{name}", big, {"model_type": "toy"})
        hub.add(f"big/{name}", tmp_path / "made" / f"big-{name}")
    plan = mg.make_plan(base="big/base", models=["big/one"], method="average")
    assert plan.bytes_read >= 2 * 4 * 1024 * 1024 > 20 * hub.sent
    assert all(
        note.split(", commit ")[0] in ("base: big/base on the hub", "one: big/one on the hub") for note in plan.notes
    )
    from mergeometry.execution.run import execute

    with pytest.raises(SourceError, match="when its header was read and has 0 now"):
        execute(plan, "merged", workers=1)


def test_a_mismatch_is_told_before_weights_move(hub: Hub, tmp_path: Path) -> None:
    write_model(tmp_path / "other", {"another.weight": torch.zeros(512, 512)}, {"model_type": "toy"})
    hub.add("acme/other", tmp_path / "other")
    with pytest.raises(MismatchError):
        mg.merge(recipe(models=["acme/other"]), "merged")
    assert not [name for name in hub.fetched() if name.endswith(".safetensors")]


@pytest.mark.suite
def test_an_adapter_in_a_subfolder(hub: Hub, tmp_path: Path) -> None:
    down, up = torch.ones(2, 6), torch.ones(8, 2)
    write_adapter(tmp_path / "many" / "first", {"layer.0.dense": (down, up)})
    write_adapter(tmp_path / "many" / "second", {"layer.0.dense": (down, 2 * up)})
    hub.add("acme/many", tmp_path / "many")
    record = mg.merge(base="acme/base", models=["hf://acme/many/second"], method="average", output="m", workers=1)
    local = mg.merge(base="made/base", models=["many/second"], method="average", output="l", workers=1)
    assert record.digest == local.digest
    with pytest.raises(SourceError, match="adapters in first, second"):
        mg.merge(base="acme/base", models=["acme/many"], method="average", output="n")
    with pytest.raises(SourceError, match="no folder 'third'") as caught:
        mg.merge(base="acme/base", models=["hf://acme/many/third"], method="average", output="n")
    assert "first, second" in str(caught.value.hint)


@pytest.mark.suite
def test_a_model_and_its_adapter_may_both_lie_there(hub: Hub, tmp_path: Path) -> None:
    write_adapter(tmp_path / "made" / "lora", {"layer.0.dense": (torch.ones(2, 6), torch.ones(8, 2))})
    hub.add("acme/lora", tmp_path / "made" / "lora")
    keys = {"base": "made/base", "method": "average", "workers": 1}
    record = mg.merge(models=["acme/one@main+hf://acme/lora"], output="m", **keys)
    assert record.digest == mg.merge(models=["made/one+made/lora"], output="l", **keys).digest
    assert record.inputs[1].label == "one+lora"


@pytest.mark.suite
def test_a_quantised_model_is_fetched_and_read_as_a_local_one(hub: Hub, tmp_path: Path) -> None:
    case = bnb_4bit(nested=True)
    stored(tmp_path / "made" / "four", case)
    write_model(tmp_path / "made" / "full", {"layer.weight": case[2] + 1}, {"model_type": "toy"})
    for name in ("four", "full"):
        hub.add(f"acme/{name}", tmp_path / "made" / name)
    with pytest.raises(SourceError, match="the model is quantised"):
        mg.make_plan(base="acme/full", models=["acme/four"], method="average")
    keys = {"method": "average", "dequantise": True, "workers": 1}
    record = mg.merge(base="acme/full", models=["acme/four"], output="m", **keys)
    assert record.digest == mg.merge(base="made/full", models=["made/four"], output="l", **keys).digest


@pytest.mark.suite
def test_a_repository_of_pickles_alone(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "made" / "old").mkdir()
    torch.save(tuned(BASE, 1), tmp_path / "made" / "old" / "pytorch_model.bin")
    (tmp_path / "made" / "old" / "config.json").write_text('{"model_type": "toy"}')
    hub.add("acme/old", tmp_path / "made" / "old")
    with pytest.raises(SourceError, match="pickled weights only"):
        mg.merge(recipe(models=["acme/old"]), "merged")
    assert "pytorch_model.bin" not in hub.fetched()
    record = mg.merge(recipe(models=["acme/old"]), "merged", workers=1, allow_pickle=True)
    assert record.digest == mg.merge(recipe(models=["acme/one"]), "l", workers=1).digest
    assert record.inputs[1].repository == "acme/old"


def test_a_revision_is_a_branch_a_tag_or_a_commit(hub: Hub) -> None:
    repository = hub.repositories["acme/one"]
    repository.refs |= {"v1": repository.commit, "refs/pr/1": repository.commit}
    for revision in ("v1", "refs/pr/1", repository.commit):
        plan = mg.make_plan(recipe(models=[f"acme/one@{revision}"]))
        assert repository.commit in plan.notes[1]
    with pytest.raises(SourceError, match="no revision 'v2'"):
        mg.make_plan(recipe(models=["acme/one@v2"]))


@pytest.mark.parametrize(
    ("name", "options", "says", "hint"),
    [
        ("acme/none", None, "no such folder here, and no such model", "hf auth login"),
        ("acme/private", {"private": True}, "no such folder here, and no such model", "HF_TOKEN"),
        ("acme/gated", {"gated": True}, "the model is gated", "accept its terms"),
    ],
)
def test_what_may_not_be_read_is_said_in_one_line(
    hub: Hub, tmp_path: Path, name: str, options: dict[str, bool] | None, says: str, hint: str
) -> None:
    if options is not None:
        hub.add(name, tmp_path / "made" / "one", **options)
    with pytest.raises(SourceError, match=says) as caught:
        mg.make_plan(recipe(models=[name]))
    assert hint in str(caught.value.hint) and caught.value.model == name.rpartition("/")[2]


def test_a_token_opens_a_gated_model_and_goes_to_the_hub_alone(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.tokens.add(TOKEN)
    hub.add("acme/gated", tmp_path / "made" / "one", gated=True, private=True)
    mg.merge(recipe(models=["acme/gated"]), "merged", workers=1)
    told = {server: [key for place, _, _, key in hub.requests if place == server] for server in ("hub", "storage")}
    assert any(TOKEN in key for key in told["hub"])
    assert told["storage"] and not any(told["storage"])
    for path in [*(tmp_path / "merged").rglob("*"), *(tmp_path / "cache").rglob("*")]:
        assert path.is_dir() or TOKEN.encode() not in path.read_bytes()


def test_a_moved_repository_is_followed_and_said(hub: Hub) -> None:
    hub.moved["old/one"] = "acme/one"
    plan = mg.make_plan(recipe(models=["old/one"]))
    assert "acme/one on the hub" in plan.notes[1] and "to which old/one moved" in plan.notes[1]


def test_a_busy_hub_is_asked_again_and_not_for_ever(hub: Hub) -> None:
    hub.busy = 2
    mg.make_plan(recipe(models=["acme/one"]))
    hub.busy = 10_000
    with pytest.raises(SourceError, match="the hub answers with status 503"):
        mg.make_plan(recipe())
    assert hub.busy > 9_900


@pytest.mark.suite
def test_a_broken_download_goes_on_where_it_broke(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 64)
    hub.cut = 2
    record = mg.merge(recipe(), "merged", workers=1)
    assert hub.cut == 0
    resumed = [ranged for _, line, ranged, _ in hub.requests if ranged and not ranged.startswith("bytes=0-")]
    assert resumed
    assert record.digest == mg.merge(recipe(base="made/base", models=["made/one", "made/two"]), "l", workers=1).digest


def test_a_damaged_download_is_refused_and_removed(hub: Hub, tmp_path: Path) -> None:
    plan = mg.make_plan(recipe())
    assert plan.tasks
    hub.damaged = True
    with pytest.raises(SourceError, match="sha256 differs"):
        mg.merge(recipe(), "merged")
    assert not list((tmp_path / "hub").rglob("model*.safetensors"))
    hub.damaged = False
    mg.merge(recipe(), "merged", workers=1)


@pytest.mark.suite
def test_a_server_that_ignores_ranges_is_hung_up_on(hub: Hub) -> None:
    hub.ignores_ranges = True
    assert mg.make_plan(recipe()).tasks


def test_offline_takes_the_commit_that_is_cached(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SourceError, match="not in the hub's cache"):
        mg.merge(recipe(), "merged", offline=True)
    mg.merge(recipe(), "merged", workers=1)
    hub.requests.clear()
    record = mg.merge(recipe(), "offline", workers=1, offline=True)
    assert not hub.requests
    assert [source.commit for source in record.inputs] == [
        hub.repositories[f"acme/{name}"].commit for name in ("base", "one", "two")
    ]
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert mg.make_plan(recipe()).notes[0].endswith("from the hub's cache")
    with pytest.raises(SourceError, match="does not know the revision 'v7'"):
        mg.make_plan(recipe(models=["acme/one@v7"]))


def test_a_hub_that_is_not_there(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(SourceError, match="the hub is not reached") as caught:
        mg.make_plan(recipe())
    assert "--offline" in str(caught.value.hint)


@pytest.mark.suite
def test_a_local_folder_of_the_name_wins_and_that_is_said(hub: Hub, tmp_path: Path) -> None:
    mg.merge(recipe(), "merged", workers=1)
    write_model(tmp_path / "acme" / "one", tuned(BASE, 9), {"model_type": "toy"})
    plan = mg.make_plan(recipe(models=["acme/one"], base="made/base"))
    assert plan.models[0].path == tmp_path / "acme" / "one"
    assert plan.notes[0].startswith("one: the folder acme/one is taken, and not the model of this name")


def test_a_recipe_file_keeps_names_of_the_hub(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "recipes").mkdir()
    file = tmp_path / "recipes" / "r.yaml"
    file.write_text("base: acme/base\nmodels: [hf-hub:acme/one, ../made/two]\nmethod: average\n")
    loaded = mg.load_recipe(file)
    assert (loaded.base, loaded.models[0].path, loaded.models[0].name) == ("hf://acme/base", "hf://acme/one", "one")
    assert mg.make_plan(loaded).models[1].path.samefile(tmp_path / "made" / "two")


@pytest.mark.parametrize("name", ["../escape.json", "/etc/passwd", "a\\b.json", "a//b.json"])
def test_a_hostile_listing_is_refused(hub: Hub, name: str) -> None:
    hub.repositories["acme/one"].files[name] = b"{}"
    with pytest.raises(SourceError, match="the hub's answer makes no sense"):
        mg.make_plan(recipe())


@pytest.mark.suite
def test_commands_take_names_of_the_hub(hub: Hub) -> None:
    from tests.helpers.commands import invoke

    given = ("--base", "acme/base", "--model", "acme/one", "--method", "average")
    refused = invoke("plan", *given, "--offline")
    assert refused.exit_code == 1 and "run once without --offline" in refused.output
    assert "acme/one on the hub, commit" in invoke("plan", *given).output
    merged = invoke("merge", *given, "--output", "merged", "--workers", "1")
    assert merged.exit_code == 0 and "merged 1 model by average" in merged.output


@pytest.mark.suite
def test_models_of_timm_and_open_clip_by_their_own_names(hub: Hub, tmp_path: Path) -> None:
    """`timm/...` and `hf-hub:` ids; the folders have no `model_type`, and open_clip's weights another file name."""
    import safetensors.torch

    for name, seed in (("base", 0), ("tuned", 1)):
        folder = write_model(tmp_path / "made" / "timm" / name, tuned(BASE, seed))
        (folder / "config.json").write_text('{"architecture": "vit_tiny", "pretrained_cfg": {"input_size": [3, 8, 8]}}')
        hub.add(f"timm/{name}", folder)
        clip = tmp_path / "made" / "clip" / name
        clip.mkdir(parents=True)
        safetensors.torch.save_file(tuned(BASE, seed), clip / "open_clip_model.safetensors")
        (clip / "open_clip_config.json").write_text('{"model_cfg": {}, "preprocess_cfg": {}}')
        hub.add(f"laion/{name}", clip)
    keys = {"method": "average", "workers": 1}
    record = mg.merge(base="timm/base", models=["hf-hub:timm/tuned"], output="t", **keys)
    assert record.digest == mg.merge(base="made/timm/base", models=["made/timm/tuned"], output="l", **keys).digest
    assert "architecture" in (tmp_path / "t" / "config.json").read_text()
    mg.merge(base="hf-hub:laion/base", models=["hf-hub:laion/tuned"], output="c", **keys)
    assert {"open_clip_model.safetensors", "open_clip_config.json"} <= {
        path.name for path in (tmp_path / "c").iterdir()
    }


def test_one_model_is_fetched_for_what_reads_it_alone(hub: Hub, tmp_path: Path) -> None:
    """As `mergeometry evaluate` does."""
    from mergeometry.plan.prepared import local_model
    from mergeometry.sources.access import Access

    folder = local_model("acme/two", "the model", Access())
    assert (folder / "model.safetensors").read_bytes() == (tmp_path / "made" / "two" / "model.safetensors").read_bytes()
    assert not (folder / "README.md").exists() and local_model("acme/two", "it", Access(offline=True)) == folder
    assert local_model("made/two", "it", Access()) == Path("made/two")
