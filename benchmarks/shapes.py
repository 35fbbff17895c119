"""mT5's shapes as transformers' configurations. Needs torch and transformers alone, for a GPU's machine has no more."""

from typing import Any

from transformers import MT5Config

from engine.models.sizes import Size


def mt5_config(size: Size, **settings: Any) -> MT5Config:
    """Return the configuration of a shape. `settings`: what else transformers' class takes, or takes otherwise."""
    shape = {
        "vocab_size": size.vocabulary, "d_model": size.width, "d_kv": size.inner // size.heads, "d_ff": size.feed_forward,
        "num_heads": size.heads, "num_layers": size.layers, "num_decoder_layers": size.decoder_layers,
        "feed_forward_proj": "gated-gelu" if size.feed_forwards == 3 else "relu", "decoder_start_token_id": 0,
    }  # fmt: skip
    return MT5Config(**shape | settings)
