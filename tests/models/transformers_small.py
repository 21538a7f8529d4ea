"""Small networks of the BERT family, and towers around them that read letters."""

import importlib

import torch

from towers import models
from towers.models.sentences import SentenceEncoder

SIZES = {"vocab_size": 130, "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2,
         "intermediate_size": 32, "max_position_embeddings": 64}  # fmt: skip
DISTIL = {"vocab_size": 130, "dim": 16, "n_layers": 3, "n_heads": 2, "hidden_dim": 32}
KINDS = {
    "bert": ("Bert", SIZES),
    "camembert": ("Camembert", SIZES),
    "deberta-v2": ("DebertaV2", SIZES),
    "distilbert": ("DistilBert", DISTIL),
    "electra": ("Electra", SIZES | {"embedding_size": 16}),
    "mpnet": ("MPNet", SIZES),
    "roberta": ("Roberta", SIZES),
    "xlm-roberta": ("XLMRoberta", SIZES),
    "albert": ("Albert", SIZES | {"embedding_size": 16}),
}


def tokens(texts):
    """One token a letter."""
    length = max(1, *map(len, texts))
    ids = torch.tensor([[ord(letter) % 127 + 3 for letter in t.ljust(length)] for t in texts])
    return {"input_ids": ids, "attention_mask": (ids != ord(" ") + 3).long()}


def text_tower(kind="bert", seed=0, **settings):
    """A frozen text tower with random weights of a seed."""
    library = importlib.import_module("transformers")
    name, sizes = KINDS[kind]
    torch.manual_seed(seed)
    network = getattr(library, f"{name}Model")(
        getattr(library, f"{name}Config")(**sizes, **settings)
    )
    if hasattr(network, "pooler"):
        network.pooler = None
    encoder = SentenceEncoder(network, "cls", normalize=False)
    return models.TextTower(f"test:{kind}", encoder, 16, tokens, "letters").freeze()
