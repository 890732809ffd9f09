"""Unit-length features of images and texts from any model; evaluation, scorers and the embedding guard use this encoder.

Threads decode images while the network runs; images are encoded in input order, `batch_size` at a time. The same
images in the same batches give identical features; other batches may change the last bits. With a cache, an image whose features
are stored is neither decoded nor encoded.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from bioclip.digests import digest_bytes, digest_value
from bioclip.encoding.feature_cache import FeatureCache, StoredDtype
from bioclip.errors import ModelError
from bioclip.models.clip import ClipModel, open_model
from bioclip.models.evaluation_transform import TransformName, prepare_image
from bioclip.models.reference import ModelIdentity, ModelRef
from bioclip.models.text_context import CutTexts, measure_texts
from bioclip.storage import Storage

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

Precision = Literal["fp32", "bf16"]
T = TypeVar("T")
_IMAGES_A_LOOKUP = 1024
_TEXTS_A_PART = 4096
"""Texts that are sorted by length together."""
_VERSION = 2
_MAX_NETWORKS = 2
_networks: OrderedDict[tuple[str, str], ClipModel] = OrderedDict()


@dataclass(frozen=True)
class EncodingOptions:
    """How images and texts are encoded. `transform` and `precision` decide the features, the others do not."""

    transform: TransformName = "exact"
    precision: Precision = "fp32"
    batch_size: int = 64
    num_threads: int = 0
    """Decoding threads; 0 decodes in the caller's."""


@dataclass(frozen=True)
class EncodedImages:
    """`ids` [N] and float32 `features` [N, D] of unit length, in input order; `undecodable` lists the ids without
    features; `num_encoded` counts the images encoded by the network; the others came from the cache."""

    ids: tuple[str, ...]
    features: NDArray[np.float32]
    undecodable: tuple[str, ...] = ()
    num_encoded: int = 0


