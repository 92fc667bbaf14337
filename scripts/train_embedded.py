"""Train the embedded model: a Qwen3 of 8.4 M parameters, from any folder of plain text, on a CPU.

    python scripts/train_embedded.py TEXTS --work WORK       # train or resume, then export
    python scripts/train_embedded.py TEXTS --evaluate pennyweight/models/embedded

The first 95 % of every `*.txt` file trains, the last 5 % is held back and only ever measured. The work folder holds the
tokenizer, the tokens and the newest state; a killed run started again goes on at its last saved step.

Learning rate: warm-up, plateau, decay. The plateau has no planned end, so the run fits whatever time there is: the
decay starts at `--plateau-steps`, or once the file `WORK/decay` exists (its text, if any: the number of decay steps).

Needs torch, transformers, tokenizers, and a C++ compiler for `torch.compile`, which is worth a factor 1.4 here. On a
machine with other work, set OMP_WAIT_POLICY=passive: threads that spin at barriers waste most of a shared core.
"""

import argparse
import copy
import functools
import json
import math
import os
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import Qwen3Config, Qwen3ForCausalLM

# Every row (hidden, feed-forward, heads x head_dim) is a multiple of 256, so that K-quants apply to every matrix; eight
# layers, so that mixes which look at a layer's position find a first eighth, a middle and a last eighth.
CONFIG = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "vocab_size": 4096,
    "hidden_size": 256,
    "intermediate_size": 768,
    "num_hidden_layers": 8,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "max_position_embeddings": 1024,
    "rope_theta": 10000.0,
    "rms_norm_eps": 1e-6,
    "hidden_act": "silu",
    "attention_bias": False,
    "attention_dropout": 0.0,
    "tie_word_embeddings": False,
    "initializer_range": 0.03,
    "use_cache": True,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "torch_dtype": "bfloat16",
}
BOS, EOS = 0, 1
SPECIAL_TOKENS = ["<|bos|>", "<|eos|>", "<|im_start|>", "<|im_end|>"]  # ids 0..3
# Qwen2's pre-tokenizer, letter for letter: GGUF files can then say `tokenizer.ggml.pre = qwen2`.
QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
HELD_BACK = 0.05
# Tokens per sequence on the plateau and in the decay. A token costs 1.9 times as much in a sequence of 1024 as in 256.
SHORT, LONG = 256, 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How a run proceeds, in steps of `batch_tokens` tokens."""

    batch_tokens: int = 6144
    learning_rate: float = 3e-3
    warmup_steps: int = 150
    plateau_steps: int = 4000
    decay_steps: int = 1000
    weight_decay: float = 0.1
    save_every: int = 100
    seed: int = 0


# --- text and tokens -------------------------------------------------------------------------------------------------


def split_books(folder: Path) -> tuple[list[str], list[str]]:
    """Training and held-back text of every `*.txt` in `folder`, cut at the first line end past 95 %."""
    books = [path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.txt"))]
    if not books:
        sys.exit(f"{folder}: wanted a folder of *.txt files, found none")
    # A last line longer than 5 % leaves nothing to hold back: `find` says -1, and all of that file trains.
    cuts = [text.find("\n", int(len(text) * (1 - HELD_BACK))) + 1 or len(text) for text in books]
    pairs = [(text[:cut], text[cut:]) for text, cut in zip(books, cuts, strict=True)]
    return [training for training, _ in pairs], [held for _, held in pairs]


def train_tokenizer(texts: list[str]) -> Tokenizer:
    """Byte-level BPE of exactly 4096 tokens: 4 special, 256 bytes, 3836 merges; encoding puts BOS first."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN2_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=CONFIG["vocab_size"],
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|bos|> $A", pair="<|bos|> $A <|bos|> $B", special_tokens=[("<|bos|>", BOS)]
    )
    return tokenizer


def prepare(folder: Path, work: Path) -> np.ndarray:
    """The training tokens, uint16 (tokens,), every file closed by EOS; made once, then mapped from `work`."""
    tokens_path = work / "train.npy"
    if not tokens_path.exists():
        work.mkdir(parents=True, exist_ok=True)
        texts, _ = split_books(folder)
        tokenizer = train_tokenizer(texts)
        tokenizer.save(str(work / "tokenizer.json"))
        ids = [[*tokenizer.encode(text, add_special_tokens=False).ids, EOS] for text in texts]
        partial = work / "train.partial.npy"
        np.save(partial, np.concatenate(ids).astype(np.uint16))
        partial.replace(tokens_path)
    tokens = np.load(tokens_path, mmap_mode="r")
    if len(tokens) < 2 * LONG:
        sys.exit(f"{folder}: wanted at least {2 * LONG} tokens of text, got {len(tokens)}; add more text")
    return tokens


