"""Whole files of tensors, cut in two by hand as two processes would have written their parts."""

import json

from safetensors.torch import load_file, save_file


def cut_in_two(file, folder):
    """Writes two files of halves of a file's tensors, and removes it; odd rows go to the first."""
    whole = load_file(file)
    folder.mkdir()
    halves = {name: len(tensor) - len(tensor) // 2 for name, tensor in whole.items()}
    for rank in range(2):
        own = {
            name: (tensor[halves[name] :] if rank else tensor[: halves[name]]).contiguous()
            for name, tensor in whole.items()
        }
        places = {
            name: {"saved_offsets": [rank * halves[name], *[0] * (tensor.ndim - 1)]}
            for name, tensor in own.items()
        }
        said = {"DCP_SHARDING_INFO": json.dumps(places), "DCP_VERSION": "1.0", "format": "pt"}
        name = f"shard-{rank + 1:05}-model-00001-of-00001.safetensors"
        save_file(own, folder / name, metadata=said)
    shapes = {name: [*tensor.shape] for name, tensor in whole.items()}
    (folder / "tensors.json").write_text(json.dumps(shapes))
    file.unlink()
