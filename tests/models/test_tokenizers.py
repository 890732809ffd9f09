"""Tokenizers: each architecture of open_clip has its own or states which one it lacks, and files are read without `transformers`."""

from __future__ import annotations

import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bioclip.encoding.encoder import open_encoder
from bioclip.errors import ModelError
from bioclip.models.clip import _from_config, import_open_clip, open_model, save_model
from bioclip.models.reference import ModelRef
from bioclip.models.text_context import measure_texts
from bioclip.models.tokenizers import FileTokenizer, check_text_tower, open_tokenizer
from bioclip.storage import Storage

CORPUS = [
    "a photo of Quercus robur, the pedunculate oak.",
    "a photo of Parus major, the great tit, on a branch of Quercus robur.",
    "Animalia Chordata Aves Passeriformes Paridae Cyanistes caeruleus",
    "Fungi Basidiomycota Agaricomycetes Boletales Boletaceae Boletus edulis",
]
LONG = " ".join(CORPUS * 3)
SIGLIP2 = "timm/ViT-B-32-SigLIP2-256"
TEXT_CFG: dict[str, Any] = {
    "context_length": 32,
    "vocab_size": 300,
    "hf_tokenizer_name": SIGLIP2,
    "tokenizer_kwargs": {"clean": "canonicalize"},
    "width": 32,
    "heads": 2,
    "layers": 2,
    "no_causal_mask": True,
    "proj_bias": True,
    "pool_type": "last",
    "norm_kwargs": {"eps": 1e-6},
    "act_kwargs": {"approximate": "tanh"},
}
"""The text tower of open_clip's SigLIP2 configurations, small."""
SIGLIP_LIKE: dict[str, Any] = {
    "embed_dim": 32,
    "init_logit_bias": -10,
    "custom_text": True,
    "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 32, "layers": 2, "head_width": 16},
    "text_cfg": TEXT_CFG,
}


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a cache of this machine nor the network decides a test."""
    monkeypatch.setattr("bioclip.models.tokenizers._from_hub", lambda name, may_download: None)


@pytest.fixture(scope="module")
def tokenizer_json(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of a byte-pair tokenizer that puts `<eos>` behind each text, as SigLIP2's does."""
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token="<unk>"))  # noqa: S106
    made.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=300, special_tokens=["<pad>", "<eos>", "<bos>", "<unk>"], show_progress=False)
    made.train_from_iterator(CORPUS, trainer)
    made.post_processor = tokenizers.processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 1)])
    folder = tmp_path_factory.mktemp("tokenizer")
    made.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"pad_token": {"content": "<pad>"}, "eos_token": "<eos>"}))
    return folder


def given(folder: Path, config: dict[str, Any] | None = None) -> Any:
    return open_tokenizer("local-dir:unused", config or SIGLIP_LIKE, folder)


def test_every_architecture_has_its_tokenizer_or_states_the_one_it_lacks_with_the_remedy() -> None:
    found: Counter[str] = Counter()
    names = import_open_clip().list_models()
    for name in names:
        config = import_open_clip().get_model_config(name)
        text_cfg = config.get("text_cfg", {})
        try:
            check_text_tower(config)
            tokenizer = open_tokenizer(name, config)
        except ModelError as error:
            sentence = str(error)
            assert repr(text_cfg["hf_tokenizer_name"]) in sentence
            assert "pip install" in sentence
            assert "\n" not in sentence
            assert ". " not in sentence, "one sentence"
            found["transformers" if "hf_model_name" in text_cfg else "files"] += 1
        else:
            assert tokenizer(["Quercus robur"]).shape == (1, text_cfg.get("context_length", 77))
            found["own"] += 1
    assert found.total() == len(names)
    assert found["own"] >= 90
    assert found["files"] >= 30


def test_a_text_tower_of_transformers_is_refused_by_the_name_of_what_is_missing() -> None:
    with pytest.raises(ModelError, match=r"text tower 'roberta-base' .* pip install transformers\."):
        _from_config({"model_cfg": {"embed_dim": 8, "text_cfg": {"hf_model_name": "roberta-base"}}, "preprocess_cfg": {}})


def test_ids_are_those_of_the_file_cut_and_padded_to_the_context(tokenizer_json: Path) -> None:
    import tokenizers

    ours, theirs = given(tokenizer_json), tokenizers.Tokenizer.from_file(str(tokenizer_json / "tokenizer.json"))
    theirs.enable_truncation(32)
    theirs.enable_padding(length=32, pad_id=0, pad_token="<pad>")  # noqa: S106
    clean = import_open_clip().tokenizer.get_clean_fn("canonicalize")
    texts = [*CORPUS, LONG, ""]
    assert ours(texts).tolist() == [theirs.encode(clean(text)).ids for text in texts]
    assert ours([LONG])[0, -1] == 1, "a text that is cut keeps its end"
    counts = measure_texts(ours, texts)
    assert counts is not None
    assert (counts.num_cut, counts.context_length) == (1, 32)
    assert counts.longest > 60


