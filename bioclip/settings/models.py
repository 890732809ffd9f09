"""Models, training and evaluation."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from bioclip.settings.base import CaptionType, Settings, operational, rule
from bioclip.settings.safeguards import DivergenceSettings, ProbeSettings
from bioclip.settings.training_data import CaptionPhaseSettings, CaptionTypes, DataStreamSettings


class ModelSettings(Settings):
    """Architecture and initial weights of a CLIP model, built by open_clip's factory."""

    name: str = "ViT-B-16"
    """An architecture of open_clip, or any name together with `architecture`."""
    architecture: dict[str, Any] = {}
    """open_clip's model configuration (`embed_dim`, `vision_cfg`, `text_cfg`); empty: open_clip's own of that name."""
    pretrained: str = ""
    """Initial weights: a local checkpoint, the folder of an open_clip model, an open_clip tag or a hub id (`hf-hub:…`);
    empty: random from the seed."""
    resize_mode: Literal["", "shortest", "longest", "squash"] = ""
    """How a whole image is made square outside training: `shortest` resizes the shorter side and crops the centre, `longest` resizes
    the longer side and pads, `squash` changes the aspect; empty: the setting of the initial model, or `shortest`."""
    image_size: int = rule(0, ge=0)
    """Side of the images in pixels, if not the model's own (0): position embeddings are resampled, to continue at another size."""


class AdaptationSettings(Settings):
    """The part of the network that is trained; the logit scale and bias always are."""

    image: Literal["all", "projection", "lora", "none"] = "all"
    """Image tower: `all` of it, its last `projection`, low-rank updates of queries and values (`lora`), or `none`."""
    text: Literal["all", "projection", "lora", "none"] = "all"
    """Text tower, likewise."""
    lora_rank: int = Field(8, gt=0)
    """Rank of the updates."""
    lora_alpha: float = Field(16.0, gt=0, allow_inf_nan=False)
    """Updates are multiplied by alpha / rank."""


class ObjectiveSettings(Settings):
    """One of the objectives whose sum training minimises."""

    name: str = "clip"
    """A registered objective, e.g. `clip`, or a `module:function` of your own."""
    weight: float = Field(1.0, gt=0, allow_inf_nan=False)
    """Factor on its loss."""
    options: dict[str, Any] = {}
    """Options of the objective."""


