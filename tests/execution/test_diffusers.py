"""LoRA files of diffusion models: merged as diffusers' own live models run them, and read by diffusers again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

import mergeometry as mg
from mergeometry.conventions.lora_aliases import aliases

diffusers = pytest.importorskip("diffusers")
peft = pytest.importorskip("peft")

pytestmark = [pytest.mark.suite, pytest.mark.filterwarnings("ignore")]


def tiny_unet() -> Any:
    """A UNet with the parts of SDXL's."""
    torch.manual_seed(0)
    return diffusers.UNet2DConditionModel(
        sample_size=8, block_out_channels=(8, 16), layers_per_block=2, norm_num_groups=4, cross_attention_dim=12,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=4, addition_embed_type="text_time", addition_time_embed_dim=2, use_linear_projection=True,
        projection_class_embeddings_input_dim=16,
    ).eval()  # fmt: skip


def tiny_flux() -> Any:
    torch.manual_seed(0)
    return diffusers.FluxTransformer2DModel(
        in_channels=4, num_layers=2, num_single_layers=2, attention_head_dim=8, num_attention_heads=2,
        joint_attention_dim=12, pooled_projection_dim=10, axes_dims_rope=(2, 2, 4), guidance_embeds=True,
    ).eval()  # fmt: skip


def run(model: Any) -> Tensor:
    generator = torch.Generator().manual_seed(3)

    def noise(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    with torch.no_grad():
        if isinstance(model, diffusers.UNet2DConditionModel):
            added = {"text_embeds": noise(1, 4), "time_ids": noise(1, 6)}
            return model(noise(1, 4, 8, 8), torch.tensor([7]), noise(1, 5, 12), added_cond_kwargs=added).sample
        return model(
            noise(1, 6, 4), noise(1, 5, 12), noise(1, 10), torch.tensor([0.5]), torch.zeros(6, 3), torch.zeros(5, 3),
            torch.tensor([3.0]),
        ).sample  # fmt: skip


def merged(base: Path, files: list[Path], output: Path) -> Tensor:
    mg.merge(base=base, models=files, method="task_arithmetic", output=output, workers=1)
    kind = "UNet2DConditionModel" if base.name == "unet" else "FluxTransformer2DModel"
    return run(getattr(diffusers, kind).from_pretrained(output).eval())


def weights_of(model: Any) -> dict[str, tuple[int, ...]]:
    """The shapes of all modules' weights that are no vectors."""
    named = ((name, getattr(module, "weight", None)) for name, module in model.named_modules())
    return {name: tuple(weight.shape) for name, weight in named if weight is not None and weight.dim() > 1}


def same(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_a_file_of_diffusers_is_folded_as_it_runs_live_and_two_become_one(tmp_path: Path) -> None:
    tiny_unet().save_pretrained(tmp_path / "unet")
    settings = [
        {"r": 3, "lora_alpha": 6, "target_modules": ["to_q", "to_out.0", "conv1", "conv_shortcut"]},
        {"r": 2, "lora_alpha": 1, "use_rslora": True, "target_modules": ["to_k", "to_q", "conv2"]},
        {"r": 2, "target_modules": ["to_q", "conv1"], "use_dora": True},
    ]
    files = []
    for number, given in enumerate(settings):
        live = tiny_unet()
        live.add_adapter(peft.LoraConfig(init_lora_weights=False, **given))
        live.save_lora_adapter(tmp_path / f"a{number}")
        files.append(tmp_path / f"a{number}")
        wanted = run(live)
        same(merged(tmp_path / "unet", files[-1:], tmp_path / f"f{number}"), wanted)
        assert (wanted - run(tiny_unet())).abs().max() > 0.1
    wanted = merged(tmp_path / "unet", files[:2], tmp_path / "folded")
    loader = diffusers.loaders.StableDiffusionXLLoraLoaderMixin
    for layout in ("diffusers", "kohya"):
        recipe = {"base": tmp_path / "unet", "models": files[:2], "method": "task_arithmetic"}
        place = tmp_path / f"{layout}.safetensors"
        mg.merge({**recipe, "output": {"adapter": {"format": layout}}}, place, workers=1)
        live = tiny_unet()
        state, alphas = loader.lora_state_dict(tmp_path, weight_name=place.name, unet_config=live.config)
        loader.load_lora_into_unet(state, network_alphas=alphas, unet=live, adapter_name="merged")
        same(run(live), wanted)


def test_kohya_names_of_the_original_sdxl_fit_the_unet_of_diffusers(tmp_path: Path) -> None:
    base = tiny_unet()
    base.save_pretrained(tmp_path / "unet")
    shapes = {
        name: tuple(one.weight.shape) for name, one in base.named_modules() if getattr(one, "weight", None) is not None
    }
    generator, tensors = torch.Generator().manual_seed(1), {}
    for original, (target,) in aliases(shapes).items():
        if "attentions" not in target.module or len(shapes[target.module]) != 2:
            continue  # diffusers maps the names of attentions alone
        rows, columns = shapes[target.module]
        place = f"lora_unet_{original.replace('.', '_')}"
        tensors[f"{place}.lora_down.weight"] = torch.randn(2, columns, generator=generator)
        tensors[f"{place}.lora_up.weight"] = 0.1 * torch.randn(rows, 2, generator=generator)
        tensors[f"{place}.alpha"] = torch.tensor(1.0)
    assert len(tensors) > 100
    safetensors.torch.save_file(tensors, tmp_path / "kohya.safetensors")
    loader = diffusers.loaders.StableDiffusionXLLoraLoaderMixin
    state, alphas = loader.lora_state_dict(tmp_path, weight_name="kohya.safetensors", unet_config=base.config)
    loader.load_lora_into_unet(state, network_alphas=alphas, unet=base, adapter_name="kohya")
    same(merged(tmp_path / "unet", [tmp_path / "kohya.safetensors"], tmp_path / "out"), run(base))


def test_kohya_names_of_the_original_flux_fit_the_transformer_of_diffusers(tmp_path: Path) -> None:
    base = tiny_flux()
    base.save_pretrained(tmp_path / "transformer")
    shapes = {
        name: tuple(one.weight.shape) for name, one in base.named_modules() if getattr(one, "weight", None) is not None
    }
    generator, tensors = torch.Generator().manual_seed(1), {}
    for original, targets in aliases(shapes).items():
        if not original.startswith(("double_blocks", "single_blocks")) or original.endswith("linear1"):
            continue  # diffusers splits `linear1` by the sizes of the real Flux alone
        rows, columns = sum(shapes[target.module][0] for target in targets), shapes[targets[0].module][1]
        place = f"lora_unet_{original.replace('.', '_')}"
        tensors[f"{place}.lora_down.weight"] = torch.randn(2, columns, generator=generator)
        tensors[f"{place}.lora_up.weight"] = 0.3 * torch.randn(rows, 2, generator=generator)
        tensors[f"{place}.alpha"] = torch.tensor(1.0)
    safetensors.torch.save_file(tensors, tmp_path / "kohya.safetensors")
    untouched = run(base)
    loader = diffusers.loaders.FluxLoraLoaderMixin
    state, alphas = loader.lora_state_dict(tmp_path, weight_name="kohya.safetensors", return_alphas=True)
    loader.load_lora_into_transformer(state, network_alphas=alphas, transformer=base, adapter_name="kohya")
    wanted = run(base)
    assert (wanted - untouched).abs().max() > 0.05
    same(merged(tmp_path / "transformer", [tmp_path / "kohya.safetensors"], tmp_path / "out"), wanted)
    recipe = {"base": tmp_path / "transformer", "models": [tmp_path / "kohya.safetensors"], "method": "task_arithmetic"}
    mg.merge({**recipe, "output": {"adapter": {"format": "diffusers"}}}, tmp_path / "again", workers=1)
    live = tiny_flux()
    weights = tmp_path / "again" / "pytorch_lora_weights.safetensors"
    live.load_lora_adapter(safetensors.torch.load_file(weights), prefix="transformer")
    same(run(live), wanted)
