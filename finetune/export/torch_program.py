"""``--format torch``: a ``torch.export`` program, which loads with torch alone."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from finetune.export.source import Source

__all__ = ["PROGRAM_FILE", "write"]

PROGRAM_FILE = "model.pt2"

#: The file inside the program with all that it says of itself.
ABOUT = "about.json"


def write(source: "Source", folder: Path) -> dict[str, float]:
    """Write the program into `folder`; return the greatest difference from the run.

    Raises
    ------
    RunError
        If the program, read back, disagrees with the run.
    """
    import torch

    from zoo.engines.converted import quiet

    example = torch.from_numpy(np.concatenate([source.pixels[:1], source.pixels[:1]]))
    with quiet(), torch.no_grad():
        program = torch.export.export(
            source.module, (example,), dynamic_shapes=({0: torch.export.Dim("n")},), strict=False
        )
        for node in program.graph.nodes:  # they name places on this machine's disk
            node.meta.pop("stack_trace", None)
        path = folder / PROGRAM_FILE
        torch.export.save(program, path, extra_files={ABOUT: json.dumps(source.about, ensure_ascii=False)})
        again = torch.export.load(path).module()
        pixels = torch.from_numpy(source.pixels)
        whole = again(pixels)[0].numpy()
        single = torch.cat([again(pixels[i : i + 1])[0] for i in range(len(pixels))]).numpy()
    worst = source.golden.check(whole, "The torch program")
    return {"torch.export": max(worst, source.golden.check(single, "The torch program, one at a time,"))}
