"""How much a generated text repeats itself, measured by its runs of ``n`` tokens, without a judge model.

Greedy text of a broken model falls into loops long before its perplexity looks broken (Holtzman et al., The Curious
Case of Neural Text Degeneration, ICLR 2020), so a merge is compared with what its experts and people write.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Tokens = Sequence[int]


def repeated_share(texts: Iterable[Tokens], n: int = 4) -> float | None:
    """Return the mean over texts of the share of runs of ``n`` tokens that occurred earlier in the same text.

    It is seq-rep-n of Welleck et al. (Neural Text Generation with Unlikelihood Training, ICLR 2020, section 6):
    ``1 - |unique runs| / |runs|``. Texts shorter than ``n`` have no run and are left out; None if all are.
    """
    shares = [1 - len(set(runs)) / len(runs) for runs in (_runs(text, n) for text in texts) if runs]
    return sum(shares) / len(shares) if shares else None


def distinct_share(texts: Iterable[Tokens], n: int = 2) -> float | None:
    """Return the number of different runs of ``n`` tokens in all texts together, divided by the number of runs.

    It is distinct-n of Li et al. (A Diversity-Promoting Objective Function for Neural Conversation Models, NAACL 2016,
    section 5.3), divided by runs instead of tokens, so that 1 can be reached. It is low for a model that answers every
    prompt alike. None if there is no run.
    """
    runs = [run for text in texts for run in _runs(text, n)]
    return len(set(runs)) / len(runs) if runs else None


def _runs(text: Tokens, n: int) -> list[tuple[int, ...]]:
    return [tuple(text[start : start + n]) for start in range(len(text) - n + 1)]
