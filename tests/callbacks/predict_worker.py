"""Predicts in two processes, once for each file format.

python predict_worker.py OUTPUT_FOLDER
"""

import sys
from pathlib import Path

from lightning import Trainer

from vse_lightning.callbacks import EmbeddingWriter


class Checked(EmbeddingWriter):
    def on_predict_end(self, trainer, pl_module):
        super().on_predict_end(trainer, pl_module)
        assert (self.images, self.texts) == (7, 14)  # of both processes


if __name__ == "__main__":
    from conftest import GivenEmbeddings, NastySource, Rows  # of this folder, when run as a script

    options = {"strategy": "ddp_fork", "accelerator": "cpu", "devices": 2, "logger": False}
    options |= {"enable_progress_bar": False, "enable_model_summary": False}
    for file_format in ("safetensors", "npy"):
        writer = Checked(file_format=file_format, rows_per_shard=1)
        trainer = Trainer(callbacks=writer, default_root_dir=Path(sys.argv[1]) / file_format, **options)
        loader = Rows(NastySource()).test_dataloader()
        trainer.predict(GivenEmbeddings(), loader, return_predictions=False)