@functools.lru_cache(maxsize=2)
def epoch_order(windows: int, seed: int, phase: int, epoch: int, length: int) -> tuple[np.ndarray, int]:
    """The order of one pass over the windows, and the shift in tokens that makes each pass cut the text elsewhere."""
    rng = np.random.default_rng((seed, phase, epoch))
    return rng.permutation(windows), int(rng.integers(length))


def batch(tokens: np.ndarray, step: int, phase_start: int, length: int, schedule: Schedule) -> torch.Tensor:
    """Step `step`'s sequences, int64 (batch, length + 1): BOS, then `length` tokens. No hidden state, so resumable."""
    count = schedule.batch_tokens // length
    windows = len(tokens) // length - 1
    rows = []
    for number in range((step - phase_start) * count, (step - phase_start + 1) * count):
        order, shift = epoch_order(windows, schedule.seed, phase_start, number // windows, length)
        start = int(order[number % windows]) * length + shift
        rows.append(np.concatenate([[BOS], tokens[start : start + length]]))
    return torch.from_numpy(np.stack(rows).astype(np.int64))


# --- training --------------------------------------------------------------------------------------------------------


def new_model(seed: int) -> Qwen3ForCausalLM:
    """A random float32 model; what writes to the residual stream starts smaller, by 1/sqrt(2 layers), as in GPT-2."""
    torch.manual_seed(seed)
    # Eager attention, because the compiler fuses it: 15 % faster here than the CPU's flash attention at 256 tokens.
    model = Qwen3ForCausalLM(Qwen3Config(**CONFIG, attn_implementation="eager")).float()
    for layer in model.model.layers:
        for linear in (layer.self_attn.o_proj, layer.mlp.down_proj):
            linear.weight.data *= (2 * CONFIG["num_hidden_layers"]) ** -0.5
    return model


def new_optimizer(model: Qwen3ForCausalLM, schedule: Schedule) -> torch.optim.AdamW:
    """AdamW with weight decay on matrices only; the norms' gains stay free."""
    matrices = [p for p in model.parameters() if p.ndim == 2]
    gains = [p for p in model.parameters() if p.ndim == 1]
    groups = [{"params": matrices, "weight_decay": schedule.weight_decay}, {"params": gains, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=schedule.learning_rate, betas=(0.9, 0.95), fused=True)


@dataclass(slots=True)
class Progress:
    """Where a run stands; on the plateau `decay_start` is None."""

    step: int = 0
    seconds: float = 0.0
    tokens: int = 0
    decay_start: int | None = None
    decay_steps: int = 0

    @property
    def finished(self) -> bool:
        return self.decay_start is not None and self.step >= self.decay_start + self.decay_steps


def learning_rate(progress: Progress, schedule: Schedule) -> float:
    """Linear warm-up, plateau, then peak x (1 - sqrt(t)) for t in 0..1 of the decay (Hägele et al. 2024)."""
    rate = schedule.learning_rate * min(1.0, (progress.step + 1) / schedule.warmup_steps)
    if progress.decay_start is None:
        return rate
    return rate * (1 - math.sqrt((progress.step - progress.decay_start) / progress.decay_steps))


def start_decay_if_asked(progress: Progress, work: Path, schedule: Schedule) -> None:
    """Leave the plateau at its planned end, or as soon as somebody has created `work/decay`."""
    asked = work / "decay"
    if progress.decay_start is not None or (progress.step < schedule.plateau_steps and not asked.exists()):
        return
    progress.decay_start = progress.step
    progress.decay_steps = int((asked.read_text() if asked.exists() else "").strip() or schedule.decay_steps)
    print(f"decay starts at step {progress.step}, over {progress.decay_steps} steps", flush=True)


def save_state(model: Qwen3ForCausalLM, optimizer: torch.optim.AdamW, progress: Progress, work: Path) -> None:
    """Replace `work/state.pt` in one move, so that a kill leaves the old state or the new one."""
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "progress": astuple(progress)}
    torch.save(state, work / "state.partial.pt")
    (work / "state.partial.pt").replace(work / "state.pt")


def next_token_loss(model: Qwen3ForCausalLM, sequences: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy in nats over `sequences` int64 (batch, length + 1)."""
    # Matrix products in bfloat16 (4.5 times float32's speed with AVX512-BF16); weights, softmax, loss in float32.
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(input_ids=sequences[:, :-1], use_cache=False).logits
    return torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), sequences[:, 1:].flatten())


def train(tokens: np.ndarray, held: torch.Tensor, work: Path, schedule: Schedule) -> Qwen3ForCausalLM:
    """Train to the end of the decay, from `work`'s state if any; `held` int64 (batch, length + 1) is only watched."""
    model = new_model(schedule.seed)
    optimizer = new_optimizer(model, schedule)
    progress = Progress()
    if (work / "state.pt").exists():
        state = torch.load(work / "state.pt", weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        progress = Progress(*state["progress"])
    compiled = torch.compile(next_token_loss, dynamic=False)
    since, losses = time.monotonic(), []
    while not progress.finished:
        start_decay_if_asked(progress, work, schedule)
        rate = learning_rate(progress, schedule)
        for group in optimizer.param_groups:
            group["lr"] = rate
        length = SHORT if progress.decay_start is None else LONG
        loss = compiled(model, batch(tokens, progress.step, progress.decay_start or 0, length, schedule))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        progress.step += 1
        progress.tokens += schedule.batch_tokens
        if progress.step % schedule.save_every == 0 or progress.finished:
            now = time.monotonic()
            speed = len(losses) * schedule.batch_tokens / (now - since)
            progress.seconds, since = progress.seconds + now - since, now
            with torch.no_grad():
                held_loss = next_token_loss(model, held).item()
            print(
                f"step {progress.step:5d}  tokens {progress.tokens / 1e6:6.2f} M  {progress.seconds / 60:5.1f} min  "
                f"{speed:5.0f} tok/s  rate {rate:.1e}  loss {np.mean(losses):.4f}  held {held_loss:.4f} nats",
                flush=True,
            )
            losses.clear()
            save_state(model, optimizer, progress, work)
    return model


def encode_held(tokenizer: Tokenizer, folder: Path, length: int) -> Iterator[tuple[np.ndarray, int]]:
    """Per file: held-back sequences of BOS and up to `length` tokens that never overlap, and the file's UTF-8 bytes."""
    for text in split_books(folder)[1]:
        ids = np.array(tokenizer.encode(text, add_special_tokens=False).ids, dtype=np.int64)
        for start in range(0, len(ids), length):
            yield np.concatenate([[BOS], ids[start : start + length]]), len(text.encode()) if start == 0 else 0


# --- the checkpoint --------------------------------------------------------------------------------------------------


def export(model: Qwen3ForCausalLM, tokenizer_json: Path, output: Path) -> None:
    """Write the Hugging Face checkpoint: bfloat16 weights, tokenizer, configs. Each file appears whole or not."""
    partial = output / "partial"
    partial.mkdir(parents=True, exist_ok=True)
    weights = {name: weight.to(torch.bfloat16).contiguous() for name, weight in model.state_dict().items()}
    save_file(weights, partial / "model.safetensors", metadata={"format": "pt"})
    shutil.copyfile(tokenizer_json, partial / "tokenizer.json")
    tokenizer_config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": True,
        "add_eos_token": False,
        "bos_token": "<|bos|>",
        "eos_token": "<|eos|>",
        "pad_token": "<|eos|>",
        "additional_special_tokens": ["<|im_start|>", "<|im_end|>"],
        "clean_up_tokenization_spaces": False,
        "model_max_length": CONFIG["max_position_embeddings"],
        "chat_template": CHAT_TEMPLATE,
    }
    generation = {"bos_token_id": BOS, "eos_token_id": [EOS, SPECIAL_TOKENS.index("<|im_end|>")], "pad_token_id": EOS}
    generation |= {"do_sample": True, "temperature": 0.8, "top_p": 0.95}
    documents = {"config": CONFIG, "tokenizer_config": tokenizer_config, "generation_config": generation}
    for name, document in documents.items():
        (partial / f"{name}.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    for path in partial.iterdir():
        path.chmod(0o644)  # safetensors creates its file readable by the owner only
        os.replace(path, output / path.name)
    partial.rmdir()


# --- measuring -------------------------------------------------------------------------------------------------------


def mean_loss(model: Qwen3ForCausalLM, sequences: torch.Tensor, **options: torch.Tensor) -> float:
    """Nats per token over `sequences` int64 (batch, length + 1), the prediction from BOS alone left out."""
    with torch.no_grad():
        logits = model(input_ids=sequences[:, :-1], use_cache=False, **options).logits
    return torch.nn.functional.cross_entropy(logits[:, 1:].flatten(0, 1), sequences[:, 2:].flatten()).item()


def bits_per_byte(model: Qwen3ForCausalLM, tokenizer: Tokenizer, folder: Path) -> dict[str, float]:
    """Every held-back token once, after 1 to 1024 tokens that start with BOS; the bytes are those of the UTF-8 text."""
    nats = tokens = size = 0
    for row, file_bytes in encode_held(tokenizer, folder, LONG):
        sequence = torch.from_numpy(row)[None]
        with torch.no_grad():
            logits = model(input_ids=sequence[:, :-1], use_cache=False).logits[0]
        nats += torch.nn.functional.cross_entropy(logits, sequence[0, 1:], reduction="sum").item()
        tokens, size = tokens + len(row) - 1, size + file_bytes
    bits = nats / math.log(2)
    return {"bits_per_byte": bits / size, "perplexity": math.exp(nats / tokens), "tokens": tokens, "bytes": size}


def captured(model: Qwen3ForCausalLM, leaf: str, sequences: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Input and output, float32 (batch, tokens, …), of the module called `leaf` in each layer."""
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    modules = [module for name, module in model.named_modules() if name.endswith(leaf)]
    hooks = [module.register_forward_hook(lambda _, args, output: seen.append((args[0], output))) for module in modules]
    mean_loss(model, sequences)
    for hook in hooks:
        hook.remove()
    return seen


def kurtosis(values: torch.Tensor) -> float:
    """Fourth moment over squared variance of all entries; 3 for a Gaussian."""
    centred = values.double() - values.double().mean()
    return (centred.pow(4).mean() / centred.pow(2).mean().square()).item()


def channel_ratio(values: torch.Tensor) -> float:
    """Largest over median of the channels' absolute maxima; `values` (batch, tokens, channels)."""
    peaks = values.abs().amax((0, 1))
    return (peaks.max() / peaks.median()).item()


def rounded(values: torch.Tensor, bits: int, dim: int | None) -> torch.Tensor:
    """Symmetric round-to-nearest, one scale absmax / (2^(bits-1) - 1) per slice along `dim` (None: one in all)."""
    top = 2 ** (bits - 1) - 1
    peak = values.abs().amax() if dim is None else values.abs().amax(dim, keepdim=True)
    scale = peak.clamp_min(1e-12) / top
    return (values / scale).round().clamp(-top - 1, top) * scale


def quantized(model: Qwen3ForCausalLM, bits: int, group: int, activation: tuple[int, int | None] | None):
    """A copy with decoder matrices rounded in groups of `group` columns, their inputs to (bits, dim) of `rounded`."""
    copied = copy.deepcopy(model)
    for name, module in copied.named_modules():
        if isinstance(module, torch.nn.Linear) and name != "lm_head":
            weight = module.weight.data
            groups = weight.unflatten(1, (-1, group or weight.shape[1]))
            module.weight.data = rounded(groups, bits, -1).flatten(1)
            if activation is not None:
                module.register_forward_pre_hook(lambda _, args: (rounded(args[0], *activation),))
    return copied


def realism(model: Qwen3ForCausalLM, sequences: torch.Tensor) -> dict[str, float]:
    """What makes large models hard to quantize, found here? `sequences` int64 (batch, length + 1); the worst layer."""
    with torch.no_grad():
        outputs = model(input_ids=sequences[:, :-1], use_cache=False, output_attentions=True, output_hidden_states=True)
    attention_in = [x for x, _ in captured(model, "q_proj", sequences)]
    down_in = [x for x, _ in captured(model, "down_proj", sequences)]
    keys = [k for _, k in captured(model, "k_norm", sequences)]
    # Mean attention to token 0, for queries 1.. only: query 0 can look nowhere else.
    sinks = torch.cat([attention[:, :, 1:, 0].mean((0, 2)) for attention in outputs.attentions])
    # The last hidden state is normalised, the first is the embedding: the residual stream proper lies between.
    residuals = outputs.hidden_states[1:-1]
    return {
        "channel max / median of channel max, attn_in": max(map(channel_ratio, attention_in)),
        "kurtosis attn_in": max(map(kurtosis, attention_in)),
        "kurtosis down_in": max(map(kurtosis, down_in)),
        "largest |residual| at BOS / median |residual|": max(
            (r[:, 0].abs().max() / r.abs().median()).item() for r in residuals
        ),
        "share of heads with mean attention to token 0 above 0.3": (sinks > 0.3).float().mean().item(),
        "largest mean attention of a head to token 0": sinks.max().item(),
        "|mean K| / std K of a channel": max((k.mean((0, 1)).abs() / k.std((0, 1))).max().item() for k in keys),
    }


def losses(model: Qwen3ForCausalLM, sequences: torch.Tensor) -> dict[str, float]:
    """Nats per token lost by taking the sink away, and by four plain roundings of all decoder matrices."""
    length = sequences.shape[1] - 1
    future = torch.ones(length, length, dtype=torch.bool).triu(1)
    no_sink = future.clone()
    no_sink[1:, 0] = True
    masks = [
        torch.zeros(1, 1, length, length).masked_fill(m, torch.finfo(torch.float32).min) for m in (future, no_sink)
    ]
    base, without = (mean_loss(model, sequences, attention_mask=mask) for mask in masks)
    roundings = {
        "W8A8, a scale per weight row and token": (8, 0, (8, -1)),
        "W8A8, a scale per weight row and tensor": (8, 0, (8, None)),
        "W4A16, groups of 128": (4, 128, None),
        "W4A4, a scale per weight row and token": (4, 0, (4, -1)),
    }
    lost = {name: mean_loss(quantized(model, *how), sequences) - base for name, how in roundings.items()}
    return {"nats lost without token 0's K and V": without - base} | {f"nats lost, {n}": x for n, x in lost.items()}


def evaluate(checkpoint: Path, folder: Path) -> None:
    """Print bits per byte of `checkpoint` on held-back text, then the realism metrics; one JSON object last."""
    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    model = Qwen3ForCausalLM.from_pretrained(checkpoint, dtype=torch.float32, attn_implementation="eager").eval()
    rows = [row for row, _ in encode_held(tokenizer, folder, 512) if len(row) == 513]
    sequences = torch.from_numpy(np.stack(rows[:: max(1, len(rows) // 8)][:8]))
    result = bits_per_byte(model, tokenizer, folder) | realism(model, sequences) | losses(model, sequences)
    untrained = realism(new_model(0).eval(), sequences)
    for name, value in result.items():
        print(f"{value:14.4f}  {name}" + (f"  (untrained: {untrained[name]:.4f})" if name in untrained else ""))
    print(json.dumps(result))


def main() -> None:
    """Parse, then train and export, or evaluate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path, help="folder of *.txt files")
    parser.add_argument("--work", type=Path, default=Path("embedded-work"), help="tokens and state; reused to resume")
    parser.add_argument("--output", type=Path, default=Path("pennyweight/models/embedded"), help="the checkpoint")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--evaluate", type=Path, metavar="CHECKPOINT", help="measure this checkpoint instead")
    parser.add_argument("--export-only", action="store_true", help="write the checkpoint from the newest state")
    for name in ("batch_tokens", "plateau_steps", "decay_steps", "save_every", "seed"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=getattr(Schedule(), name))
    parser.add_argument("--learning-rate", type=float, default=Schedule().learning_rate)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    schedule = Schedule(**{name: value for name, value in vars(arguments).items() if name in Schedule.__slots__})
    if arguments.evaluate is not None:
        evaluate(arguments.evaluate, arguments.text)
        return
    if arguments.export_only:
        model = new_model(0)
        model.load_state_dict(torch.load(arguments.work / "state.pt", weights_only=True)["model"])
    else:
        tokens = prepare(arguments.text, arguments.work)
        tokenizer = Tokenizer.from_file(str(arguments.work / "tokenizer.json"))
        sequences = [row for row, _ in encode_held(tokenizer, arguments.text, SHORT) if len(row) == SHORT + 1]
        print(f"{len(tokens)} training tokens, {len(sequences)} held-back sequences of {SHORT}", flush=True)
        held = torch.from_numpy(np.stack(sequences[:: max(1, len(sequences) // 64)]))
        model = train(tokens, held, arguments.work, schedule)
    export(model, arguments.work / "tokenizer.json", arguments.output)


if __name__ == "__main__":
    main()
