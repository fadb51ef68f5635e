"""Links, pipes and devices in the place of a model's files."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.helpers.hostile.trick import Setting, trick


def _in_place_of_weights(setting: Setting) -> Path:
    file = setting.model / "model.safetensors"
    shutil.move(file, setting.outside / "model.safetensors")
    return file


@trick("leaves the model's folder")
def link_out(setting: Setting) -> None:
    """A link to a file outside the folder, whose content would end up in an upload."""
    _in_place_of_weights(setting).symlink_to(setting.outside / "model.safetensors")


@trick("leaves the model's folder", file="config.json")
def link_to_a_secret(setting: Setting) -> None:
    """A configuration that is a link to a file of the machine."""
    (setting.model / "config.json").unlink()
    (setting.model / "config.json").symlink_to("/etc/hostname")


@trick("leads nowhere")
def link_to_itself(setting: Setting) -> None:
    """A link in a circle."""
    _in_place_of_weights(setting).symlink_to("model.safetensors")


@trick("got a pipe")
def pipe(setting: Setting) -> None:
    """A pipe that nobody writes to, on which a reader waits for ever."""
    os.mkfifo(_in_place_of_weights(setting))


@trick("leaves the model's folder|got a device")
def endless_device(setting: Setting) -> None:
    """A device that never ends."""
    _in_place_of_weights(setting).symlink_to("/dev/zero")


@trick("got a folder")
def folder_for_a_file(setting: Setting) -> None:
    """A folder where a file should be."""
    _in_place_of_weights(setting).mkdir()


@trick("another model's blobs|leaves the model's folder")
def link_into_another_cache(setting: Setting) -> None:
    """A hub cache whose link leads to the blobs of another model."""
    snapshot = setting.model / "models--a--b" / "snapshots" / "abc"
    other = setting.model / "models--c--d" / "blobs"
    snapshot.mkdir(parents=True)
    other.mkdir(parents=True)
    shutil.move(setting.model / "model.safetensors", other / "f")
    (snapshot / "model.safetensors").symlink_to("../../../models--c--d/blobs/f")
    setting.recipe["models"][1] = str(snapshot)
