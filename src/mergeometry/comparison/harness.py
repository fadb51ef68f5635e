"""Scores loaded weights by lm-evaluation-harness: its own requests, few-shot examples and metrics, our live model."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from typing import TYPE_CHECKING, Any

import torch

from mergeometry.comparison.harness_tasks import HarnessData
from mergeometry.encoders.causal import CausalEncoder
from mergeometry.errors import DataError, in_one_line
from mergeometry.inputs.extras import optional

if TYPE_CHECKING:
    from mergeometry.comparison.scorer import Scorer

BATCH = 8
"""Requests of one forward pass."""

_EXAMPLES_SEED = 1234
"""What the command of lm_eval draws few-shot examples by, unless told otherwise."""


def build_task(config: Mapping[str, Any]) -> Any:
    """lm_eval's own task of a configuration; its tables are read."""
    return optional("lm_eval.api.task", "lm-eval", "scoring by a task").ConfigurableTask(
        config=copy.deepcopy(dict(config))
    )


def score_documents(scorer: Scorer, data: HarnessData) -> list[float]:
    """The metric of each document under the weights as loaded.

    Raises:
        DataError: the model is no causal language model, or lm_eval fails.
    """
    encoder = scorer.encoder
    if not isinstance(encoder, CausalEncoder):
        raise DataError("tasks of lm-evaluation-harness are for causal language models", model=data.task)
    if encoder.tokens.last is None:
        raise DataError("the tokenizer has no token that ends a text, which lm_eval asks for", model=data.task)
    evaluator = optional("lm_eval.evaluator", "lm-eval", "scoring by a task")
    try:
        with sandboxed(), redirect_stderr(StringIO()):
            task = build_task(json.loads(data.config))
            if task.get_config("num_fewshot") is None:
                task.set_config(key="num_fewshot", value=0)
            task.set_fewshot_seed(seed=_EXAMPLES_SEED)
            # Its `simple_evaluate` first lists all tasks that come with lm_eval and every package that is installed.
            found = evaluator.evaluate(
                _live(scorer, encoder), {"tasks": {data.task: task}, "groups": {}}, limit=len(data.items),
                bootstrap_iters=0, log_samples=True,
            )  # fmt: skip
    # A template that does not fit a document ends in errors of every kind.
    except Exception as error:
        raise DataError(f"lm_eval cannot score the task: {in_one_line(error)}", model=data.task) from error
    samples = sorted(found["samples"][data.task], key=lambda sample: sample["doc_id"])
    return [float(sample[data.metric]) for sample in samples]


@contextmanager
def sandboxed() -> Iterator[None]:
    """Render the templates of tasks where they reach no Python objects, and keep lm_eval's log to its errors."""
    from jinja2 import StrictUndefined  # noqa: PLC0415
    from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: PLC0415

    utils = optional("lm_eval.utils", "lm-eval", "scoring by a task")
    own, log = utils.env, logging.getLogger("lm_eval")
    level = log.level
    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True)
    environment.filters.update(own.filters)
    utils.env = environment
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        utils.env = own
        log.setLevel(level)


def _live(scorer: Scorer, encoder: CausalEncoder) -> Any:
    """lm_eval's model, whose logits come from the weights as the scorer has loaded them."""
    huggingface = optional("lm_eval.models.huggingface", "lm-eval", "scoring by a task")

    class Live(huggingface.HFLM):
        def loglikelihood(self, requests: Any, disable_tqdm: bool = True) -> Any:
            return super().loglikelihood(requests, disable_tqdm=disable_tqdm)

        def _model_call(self, inps: Any, attn_mask: Any = None, labels: Any = None) -> Any:
            with torch.no_grad():
                return scorer.module(input_ids=inps, use_cache=False).logits @ scorer.output_layer().mT

    return Live(pretrained=encoder.module, tokenizer=encoder.tokens.tokenizer, backend="causal", batch_size=BATCH)
