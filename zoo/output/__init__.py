"""Features as a file that other tools can open: ``.npz``, ``.npy``, ``.parquet`` or ``.safetensors``."""

from zoo.output.files import check_output, write_output
from zoo.output.table import Table, labels_by_folder

__all__ = ["Table", "check_output", "labels_by_folder", "write_output"]
