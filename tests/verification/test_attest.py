"""An output's provenance is a statement that in-toto reads, and its signature one that model-signing verifies."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

import mergeometry as mg
from tests.helpers.commands import invoke
from tests.helpers.models import random_tensors, tuned, write_family, write_model


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("attest")
    hub = folder / "hub" / "models--org--tuned" / "snapshots" / ("0a" * 20)
    inputs = write_family(folder, count=1)
    write_model(hub, tuned(random_tensors(0), 3))
    mg.merge({**inputs, "models": [*inputs["models"], str(hub)], "method": "ties"}, output=folder / "out")
    private, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    form = Encoding.PEM, PrivateFormat.PKCS8
    (folder / "private.pem").write_bytes(private.private_bytes(*form, NoEncryption()))
    (folder / "locked.pem").write_bytes(private.private_bytes(*form, BestAvailableEncryption(b"sesame")))
    for name, key in (("public", private), ("other-public", other)):
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (folder / f"{name}.pem").write_bytes(public)
    return folder


@pytest.fixture
def out(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written / "out", tmp_path / "out"))


def test_a_statement_names_every_file_and_no_folder_of_this_machine(out: Path, written: Path) -> None:
    done = invoke("provenance", out, "--json")
    made = json.loads(done.stdout)
    assert done.exit_code == 0 and json.loads((out / "mergeometry.intoto.json").read_text()) == made
    assert made["_type"] == "https://in-toto.io/Statement/v1"
    assert {one["name"]: one["digest"]["sha256"] for one in made["subject"]} == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in out.iterdir() if path.name != "mergeometry.intoto.json"
    }  # fmt: skip
    dependencies = {one["name"]: one for one in made["predicate"]["buildDefinition"]["resolvedDependencies"]}
    assert any(one.get("uri") == f"hf://org/tuned@{'0a' * 20}" for one in dependencies.values())
    assert str(written) not in json.dumps(made)
    assert mg.verify(out).ok, "a statement is no addition"


def test_in_toto_reads_the_statement(out: Path) -> None:
    from google.protobuf import json_format
    from in_toto_attestation.v1 import statement_pb2
    from in_toto_attestation.v1.statement import Statement

    invoke("provenance", out, "--quiet")
    message = json_format.Parse((out / "mergeometry.intoto.json").read_text(), statement_pb2.Statement())
    Statement.copy_from_pb(message).validate()


def test_nothing_is_attested_that_is_not_as_it_was_written(out: Path, written: Path) -> None:
    (out / "README.md").write_text("mine")
    for command in (["provenance", out], ["sign", out, "--key", written / "private.pem"]):
        done = invoke(*command)
        assert done.exit_code == 1 and "changed file README.md" in done.stderr
    assert not list(out.glob("*.intoto.json")) and not (out / "model.sig").exists()


def test_a_signature_that_the_formats_own_library_verifies(out: Path, written: Path) -> None:
    from model_signing import hashing, verifying

    assert invoke("sign", out, "--key", written / "private.pem").exit_code == 0
    assert mg.verify(out, key=written / "public.pem").ok
    config = verifying.Config().use_elliptic_key_verifier(public_key=written / "public.pem")
    config.set_hashing_config(hashing.Config().set_ignored_paths(paths=["model.sig"]))
    config.verify(out, out / "model.sig")
    signed = json.loads((out / "model.sig").read_text())
    assert signed["mediaType"].startswith("application/vnd.dev.sigstore.bundle")
    again = invoke("sign", out, "--key", written / "private.pem")
    assert again.exit_code == 0 and mg.verify(out, key=written / "public.pem").ok, "signed anew"


@pytest.mark.parametrize("tamper", ["record", "statement", "signature", "unsigned", "key", "added"])
def test_what_does_not_hold(tamper: str, out: Path, written: Path) -> None:
    invoke("sign", out, "--key", written / "private.pem")
    key = written / "public.pem"
    if tamper == "record":
        # What `verify` alone cannot see: the record is rewritten to say what the output is.
        record = json.loads((out / "mergeometry.json").read_text())
        record["recipe"]["seed"] = 7
        (out / "mergeometry.json").write_text(json.dumps(record))
        assert mg.verify(out).ok
    elif tamper == "statement":
        (out / "mergeometry.intoto.json").write_text("{}")
    elif tamper == "signature":
        (out / "model.sig").write_text("[" * 5000)
    elif tamper == "unsigned":
        (out / "model.sig").unlink()
    elif tamper == "added":
        (out / ".git").mkdir()
        (out / ".git" / "config").touch()
    else:
        key = written / "other-public.pem"
    found = mg.verify(out, key=key)
    assert any(one.name == "model.sig" for one in found.differences)
    assert invoke("verify", out, "--key", key).exit_code == 1


def test_keys(out: Path, written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "no.pem").write_text("no key")
    refused = {"no.pem": "cannot be used", "absent.pem": "cannot be read", "/dev/zero": "is not a file of a key"}
    os.mkfifo(tmp_path / "pipe.pem")
    refused["pipe.pem"] = "is not a file of a key"
    for key, words in refused.items():
        for command in (["sign", out], ["verify", out]):
            if command[0] == "verify":
                (out / "model.sig").touch()
            done = invoke(*command, "--key", tmp_path / key)
            assert done.exit_code == 1 and words in done.stderr, done.stderr
            (out / "model.sig").unlink(missing_ok=True)
    locked = ["sign", out, "--key", written / "locked.pem"]
    assert "cannot be used" in invoke(*locked).stderr
    monkeypatch.setenv("MERGEOMETRY_KEY_PASSWORD", "sesame")
    assert invoke(*locked).exit_code == 0 and mg.verify(out, key=written / "public.pem").ok


def test_links_in_the_place_of_what_is_written_are_replaced_and_not_followed(
    out: Path, written: Path, tmp_path: Path
) -> None:
    (tmp_path / "precious").write_text("mine")
    for name in ("model.sig", "mergeometry.intoto.json"):
        (out / name).symlink_to(tmp_path / "precious")
    assert invoke("sign", out, "--key", written / "private.pem").exit_code == 0
    assert mg.verify(out, key=written / "public.pem").ok and (tmp_path / "precious").read_text() == "mine"


def test_a_signature_that_is_no_file_is_none(out: Path, written: Path) -> None:
    place = out / "model.sig"
    for make in (os.mkfifo, lambda path: path.symlink_to("/dev/zero")):
        make(place)
        (difference,) = mg.verify(out, key=written / "public.pem").differences
        assert (difference.kind, difference.name) == ("missing", "model.sig")
        place.unlink()
