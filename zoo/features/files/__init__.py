"""Features as a file that other tools can open: ``.npz``, ``.npy``, ``.parquet`` or ``.safetensors``."""

from zoo.features.files.files import check_output, write_output
from zoo.features.files.table import Table, labels_by_folder

__all__ = ["Table", "check_output", "labels_by_folder", "write_output"]
