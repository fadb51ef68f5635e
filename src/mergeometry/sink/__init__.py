"""Writes outputs: laid out beforehand, staged next to the target, published whole or not at all."""

from mergeometry.sink.adapter import (
    PREFIX,
    AdapterModule,
    adapter_config,
    adapter_tensor_names,
    adapter_tensors,
    factor_bias_name,
    token_rows_name,
)
from mergeometry.sink.card import model_card
from mergeometry.sink.files import FileSystem
from mergeometry.sink.folder_files import Sidecar
from mergeometry.sink.layout import FileLayout, Layout, OutputTensor, Slot, lay_out, weights_digest
from mergeometry.sink.lora_file import LORA_STEM, common_component, lora_tensors
from mergeometry.sink.parts import lay_out_parts
from mergeometry.sink.record import RunRecord, read_record, write_record
from mergeometry.sink.record_parts import (
    CopiedFile,
    InputRecord,
    LeftOut,
    MethodRecord,
    SidecarRecord,
    TensorRecord,
    Totals,
)
from mergeometry.sink.sidecars import (
    SidecarPlan,
    check_sidecars,
    copy_sidecars,
    sidecar_files,
    sidecar_notes,
    with_template,
    with_vocabulary,
)
from mergeometry.sink.staging import Staging
from mergeometry.sink.staging_place import remove_stale
from mergeometry.sink.state_folder import StateFolder, remove_state
from mergeometry.sink.target import is_single_file
from mergeometry.sink.versions import versions
from mergeometry.sink.writer import SlotWriter, safetensors_bytes, safetensors_pieces

__all__ = [
    "LORA_STEM",
    "PREFIX",
    "AdapterModule",
    "CopiedFile",
    "FileLayout",
    "FileSystem",
    "InputRecord",
    "Layout",
    "LeftOut",
    "MethodRecord",
    "OutputTensor",
    "RunRecord",
    "Sidecar",
    "SidecarPlan",
    "SidecarRecord",
    "Slot",
    "SlotWriter",
    "Staging",
    "StateFolder",
    "TensorRecord",
    "Totals",
    "adapter_config",
    "adapter_tensor_names",
    "adapter_tensors",
    "check_sidecars",
    "common_component",
    "copy_sidecars",
    "factor_bias_name",
    "is_single_file",
    "lay_out",
    "lay_out_parts",
    "lora_tensors",
    "model_card",
    "read_record",
    "remove_stale",
    "remove_state",
    "safetensors_bytes",
    "safetensors_pieces",
    "sidecar_files",
    "sidecar_notes",
    "token_rows_name",
    "versions",
    "weights_digest",
    "with_template",
    "with_vocabulary",
    "write_record",
]
