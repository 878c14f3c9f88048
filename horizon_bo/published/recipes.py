"""Recipes: with which learning rate, batch and schedule were known models trained?

Only figures printed in the papers themselves. `None` means that the paper does not say, or says it
in a form that one number cannot hold. Batches printed as "0.5M" are kept as 0.5e6.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How one published model was trained.

    Args:
        model: The model and its size.
        family: The paper's family of models.
        year: Year of first publication.
        params: Parameters as the paper counts them; for a mixture of experts, the active ones.
        tokens: Training tokens, a count.
        learning_rate: Peak rate, as given to the optimizer.
        batch_tokens: Tokens per step; the last of several when it was ramped up.
        schedule: Shape of the schedule after warm-up.
        final_fraction: Last rate as a fraction of the peak.
        weight_decay: As given to the optimizer.
        clip: Global gradient norm that is clipped at.
        optimizer: The optimizer.
        source: Paper and, where it helps, the table.
        parametrization: `"standard"`, or `"mup"` when the rate is a µP base rate.
        moe: True for a mixture of experts.
        verified: False where the figures still await a check against the paper.
    """

    model: str
    family: str
    year: int
    params: float
    tokens: float | None
    learning_rate: float
    batch_tokens: float | None
    schedule: str
    final_fraction: float | None = None
    weight_decay: float | None = None
    clip: float | None = None
    optimizer: str = "adamw"
    source: str = ""
    parametrization: str = "standard"
    moe: bool = False
    verified: bool = True


#: model, params, tokens, rate, batch: what differs within a family.
_Row = tuple[str, float, float | None, float, float | None]


def _family(rows: Sequence[_Row], **common: object) -> tuple[Recipe, ...]:
    return tuple(
        Recipe(
            model=model,
            params=params,
            tokens=tokens,
            learning_rate=rate,
            batch_tokens=batch,
            **common,  # type: ignore[arg-type]  # one table, checked by the dataclass
        )
        for model, params, tokens, rate, batch in rows
    )