def test_a_separator_is_blank_where_the_configuration_strips_it(tokenizer_json: Path, tmp_path: Path) -> None:
    for file in tokenizer_json.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"pad_token": "<pad>", "sep_token": "<eos>"}))
    stripping = {"text_cfg": TEXT_CFG | {"tokenizer_kwargs": {"clean": "canonicalize", "strip_sep_token": True}}}
    plain, stripped = given(tokenizer_json)(CORPUS), given(tmp_path, stripping)(CORPUS)
    assert torch.equal(stripped, torch.where(plain == 1, 0, plain))
    assert (plain == 1).any()


def test_a_sentencepiece_model_is_read_as_siglip_has_it(tmp_path: Path) -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    model = io.BytesIO()
    options = {"vocab_size": 60, "pad_id": 0, "eos_id": 1, "bos_id": 2, "unk_id": 3, "minloglevel": 2}
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(CORPUS), model_writer=model, **options)
    (tmp_path / "spiece.model").write_bytes(model.getvalue())
    pieces = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    ids = pieces.encode("a photo of quercus robur")
    second, first = (given(tmp_path, {"text_cfg": TEXT_CFG | {"hf_tokenizer_name": name}}) for name in (SIGLIP2, "timm/ViT-B-16-SigLIP"))
    assert second(["A photo of Quercus robur."])[0].tolist() == [*ids, 1, *[0] * (31 - len(ids))]
    assert first(["A photo of Quercus robur."])[0].tolist() == [*ids, 1, *[1] * (31 - len(ids))], "SigLIP pads with the end token"
    assert second([LONG])[0, -1] == 1
    with pytest.raises(ModelError, match=r"'xlm-roberta-base' numbers its tokens otherwise .* put its tokenizer\.json there"):
        given(tmp_path, {"text_cfg": TEXT_CFG | {"hf_tokenizer_name": "xlm-roberta-base"}})


def test_a_siglip2_tower_encodes_texts_with_the_tokenizer_beside_its_weights(tokenizer_json: Path, tmp_path: Path) -> None:
    made = _from_config({"model_cfg": SIGLIP_LIKE, "preprocess_cfg": {}})
    assert SIGLIP2 in made.no_texts
    save_model(Storage(str(tmp_path)), "model", made)
    refused = open_encoder(ModelRef.parse(str(tmp_path / "model")))
    with pytest.raises(ModelError, match=rf"encodes images only: its tokenizer is '{SIGLIP2}' .* tokenizer\.json .* another model\."):
        refused.encode_texts(CORPUS)
    for file in tokenizer_json.iterdir():
        (tmp_path / "model" / file.name).write_bytes(file.read_bytes())
    encoder = open_encoder(ModelRef.parse(str(tmp_path / "model")))
    assert encoder.no_texts == ""
    assert isinstance(encoder.model.tokenizer, FileTokenizer)
    features = encoder.encode_texts(CORPUS)
    with torch.no_grad():
        expected = made.network.eval().encode_text(given(tokenizer_json)(CORPUS), normalize=True)  # type: ignore[operator]
    assert np.abs(features - expected.numpy()).max() < 1e-6
    assert len(np.unique(features.round(6), axis=0)) == len(CORPUS)


def test_the_tokenizer_beside_a_checkpoint_is_used_and_is_part_of_the_identity(
    tokenizer_json: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = _from_config({"model_cfg": SIGLIP_LIKE, "preprocess_cfg": {}})
    torch.save(made.network.state_dict(), tmp_path / "weights.pt")
    ref = ModelRef("checkpoint", "small", str(tmp_path / "weights.pt"), architecture=json.dumps(SIGLIP_LIKE))
    before = ref.identity()
    assert open_model(ref).no_texts
    for file in tokenizer_json.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    assert open_model(ref).tokenizer(CORPUS).tolist() == given(tokenizer_json)(CORPUS).tolist()
    after = ref.identity()
    assert after.tokenizer != before.tokenizer
    assert after.images_digest == before.images_digest


def test_a_damaged_or_incomplete_tokenizer_is_one_sentence(tokenizer_json: Path, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ModelError, match=rf"tokenizer file tokenizer\.json cannot be read .*: copy it from '{SIGLIP2}' again"):
        given(tmp_path)
    stated = json.loads((tokenizer_json / "tokenizer.json").read_text())
    changed = json.dumps(stated).replace("<pad>", "<padding>")
    (tmp_path / "tokenizer.json").write_text(changed)
    with pytest.raises(ModelError, match=r"names no padding: put its tokenizer_config\.json beside tokenizer\.json"):
        given(tmp_path)
