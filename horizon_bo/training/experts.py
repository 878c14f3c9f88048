"""Experts: which expert sees which token, and how evenly are they used?

Nothing is dropped: tokens are sorted by expert and padded to the fullest one, so that all experts
of all runs go through one batched product.
"""

import torch
import torch.nn.functional as F  # noqa: N812, torch's own name for it
from jaxtyping import Float
from torch import Tensor


def routed(
    x: Float[Tensor, "run token width"],
    router: Float[Tensor, "run width expert"],
    up: Float[Tensor, "run expert width twice"],
    down: Float[Tensor, "run expert hidden width"],
    active: int,
) -> tuple[Float[Tensor, "run token width"], Float[Tensor, "run"]]:
    """Send each token to its `active` best experts; also their imbalance, 1 when perfectly even.

        y = Σ_k p_k · expert_k(x),   p = softmax over the chosen logits
        imbalance = experts · Σ_e f_e P_e,   f_e share of tokens, P_e mean probability

    Source: Shazeer et al. (2017), arXiv:1701.06538, eq. 3–5; balance by Fedus et al. (2021),
    arXiv:2101.03961, eq. 4–6, divided by `active`.
    """
    runs, _, width = x.shape
    experts = router.shape[-1]
    logits = torch.bmm(x, router).float()
    best = logits.topk(active, -1)
    share = best.values.softmax(-1).to(x.dtype).reshape(runs, -1)
    chosen = best.indices.reshape(runs, -1)  # token-major: place k belongs to token k // active
    used = F.one_hot(chosen, experts).sum(1)  # run expert
    uneven = experts * (used / chosen.shape[1] * logits.softmax(-1).mean(1)).sum(-1)
    order = chosen.argsort(dim=-1, stable=True)
    expert = chosen.gather(1, order)
    first = used.cumsum(-1) - used
    place = torch.arange(chosen.shape[1], device=x.device) - first.gather(1, expert)
    fullest = int(used.max())
    slot = expert * fullest + place  # run choice: where each sorted choice sits in the padded block
    token = order // active
    source = x.gather(1, token[..., None].expand(-1, -1, width))
    empty = x.new_zeros(runs, experts * fullest, width)
    block = empty.scatter(1, slot[..., None].expand(-1, -1, width), source)
    flat = block.view(runs * experts, fullest, width)
    gate, value = torch.bmm(flat, up.flatten(0, 1)).chunk(2, -1)
    fed = torch.bmm(F.silu(gate) * value, down.flatten(0, 1)).view(runs, -1, width)
    back = fed.gather(1, slot[..., None].expand(-1, -1, width))
    weighted = back * share.gather(1, order)[..., None]
    index = token[..., None].expand(-1, -1, width)
    return torch.zeros_like(x).scatter_add(1, index, weighted), uneven