_GPT = _family(
    [("GPT 117M", 1.17e8, None, 2.5e-4, 64 * 512)],
    family="GPT", year=2018, schedule="cosine", final_fraction=0.0, weight_decay=0.01,
    optimizer="adam", source="Radford et al. (2018), Improving Language Understanding, section 4.1",
)  # fmt: skip
_BERT = _family(
    [
        ("BERT base", 1.1e8, 1e6 * 256 * 512, 1e-4, 256 * 512),
        ("BERT large", 3.4e8, 1e6 * 256 * 512, 1e-4, 256 * 512),
    ],
    family="BERT", year=2018, schedule="linear", final_fraction=0.0, weight_decay=0.01,
    optimizer="adam", source="Devlin et al. (2018), arXiv:1810.04805, appendix A.2",
)  # fmt: skip
_MEGATRON = _family(
    [
        ("Megatron-LM 355M", 3.55e8, 3e5 * 512 * 1024, 1.5e-4, 512 * 1024),
        ("Megatron-LM 2.5B", 2.5e9, 3e5 * 512 * 1024, 1.5e-4, 512 * 1024),
        ("Megatron-LM 8.3B", 8.3e9, 3e5 * 512 * 1024, 1.5e-4, 512 * 1024),
    ],
    family="Megatron-LM", year=2019, schedule="cosine", final_fraction=1e-5 / 1.5e-4,
    weight_decay=0.01, clip=1.0, optimizer="adam",
    source="Shoeybi et al. (2019), arXiv:1909.08053, section 4.2",
)  # fmt: skip
_T5 = _family(
    [("T5 base (baseline)", 2.2e8, 2.0**35, 0.01, 2.0**16)],
    family="T5", year=2019, schedule="inverse-sqrt", optimizer="adafactor",
    source="Raffel et al. (2019), arXiv:1910.10683, section 3.1.2",
)  # fmt: skip
_GPT3 = _family(
    [
        ("GPT-3 Small", 1.25e8, 3e11, 6.0e-4, 0.5e6),
        ("GPT-3 Medium", 3.5e8, 3e11, 3.0e-4, 0.5e6),
        ("GPT-3 Large", 7.6e8, 3e11, 2.5e-4, 0.5e6),
        ("GPT-3 XL", 1.3e9, 3e11, 2.0e-4, 1e6),
        ("GPT-3 2.7B", 2.7e9, 3e11, 1.6e-4, 1e6),
        ("GPT-3 6.7B", 6.7e9, 3e11, 1.2e-4, 2e6),
        ("GPT-3 13B", 1.3e10, 3e11, 1.0e-4, 2e6),
        ("GPT-3 175B", 1.75e11, 3e11, 0.6e-4, 3.2e6),
    ],
    family="GPT-3", year=2020, schedule="cosine", final_fraction=0.1, weight_decay=0.1, clip=1.0,
    optimizer="adam", source="Brown et al. (2020), arXiv:2005.14165, table 2.1 and appendix B",
)  # fmt: skip
_GOPHER = _family(
    [
        ("Gopher 44M", 4.4e7, 3e11, 6e-4, 0.25e6),
        ("Gopher 117M", 1.17e8, 3e11, 6e-4, 0.25e6),
        ("Gopher 417M", 4.17e8, 3e11, 2e-4, 0.25e6),
        ("Gopher 1.4B", 1.4e9, 3e11, 2e-4, 0.25e6),
        ("Gopher 7.1B", 7.1e9, 3e11, 1.2e-4, 2e6),
        ("Gopher 280B", 2.8e11, 3e11, 4e-5, 6e6),
    ],
    family="Gopher", year=2021, schedule="cosine", final_fraction=0.1, optimizer="adam",
    source="Rae et al. (2021), arXiv:2112.11446, table 1",
)  # fmt: skip
_CHINCHILLA = _family(
    [("Chinchilla 70B", 7e10, 1.4e12, 1e-4, 3e6)],
    family="Chinchilla", year=2022, schedule="cosine", final_fraction=0.1,
    source="Hoffmann et al. (2022), arXiv:2203.15556, table 4",
)  # fmt: skip
_OPT = _family(
    [
        ("OPT 125M", 1.25e8, 1.8e11, 6.0e-4, 0.5e6),
        ("OPT 350M", 3.5e8, 1.8e11, 3.0e-4, 0.5e6),
        ("OPT 1.3B", 1.3e9, 1.8e11, 2.0e-4, 1e6),
        ("OPT 2.7B", 2.7e9, 1.8e11, 1.6e-4, 1e6),
        ("OPT 6.7B", 6.7e9, 1.8e11, 1.2e-4, 2e6),
        ("OPT 13B", 1.3e10, 1.8e11, 1.0e-4, 4e6),
        ("OPT 30B", 3.0e10, 1.8e11, 1.0e-4, 4e6),
        ("OPT 66B", 6.6e10, 1.8e11, 0.8e-4, 2e6),
        ("OPT 175B", 1.75e11, 1.8e11, 1.2e-4, 2e6),
    ],
    family="OPT", year=2022, schedule="linear", final_fraction=0.1, weight_decay=0.1, clip=1.0,
    source="Zhang et al. (2022), arXiv:2205.01068, table 1 and section 2.2",
)  # fmt: skip
_PALM = _family(
    [
        ("PaLM 8B", 8e9, 7.8e11, 1e-2, None),
        ("PaLM 62B", 6.2e10, 7.95e11, 1e-2, None),
        ("PaLM 540B", 5.4e11, 7.8e11, 1e-2, 4e6),
    ],
    family="PaLM", year=2022, schedule="inverse-sqrt", clip=1.0, optimizer="adafactor",
    source="Chowdhery et al. (2022), arXiv:2204.02311, section 5",
)  # fmt: skip
_LLAMA = _family(
    [
        ("LLaMA 7B", 6.7e9, 1.0e12, 3.0e-4, 4e6),
        ("LLaMA 13B", 1.3e10, 1.0e12, 3.0e-4, 4e6),
        ("LLaMA 33B", 3.25e10, 1.4e12, 1.5e-4, 4e6),
        ("LLaMA 65B", 6.52e10, 1.4e12, 1.5e-4, 4e6),
    ],
    family="LLaMA", year=2023, schedule="cosine", final_fraction=0.1, weight_decay=0.1, clip=1.0,
    source="Touvron et al. (2023), arXiv:2302.13971, table 2 and section 2.3",
)  # fmt: skip
_LLAMA2 = _family(
    [
        ("LLaMA 2 7B", 7e9, 2e12, 3.0e-4, 4e6),
        ("LLaMA 2 13B", 1.3e10, 2e12, 3.0e-4, 4e6),
        ("LLaMA 2 34B", 3.4e10, 2e12, 1.5e-4, 4e6),
        ("LLaMA 2 70B", 7e10, 2e12, 1.5e-4, 4e6),
    ],
    family="LLaMA 2", year=2023, schedule="cosine", final_fraction=0.1, weight_decay=0.1, clip=1.0,
    source="Touvron et al. (2023), arXiv:2307.09288, table 1 and section 2.2",
)  # fmt: skip
_DEEPSEEK = _family(
    [
        ("DeepSeek LLM 7B", 7e9, 2e12, 4.2e-4, 2304 * 4096),
        ("DeepSeek LLM 67B", 6.7e10, 2e12, 3.2e-4, 4608 * 4096),
    ],
    family="DeepSeek LLM", year=2024, schedule="multi-step", final_fraction=0.1, weight_decay=0.1,
    clip=1.0, source="Bi et al. (2024), arXiv:2401.02954, table 2",
)  # fmt: skip
_PYTHIA = _family(
    [
        ("Pythia 70M", 7e7, 3e11, 1.0e-3, 2.0**21),
        ("Pythia 160M", 1.6e8, 3e11, 6.0e-4, 2.0**21),
        ("Pythia 410M", 4.1e8, 3e11, 3.0e-4, 2.0**21),
        ("Pythia 1B", 1.0e9, 3e11, 3.0e-4, 2.0**21),
        ("Pythia 1.4B", 1.4e9, 3e11, 2.0e-4, 2.0**21),
        ("Pythia 2.8B", 2.8e9, 3e11, 1.6e-4, 2.0**21),
        ("Pythia 6.9B", 6.9e9, 3e11, 1.2e-4, 2.0**21),
        ("Pythia 12B", 1.2e10, 3e11, 1.2e-4, 2.0**21),
    ],
    family="Pythia", year=2023, schedule="cosine", final_fraction=0.1, optimizer="adam",
    source="Biderman et al. (2023), arXiv:2304.01373, table 1",
)  # fmt: skip
_BLOOM = _family(
    [("BLOOM 176B", 1.76e11, 3.66e11, 6e-5, 2048 * 2048)],
    family="BLOOM", year=2022, schedule="cosine", final_fraction=0.1, weight_decay=0.1, clip=1.0,
    optimizer="adam", source="Le Scao et al. (2022), arXiv:2211.05100",
)  # fmt: skip
_LLAMA3 = _family(
    [("LLaMA 3 405B", 4.05e11, 1.56e13, 8e-5, 16e6)],
    family="LLaMA 3", year=2024, schedule="cosine", final_fraction=0.01,
    source="Grattafiori et al. (2024), arXiv:2407.21783, section 3.4.1",
)  # fmt: skip
_MOE = _family(
    [("DeepSeek-V3 671B (37B active)", 3.7e10, 1.48e13, 2.2e-4, 15360 * 4096)],
    family="DeepSeek-V3", year=2024, schedule="constant-cosine", final_fraction=7.3e-6 / 2.2e-4,
    weight_decay=0.1, clip=1.0, moe=True,
    source="DeepSeek-AI (2024), arXiv:2412.19437, section 4.2",
)  # fmt: skip
_MUP = _family(
    [("Cerebras-GPT 111M µP", 1.11e8, 2.2e9, 6e-3, 120 * 2048)],
    family="Cerebras-GPT", year=2023, schedule="linear", final_fraction=0.1, weight_decay=0.1,
    clip=1.0, parametrization="mup", verified=False,
    source="Dey et al. (2023), arXiv:2304.03208",
)  # fmt: skip
_MINICPM = _family(
    [("MiniCPM 2.4B", 2.4e9, 1.1e12, 0.01, 3.93e6)],
    family="MiniCPM", year=2024, schedule="wsd", parametrization="mup", verified=False,
    source="Hu et al. (2024), arXiv:2404.06395",
)  # fmt: skip

