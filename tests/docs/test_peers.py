"""The page on peers names all that they list, and nothing that we do not have."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mergeometry.methods import registry

PAGE = (Path(__file__).parents[2] / "docs" / "peers.md").read_text(encoding="utf-8")
MERGEKIT = """
    arcee_fusion breadcrumbs breadcrumbs_ties dare_linear dare_ties della della_linear karcher linear model_stock
    multislerp nearswap nuslerp passthrough ram ramplus_tl sce slerp task_arithmetic ties
    bakllama mergekit-evolve mergekit-extract-lora mergekit-layershuffle mergekit-legacy mergekit-moe mergekit-multi
    mergekit-pytorch mergekit-tokensurgeon mergekit-yaml
"""
"""What `mergekit.merge_methods.registered_methods()` and its entry points list in 0.1.5."""
FUSION_BENCH = """
    AdaSVDMergingForCLIPVisionModel BaseAlgorithm BaseModelFusionAlgorithm BitDeltaAlgorithm
    BradleyTerryRewardModeling CLIPLayerWiseAdaMergingAlgorithm CLIPLayerWiseGossipAlgorithm CLIPRankOneMoEAlgorithm
    CLIPTaskWiseAdaMergingAlgorithm CLIPTaskWiseGossipAlgorithm CLIPWeightEnsemblingMoEAlgorithm
    ConcreteLayerWiseAdaMergingForCLIP ConcreteSafeLayerWiseAdaMergingForCLIP ConcreteSafeTaskWiseAdaMergingForCLIP
    ConcreteTaskArithmeticAlgorithmForCLIP ConcreteTaskWiseAdaMergingForCLIP ContinualDOPForCLIP
    ContinualImageClassificationFineTuningForCLIP DOGE_TA_Algorithm DareSimpleAverage DareTaskArithmetic
    DareTiesMerging DataAdaptiveWeightEnsemblingForCLIP DepthUpscalingAlgorithm DepthUpscalingForLlama
    DummyAlgorithm DynamicSkippingPruningForMixtral ExPOAlgorithm ExPOAlgorithmForLlama FisherMergingAlgorithm
    FisherMergingAlgorithmForGPT2 FisherMergingForCLIPVisionModel FlanT5LayerWiseAdaMergingAlgorithm
    FlanT5LayerWiseGossipAlgorithm FlanT5WeightEnsemblingMoEAlgorithm FrankWolfeHardAlgorithm
    FrankWolfeSoftAlgorithm FullFinetuneSFT GPT2LayerWiseAdaMergingAlgorithm ISO_CTS_Merge ISO_C_Merge
    ImageClassificationFineTuning ImageClassificationFineTuningForCLIP ImageClassificationFineTuning_Test
    IsotropicMergingInCommonAndTaskSubspace IsotropicMergingInCommonSubspace IterativeSparseLoForLlama
    LayerWiseAdaMergingForLlamaSFT LayerWisePruningForMixtral LinearInterpolationAlgorithm MagMaxAlgorithm
    MagnitudeDiffPruningAlgorithm MagnitudePruningForLlama MaxModelPredictorAlgorithm
    MixtralForCausalLMMergingAlgorithm MixtralForCausalLMUpscalingAlgorithm MixtralMoEMergingAlgorithm
    MixtralUpscalingAlgorithm ModelRecombinationAlgorithm ModelStock OPCMForCLIP PCPSparseLoForLlama
    PWEMoELinearScalarizationForCLIP PWEMoExactParetoOptimalForCLIP PeftFinetuneSFT PostDefenseAWMAlgorithmForCLIP
    PostDefenseSAUAlgorithmForCLIP ProgressivePruningForMixtral RandomPruningForLlama RankOneMoEAlgorithm
    RegMeanAlgorithmForCLIP RegMeanAlgorithmForCLIPPlusPlus RegMeanAlgorithmForGPT2 RegMeanAlgorithmPlusPlus
    ResNetLayerWiseAdamerging ResNetTaskWiseAdamerging SimpleAverageAlgorithm SimpleAverageForCausalLM
    SimpleAverageForLlama SimpleEnsembleAlgorithm SingularProjectionMergingAlgorithm SlerpForCausalLM
    SlerpMergeAlgorithm SmileUpscalingAlgorithm SparseCLIPWeightEnsemblingMoEAlgorithm SparseGPTPruningForLlama
    SparseLoForLlama SparseWeightEnsemblingMoEAlgorithm TallMaskTaskArithmeticAlgorithm TaskArithmeticAlgorithm
    TaskArithmeticForCausalLM TaskArithmeticForLlama TaskSingularVectorMerging TaskVectorCosSimilarity
    TaskVectorViolinPlot TiesMergingAlgorithm TiesMergingForCausalLM WUDIMerging WandaPruningForLlama
    WeightedAverageAlgorithm WeightedAverageForLLama WeightedEnsembleAlgorithm magmax_merge wudi_merging
"""
"""What `fusion_bench.method._import_structure` lists in 0.2.33."""
PEFT = """
    svd linear cat ties ties_svd dare_ties dare_linear dare_ties_svd dare_linear_svd magnitude_prune magnitude_prune_svd
"""
"""The combinations of `add_weighted_adapter` in 0.21."""


@pytest.mark.parametrize(
    ("title", "names"),
    [("mergekit", MERGEKIT), ("FusionBench", FUSION_BENCH), ("PEFT's combinations", PEFT)],
    ids=["mergekit", "fusion_bench", "peft"],
)
def test_the_page_names_all_that_a_peer_lists(title: str, names: str) -> None:
    section = PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    first = {name for row in section.splitlines() if row.startswith("| ") for name in named(row.split("|")[1])}
    assert not set(names.split()) - first
    assert not {name for name in first if name.isidentifier() or "-" in name} - set(names.split()) - {"base"}


def test_ours_beyond_mergekits_are_all_ours() -> None:
    beyond = PAGE.partition("Ours beyond these:")[2].partition("and the refinements")[0]
    theirs = {"average", "dare"} | set(MERGEKIT.split()) | set(PEFT.split())
    assert sorted(named(beyond)) == sorted(set(registry.own()) - theirs)


def test_links_lead_to_methods_that_exist() -> None:
    linked = set(re.findall(r"methods\.md#([a-z_]+)\)", PAGE)) - {"svc"}
    assert linked <= set(registry.own()) | {"mergekits-methods"}


def named(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)
