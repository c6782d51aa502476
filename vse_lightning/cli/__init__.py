"""The command ``vse-lightning``: one module for each of its commands.

``fit``, ``validate``, ``test`` and ``predict`` are those of LightningCLI; ``label``, ``evaluate``, ``search`` and
``export`` are functions. All take ``--config FILE`` (several merge, shipped ones are found by name), ``--print_config``
and ``--help``; every option is ``--snake_case``. The help of a class is
``vse-lightning fit --model.help vse_lightning.models.DualEncoder``.

Two models side by side
-----------------------

.. code-block:: bash

    vse-lightning fit --config flickr8k.yaml --config loss/listwise.yaml --compare_with loss/triplet.yaml

trains the second model after the first, from the same seed and on the same batches, into the folder ``compared`` of the
log folder; the table and the page of :class:`~vse_lightning.callbacks.RetrievalGallery` show both.

Which files to put where
------------------------

Configs look in ``$VSE_DATA``, or in ``data/`` where that is not set:

- Flickr8k: ``flickr8k/captions.json`` (Karpathy split file) with ``efficientnet-lite2_features.f16.npy`` (one row per
  image) or ``images_128px.zip``
- Flickr30k: ``flickr30k/dataset_flickr30k.json`` and the folder ``flickr30k/images``
- MS-COCO: ``coco_precomp/{train,dev,test,testall}_caps.txt`` and ``..._ims.npy`` (the "precomp" download of SCAN and
  VSE-infinity)

Other data: ``KarpathySource``, ``PrecompSource``, ``HuggingFaceSource`` and ``StreamingSource`` in
:mod:`vse_lightning.data`; the third also reads tables (CSV, TSV, JSON, parquet, Kaggle's ``captions.txt``) beside their
pictures, the last shards of any number of pairs.

Labels ahead of time
--------------------

.. code-block:: bash

    vse-lightning label --config flickr30k.yaml

This fills the label cache that ``fit`` would fill, and says where it is and how big. Labels are features of captions,
never an all-pairs matrix: 30,000 captions are 23 MB, and a training batch looks up its own block. With several GPUs
one process encodes the captions, and the others say that they wait; interrupted, it goes on where it was.
``--data.init_args.labels_on_device true`` keeps SBERT, LSA or precomputed labels in GPU memory, for large batches and
big evaluations; CIDEr-D stays on the CPU.

Captions in other languages
---------------------------

CIDEr-D, LSA and ``GRUTextEncoder`` split captions in one way: words where a script has spaces, characters where it
has none (Chinese, Japanese, Thai, ...), accents and apostrophes alike however they are written. For Chinese words in
place of characters, name a function that returns them, for labels and encoder alike:

.. code-block:: yaml

    data:
      init_args:
        relevance: {class_path: vse_lightning.relevance.CIDErRelevance, init_args: {tokenizer: jieba.lcut}}
    model: {init_args: {text_encoder: {init_args: {tokenizer: jieba.lcut}}}}

SBERT and Hugging Face encoders bring tokenizers of their own; take multilingual ones. A label source that finds
nothing to compare says so.

Embeddings or scores from anywhere
----------------------------------

``vse-lightning evaluate`` measures ``.npy``, ``.npz``, ``.safetensors`` or ``.pt`` embeddings, or a score matrix,
against a captions file; several models side by side, with the differences that are significant marked. ``--labels
my_module.MySource`` and ``--extra_metrics my_module.MyMetric`` take classes of your own; ``--config`` takes any
options from a file, as in every command.

**Graded truth of your own** (videos, audio, products; EPIC-Kitchens in ``examples/epic_kitchens.py``) is a matrix of
images x texts in [0, 1]. It grades, and tells what matches: any number of texts an image, and of images a text.

.. code-block:: bash

    vse-lightning evaluate ours=scores.npy theirs=theirs.npz --relevance relevance.npy --positive_threshold 0.8

**Do labels, or your model, agree with people?** ``--judgements`` takes ratings of pairs, a row each (``image`` or
``imgid``, ``text`` or ``sentid``, ``rating``); ``examples/human_agreement.py`` makes such a table of the public ones
of Flickr8k and COCO.

.. code-block:: bash

    vse-lightning evaluate ours.npz --captions dataset_flickr8k.json --labels sbert --judgements people.csv

Search with what you trained
----------------------------

.. code-block:: bash

    vse-lightning search --ckpt_path best.ckpt --index photos.index --images ~/photos
    vse-lightning search --ckpt_path best.ckpt --index photos.index --text "a dog on a beach" --html page.html

This indexes a folder of pictures (or the data of a config) once; then a text or a picture in, ranked pictures or
captions out, exactly, as a table and as a page that opens without a network.

What a checkpoint is good for
-----------------------------

A checkpoint holds all that its model needs, vocabulary, tokenizer and picture transform included: its path is enough,
also from another folder and without a network.

.. code-block:: bash

    vse-lightning test --config flickr8k.yaml --ckpt_path best.ckpt
    vse-lightning predict --config flickr8k.yaml --ckpt_path best.ckpt  # embeddings and ids, in shards per process
    vse-lightning evaluate runs/flickr8k/version_1/embeddings  # what predict wrote
    vse-lightning export --ckpt_path best.ckpt --format onnx  # both towers; pip install "vse-lightning[export]"

What the command line says counts more than a ``--config``, and both more than what the checkpoint remembers: another
loss, another rate, another protocol. What they leave open of the model comes from the checkpoint, so that a config of
data is enough for it; each difference is printed. ``fit --ckpt_path`` goes on with the checkpoint's moments at your
rates.

After a crash or a kill, ``vse-lightning fit --config flickr8k.yaml --ckpt_path last`` goes on from the newest whole
checkpoint of the same run folder (the shipped configs save ``last`` after each validation); with none yet it starts.

What a command writes is whole under its name, or not there; a ``.writing-...`` folder beside it is the rest of a killed
process, and the next one of the same machine that writes there removes it. Checkpoints, embeddings, labels and indices
have checksums that are looked at when they are read. Training in Python gets the same for its checkpoints by
``Trainer(plugins=[CheckpointFiles()])``, of ``vse_lightning.models.checkpoints.checkpoint_files``.

A checkpoint is not code: nothing in it is unpickled, and classes that it names are this package's or PyTorch's, or
named by your own command line and configs. Of others say ``--trust my.module`` (test, predict, search, export, ...).

(``--format pt2`` writes ``torch.export`` programs; those of a GRU or of CLIP need a newer PyTorch than the oldest
supported.)

In Python: ``vse_lightning.models.load_retriever(path, trust=["my.module"])``, whichever model it is.

Loggers and averaged weights
----------------------------

Every Lightning logger gets every metric, under names that all of them accept (``val/i2t_recall_at_1``); TensorBoard
and W&B get pictures of the gallery too, with the extra ``plot`` its curves as well. MLflow 3 wants a database
(``tracking_uri: sqlite:///mlflow.db``), or ``MLFLOW_ALLOW_FILE_STORE=true``. An exponential moving average of the
weights is a second ``--config`` away:

.. code-block:: yaml

    trainer:
      callbacks+:
        - class_path: lightning.pytorch.callbacks.EMAWeightAveraging
          init_args: {decay: 0.999}

Validation, checkpoints and the final test then use the averaged weights. ``StochasticWeightAveraging`` works too, but
its average exists only in memory after ``fit``, so the checkpoint that ``fit`` tests is not averaged.

Several GPUs or nodes
---------------------

Nothing in the code changes: ``--trainer.devices 4``, and with several nodes ``srun vse-lightning fit --config ...
--trainer.devices 4 --trainer.num_nodes 2``, or ``torchrun --nnodes 2 --nproc-per-node 4 -m vse_lightning fit --config
... --trainer.devices 4 --trainer.num_nodes 2``. Each process scores its own queries against everybody's candidates;
the gradients are those of one process on the whole batch. A batch that does not fit trains with
``--model.init_args.relevance_chunk_size 64``; ``relevance_queue_size`` adds candidates of past batches.
"""

from vse_lightning.cli.program import main

__all__ = ["main"]