@dataclass(frozen=True)
class Encoder:
    """A model on its device, in evaluation mode."""

    model: ClipModel
    options: EncodingOptions = EncodingOptions()
    cache: FeatureCache | None = None

    @property
    def device(self) -> torch.device:
        """Device of the network."""
        return next(self.model.network.parameters()).device

    @property
    def no_texts(self) -> str:
        """Why texts cannot be encoded; '' if they can."""
        return self.model.no_texts

    @property
    def logit_scale(self) -> float:
        """Factor on cosines before the softmax; raises ModelError for a model without text."""
        try:
            return float(self.model.network.get_parameter("logit_scale").detach().exp().item())
        except AttributeError:
            raise ModelError(f"the model has no logit scale: {self.model.no_texts}; choose tasks that need no texts.") from None

    def encode_images(self, images: Iterable[tuple[str, bytes]], progress: Callable[[int], None] = lambda num_done: None) -> EncodedImages:
        """Encode (id, encoded image) pairs; `progress` receives the number done. Raises ModelError for non-finite features."""
        ids: list[str] = []
        rows: list[NDArray[np.float32]] = []
        undecodable: list[str] = []
        num_encoded = num_done = 0
        size = self.options.batch_size
        for group in _batched(images, size * max(1, _IMAGES_A_LOOKUP // size)):
            named = [(name, digest_bytes(data) if self.cache else name, data) for name, data in group]
            known = self.cache.read([digest for _, digest, _ in named]) if self.cache else {}
            missing = list({digest: data for _, digest, data in named if digest not in known}.items())
            num_done += len(named) - len(missing)
            fresh: dict[str, NDArray[np.float32]] = {}
            for num_read, encoded in self._encode_missing(missing):
                fresh |= encoded if self.cache is None else self.cache.rounded(encoded)
                num_encoded += len(encoded)
                num_done += num_read
                progress(num_done)
            if self.cache:
                self.cache.write(fresh)
            found = known | fresh
            ids += [name for name, digest, _ in named if digest in found]
            rows += [found[digest] for _, digest, _ in named if digest in found]
            undecodable += [name for name, digest, _ in named if digest not in found]
        progress(num_done)
        features = np.stack(rows) if rows else np.empty((0, self._width()), np.float32)
        return EncodedImages(tuple(ids), features, tuple(undecodable), num_encoded)

    def measure_texts(self, texts: Sequence[str]) -> CutTexts | None:
        """How many of the distinct texts the model's context cuts; None if its tokenizer does not tell."""
        return measure_texts(self.model.tokenizer, texts)

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """float32 features [len(texts), D] of unit length. Texts with the same tokens, for example after a cut to the model's context, are
        encoded once, so their features are exactly the same.

        Raises ModelError for a model that encodes images only.
        """
        parts: list[NDArray[np.float32]] = []
        of_tokens: dict[bytes, int] = {}
        of_text: dict[str, int] = {}
        for batch in _batched(sorted(set(texts)), _TEXTS_A_PART):
            tokens = self.model.tokenizer(batch)
            new = []
            for position, (text, row) in enumerate(zip(batch, tokens.cpu().numpy(), strict=True)):
                key = blake2b(row.tobytes(), digest_size=16).digest()
                if key not in of_tokens:
                    of_tokens[key] = len(of_tokens)
                    new.append(position)
                of_text[text] = of_tokens[key]
            if new:
                parts.append(self._encode_tokens(tokens[new]))
        chosen: NDArray[np.float32] = np.concatenate(parts)[[of_text[text] for text in texts]]
        return chosen

    def _encode_missing(self, images: Sequence[tuple[str, bytes]]) -> Iterator[tuple[int, dict[str, NDArray[np.float32]]]]:
        """(images read, features by digest) of each batch."""
        preprocessing, transform = self.model.preprocessing, self.options.transform
        prepared = _map_threaded(lambda row: (row[0], prepare_image(row[1], preprocessing, transform)), images, self.options.num_threads)
        for batch in _batched(prepared, self.options.batch_size):
            good = [(digest, pixels) for digest, pixels in batch if pixels is not None]
            features = self.encode_pixels(np.stack([pixels for _, pixels in good])) if good else ()
            yield len(batch), dict(zip((digest for digest, _ in good), features, strict=True))

    def encode_pixels(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """float32 features [N, D] of unit length of uint8 images [N, 3, H, W] of the network's own size; raises as `encode_images`."""
        import torch

        from bioclip.models.towers import encode_images

        images = torch.from_numpy(pixels).to(self.device)
        return self._run(lambda: encode_images(self.model.network, self.model.normalise(images)))

    def _encode_tokens(self, tokens: torch.Tensor) -> NDArray[np.float32]:
        from bioclip.models.towers import encode_texts

        on_device = tokens.to(self.device)
        return self._run(lambda: encode_texts(self.model.network, on_device, self.options.batch_size))

    def _run(self, encode: Callable[[], torch.Tensor]) -> NDArray[np.float32]:
        import torch

        with torch.no_grad(), torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.options.precision == "bf16"):
            features = encode()
        if not bool(torch.isfinite(features).all()):
            raise ModelError("the model gives features that are not finite numbers; its weights are damaged: name or train another model.")
        values: NDArray[np.float32] = features.float().cpu().numpy()
        return values

    def _width(self) -> int:
        return int(self.model.config["model_cfg"]["embed_dim"])


def open_encoder(
    ref: ModelRef,
    options: EncodingOptions = EncodingOptions(),
    device: str = "auto",
    workspace: Storage | None = None,
    stored: StoredDtype | None = None,
) -> Encoder:
    """The encoder of `ref` on `device` (`auto`, `cpu` or `cuda`); each network is loaded once per process.

    With `stored`, features are kept in `workspace` as that type. Raises as `open_model` and `choose_device`.
    """
    from bioclip.models.devices import choose_device

    identity = ref.identity(workspace)
    key = (identity.digest, device)
    if key not in _networks:
        if len(_networks) >= _MAX_NETWORKS:
            _networks.popitem(last=False)
        _networks[key] = open_model(ref, workspace)
        _networks[key].network.to(choose_device(device)).eval()
    cache = FeatureCache(workspace, features_key(identity, options), stored) if stored and workspace is not None else None
    return Encoder(_networks[key], options, cache)


def features_key(identity: ModelIdentity, options: EncodingOptions) -> str:
    """SHA-256 of everything that determines an image's features except the image."""
    return digest_value(["features", _VERSION, identity.images_digest, options.transform, options.precision])


def _batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def _map_threaded(function: Callable[[Any], T], items: Sequence[Any], num_threads: int) -> Iterator[T]:
    """`map` in order, computing at most four results per thread ahead of the caller."""
    if not num_threads:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(num_threads) as pool:
        waiting: deque[Future[T]] = deque()
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > 4 * num_threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
