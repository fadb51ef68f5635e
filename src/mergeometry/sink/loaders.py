"""Which class of which library loads an output, as its model card shows it."""

from __future__ import annotations

_TASKS = (
    ("LMHeadModel", "ForCausalLM"),
    ("ForCausalLM", "ForCausalLM"),
    ("ForConditionalGeneration", "ForSeq2SeqLM"),
    ("ForMaskedLM", "ForMaskedLM"),
    ("ForSequenceClassification", "ForSequenceClassification"),
    ("ForTokenClassification", "ForTokenClassification"),
    ("ForQuestionAnswering", "ForQuestionAnswering"),
    ("ForImageClassification", "ForImageClassification"),
)
"""Ends of a class's name in Transformers, and what the class that finds it is called after ``AutoModel``."""
_PEFT_TASKS = frozenset(
    {"ForCausalLM", "ForSeq2SeqLM", "ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering"}
)
_PLAIN_SEQ2SEQ = (
    "T5",
    "MT5",
    "UMT5",
    "LongT5",
    "Bart",
    "MBart",
    "Pegasus",
    "Marian",
    "M2M100",
    "BigBird",
    "Led",
    "LED",
)

_SPEECH = ("Whisper", "Speech2Text", "Moonshine")


def loader_of(library: str | None, architecture: str) -> tuple[str, str] | None:
    """The import and the call that load an output; None where no library is known to.

    ``architecture`` is the base's class in Transformers, or nothing where its configuration does not name it.
    """
    if library == "sentence-transformers":
        return "from sentence_transformers import SentenceTransformer", "SentenceTransformer"
    if library not in {"transformers", "peft"}:
        return None
    task = next((task for end, task in _TASKS if architecture.endswith(end)), "")
    if task == "ForSeq2SeqLM" and architecture.startswith(_SPEECH):
        task = "ForSpeechSeq2Seq"
    elif task == "ForSeq2SeqLM" and not architecture.startswith(_PLAIN_SEQ2SEQ):
        task = "ForImageTextToText"
    name = f"AutoModel{task}"
    if library == "peft":
        name = f"AutoPeftModel{task if task in _PEFT_TASKS else ''}"
    return f"from {library} import {name}", f"{name}.from_pretrained"