class TrainingSettings(Settings):
    """One training run."""

    recipe: str = "demo_cpu"
    """Name of the recipe that gave these values."""
    model: ModelSettings = ModelSettings()
    """Architecture and initial weights."""
    adaptation: AdaptationSettings = rule(AdaptationSettings())
    """The part of the network that is trained."""
    objectives: tuple[ObjectiveSettings, ...] = Field((ObjectiveSettings(),), min_length=1)
    """Training minimises the weighted sum of these objectives."""
    split: Literal["train", "train_small"] = rule("train")
    """Training split if `data` is empty: all of `train`, or the subset listed by a release with `release.train_small_fraction`."""
    data: tuple[DataStreamSettings, ...] = rule(())
    """Streams of samples, each with its share of every batch; empty: `split` of the release that the run was given."""
    caption_types: CaptionTypes = ("sci", "com", "taxon", "sci_com", "taxon_com")
    """Drawn per sample and epoch, as BioCLIP mixes five types (it draws per batch). Any text member of the release's shards: BioCLIP's ten,
    `description`, and `com.<code>` and `common_name.<code>` of a language. A list is drawn uniformly, a mapping by its weights."""
    caption_schedule: tuple[CaptionPhaseSettings, ...] = rule(())
    """Other caption types for later parts of the run."""
    max_cut_share: float = operational(0.5, ge=0, le=1)
    """Training is refused if more than this share of the distinct captions of a type is longer than the model's text context and would be
    cut; lower shares are counted in the log and in `model.json`."""
    caption_fallback: CaptionType = rule("taxon_com")
    """Type for a sample without the drawn one, e.g. if its species has no description; such samples are counted."""
    num_steps: int = Field(1000, gt=0)
    """Optimizer steps."""
    batch_size: int = Field(256, gt=1)
    """Image-text pairs per step, over all processes."""
    learning_rate: float = Field(1e-4, gt=0)
    """Peak of the cosine schedule."""
    warmup_steps: int = Field(100, ge=0)
    """Linear warm-up."""
    weight_decay: float = Field(0.2, ge=0)
    """AdamW decay; none on biases, norms and the logit scale."""
    adam_betas: tuple[float, float] = (0.9, 0.98)
    """AdamW's betas."""
    adam_epsilon: float = Field(1e-6, gt=0)
    """AdamW's epsilon."""
    max_grad_norm: float = Field(1.0, ge=0)
    """Gradient norm is clipped to this; 0 disables clipping."""
    ema_decay: float = rule(0.0, ge=0, lt=1)
    """Above 0, the finished model is the exponential moving average of the weights with this decay, e.g. 0.999, and less in the first
    steps."""
    mix_with_start: bool = rule(False)
    """Finish with the mixture of the initial and the trained weights that `probes.best_metric` finds best on images of `val` (WiSE-FT)."""
    precision: Literal["fp32", "tf32", "bf16"] = "fp32"
    """Arithmetic of the forward and backward pass; weights stay fp32. `tf32` is fp32 with products of 10-bit mantissas on GPUs, and is fp32
    on CPUs; with `bf16`, what stays in fp32 uses them too."""
    min_crop_area: float = Field(0.9, gt=0, le=1)
    """Least area of the random crop (BioCLIP: 0.9)."""
    decoder: Literal["exact", "fast", "scaled"] = "fast"
    """Transform from a JPEG to pixels: `exact` is Pillow's, as open_clip's; `fast` differs from it by less than the noise of a camera
    (at least 43 dB); `scaled` decodes at 1/2, 1/4 or 1/8 of the size where enough pixels remain (down to 28 dB)."""
    order: Literal["auto", "sample", "block"] = rule("auto")
    """`sample` draws from all of a stream; `block` from `window_shards` tars at a time, each read as a whole; `auto`: `block` for a stream
    of more than 64 GiB."""
    window_shards: int = rule(64, gt=0)
    """Tars that the order `block` draws from at a time."""
    max_unreadable_samples: int = operational(100, ge=0)
    """Samples that may be unreadable; each is replaced by the next of its epoch, counted and named. One more ends the run."""
    horizontal_flip: bool = False
    """Mirror half of the images at random."""
    num_crops: int = rule(0, ge=0)
    """Crops and captions of a sample before they repeat, as an objective with stored features of a teacher needs; 0: they are new in each
    epoch."""
    seed: int = 42
    """Seed of initial weights, order of samples, crops and caption types."""
    device: str = operational("auto")
    """`auto`, `cpu` or `cuda`."""
    num_processes: int = operational(1, gt=0)
    """Processes started by torchrun when above 1."""
    num_threads: int = operational(0, ge=0)
    """CPU threads of torch; 0: torch's default."""
    grad_checkpointing: bool = operational(False)
    """Compute activations a second time in the backward pass: about a third more time for several times less memory, same gradients."""
    grad_checkpoint_every: int = operational(1, gt=0)
    """With `grad_checkpointing`, every how many transformer blocks one is computed again: 1 all, 2 half of them."""
    micro_batch_size: int = operational(0, ge=0)
    """Pairs of one process that are encoded at once; the loss is still that of the whole batch (GradCache). Each pair is encoded a second
    time, and memory for activations is that of so many pairs. 0: the whole batch at once."""
    parallelism: Literal["ddp", "fsdp"] = operational("ddp")
    """With several processes, `ddp` keeps the whole model in each, `fsdp` a part of the weights, gradients and optimizer state (FSDP2)."""
    compile: bool = operational(False)
    """Compile both towers with torch.compile, which takes minutes at the start. Lengths of texts are then rounded up to at most four."""
    peak_tflops: float = operational(0.0, ge=0)
    """Peak of one device in TFLOP/s, to state the share of it that is used (MFU); 0: by the device's name, if it is known."""
    num_loader_workers: int = operational(2, ge=0)
    """Decoding threads; 0: decode in the training loop."""
    prefetch_mb: int = operational(1024, ge=0)
    """Memory for batches that are decoded ahead of the training loop; at least one batch is."""
    cache_dir: str = operational("")
    """Local folder for the index of samples and for copies of tars, shared by all processes of a machine; empty: `.state/training-cache` of
    a local workspace, else one in the folder for temporary files."""
    cache_shards_gb: float = operational(64.0, ge=0)
    """Disk space for copies of tars of a remote workspace, in GiB, used where the order is `block` or they all fit; the least recently used
    are removed. 0: no copies; each sample is one request."""
    cache_images_mb: int = operational(512, ge=0)
    """Memory for decoded training images kept between epochs; order and pixels are the same with or without."""
    checkpoint_every_steps: int = operational(100, gt=0)
    """Steps between checkpoints; a killed run continues from the last."""
    num_checkpoints_kept: int = operational(2, gt=0)
    """Newest checkpoints that are kept; if the newest is damaged, the run continues from the one before."""
    stop_grace_s: float = operational(30.0, ge=0)
    """On SIGTERM training finishes its step and writes a checkpoint; it is killed if that takes longer."""
    deployment: str = operational("")
    """Prefect deployment of the flow `train`, e.g. `train/train`: the whole run submits a flow run of it, which a worker of another pool or
    machine takes, and waits; empty: training runs in the whole run's own process."""
    max_crashes: int = operational(3, ge=0)
    """Flow runs of `deployment` that may be preempted or crash; each time the next one continues from the last checkpoint."""
    divergence: DivergenceSettings = rule(DivergenceSettings())
    """What happens when the loss is no number or rises suddenly."""
    probes: ProbeSettings = rule(ProbeSettings())
    """Scores on validation images during training."""
    log_every_steps: int = operational(10, gt=0)
    """Steps between lines of metrics."""