#: Every recipe, roughly by year.
RECIPES: tuple[Recipe, ...] = (
    *_GPT, *_BERT, *_MEGATRON, *_T5, *_GPT3, *_GOPHER, *_CHINCHILLA, *_OPT, *_PALM, *_BLOOM,
    *_LLAMA, *_LLAMA2, *_PYTHIA, *_MUP, *_MINICPM, *_DEEPSEEK, *_LLAMA3, *_MOE,
)  # fmt: skip


def find_recipes(
    *,
    name: str | None = None,
    params: tuple[float, float] | None = None,
    optimizer: str | None = None,
    parametrization: str | None = None,
) -> tuple[Recipe, ...]:
    """The recipes that meet every condition given; `None` sets no condition.

    Args:
        name: Part of the model's or family's name, case ignored.
        params: Lowest and highest parameter count.
        optimizer: The optimizer's name.
        parametrization: `"standard"` or `"mup"`.
    """
    wanted = (name or "").lower()
    low, high = params or (0.0, float("inf"))
    return tuple(
        recipe
        for recipe in RECIPES
        if (wanted in recipe.model.lower() or wanted in recipe.family.lower())
        and low <= recipe.params <= high
        and optimizer in (None, recipe.optimizer)
        and parametrization in (None, recipe.parametrization)
    )