class EvaluationSettings(Settings):
    """How a model is scored."""

    benchmarks: tuple[str, ...] = ("known_species", "heldout_species", "heldout_generalised")
    """Registered benchmarks."""
    caption_types: tuple[CaptionType, ...] = ("sci", "com", "taxon", "sci_com", "taxon_com")
    """Caption types of zero-shot classification."""
    max_cut_share: float = operational(0.5, ge=0, le=1)
    """Zero-shot evaluation is refused if more than this share of the classes' captions of a type is longer than the model's text context
    and would be cut; lower shares are counted in `scores.json`."""
    tasks: tuple[str, ...] = ()
    """Tasks to run instead of those of each benchmark: registered names, or `module:function`."""
    metrics: tuple[str, ...] = ("top1", "macro_top1", "top5")
    """Metrics of zero-shot classification: registered names, or `module:function`."""
    zero_shot_heads: tuple[str, ...] = ("no_template", "imagenet_templates", "biological_templates", "random_templates")
    """Heads of the task `zero_shot_heads`: registered names, or `module:function`."""
    descriptions: str = ""
    """JSON file of descriptions, {scientific name: {attribute: text}}, for the heads `descriptions`, `random_descriptions` and
    `differential_descriptions`."""
    within: str = ""
    """Classes of the task `zero_shot_heads`: those of a clade (`Aves`, `class:Aves`) or of the names in a text file or table, such as the
    occurrence table of a region; empty: all."""
    non_organisms: str = rule("")
    """Images that show no organism, for the task `non_organisms`: a folder of images or any other evaluation set; empty: generated images
    only."""
    on_leak: Literal["mark", "refuse"] = operational("mark")
    """What happens where images of a benchmark are among a model's training images: they are counted and the scores marked, or the model
    is not scored there."""
    preprocessing: Literal["exact", "fast"] = "exact"
    """Transform from an image to the model's input: `exact` gives the pixels of open_clip's own transform, `fast` decodes JPEGs at a
    reduced scale and resizes in one step; its pixels differ."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of the encoder."""
    stored_features: Literal["float32", "float16"] = "float32"
    """Type of cached features; `float16` halves their size and may change scores."""
    ranks: tuple[str, ...] = ("kingdom", "phylum", "class", "order", "family", "genus", "species")
    """Ranks scored by summing species probabilities."""
    shots: tuple[int, ...] = (1, 5)
    """Support images per class of few-shot classification."""
    few_shot_methods: tuple[str, ...] = ("simpleshot",)
    """Few-shot methods: registered names, or `module:name`. Those that need texts are skipped for a model without a text tower."""
    few_shot_ranks: tuple[str, ...] = ("species",)
    """Ranks whose taxa are the classes of few-shot classification."""
    num_folds: int = Field(5, gt=0)
    """Random draws of the support set."""
    num_bootstraps: int = Field(1000, gt=1)
    """Bootstrap resamples per interval."""
    seed: int = 17
    """Seed of folds and bootstraps."""
    batch_size: int = operational(64, gt=0)
    """Images per batch."""
    num_loader_workers: int = operational(2, ge=0)
    """Threads that decode images and rank taxa; 0: both in the encoder's thread."""
    device: str = operational("auto")
    """`auto`, `cpu` or `cuda`."""
