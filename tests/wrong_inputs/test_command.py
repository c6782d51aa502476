"""Wrong options, configs and files of all eight commands: exit code 2 and one line that names the file or option."""

import re

import pytest

pytest.importorskip("timm")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")

EVALUATE = ["evaluate", "pair.npz", "--resamples", "100"]
PAIRED = [*EVALUATE, "--captions_per_image", "2"]
QUICK = ["fit", "--config", "quickstart.yaml", "--data.init_args.relevance=source", "--trainer.accelerator=cpu"]
QUICK += ["--trainer.logger=false", "--trainer.callbacks=null", "--trainer.enable_checkpointing=false"]
QUICK += ["--data.init_args.source.init_args.num_images=10", "--data.init_args.num_workers=0"]
LOSS, DATA = "--model.init_args.relevance_loss", "--data.init_args"

MODELS = [
    ("nothing.npz", "model: nothing at 'nothing.npz'"),
    ("cut.npy", "cut.npy is damaged, as a file that was cut off"),
    ("empty.npy", "empty.npy must be an .npy file that np.save wrote"),
    ("text.npy", "text.npy must be an .npy file that np.save wrote"),
    ("objects.npy", "objects.npy holds Python objects"),
    ("words.npy", "words.npy must hold numbers"),
    ("vector.npy", r"vector.npy\): scores must be a matrix of floats, got float32 (4,)"),
    ("complex.npy", r"complex.npy\): scores must be a matrix of floats, got complex128"),
    ("none.npy", r"none.npy\): scores must be a matrix of floats, got float32 (0, 4)"),
    ("nan.npy", r"nan \(.*nan.npy\): scores must be finite, but 2 of 2 rows hold NaN"),
    ("folder.npy", "folder.npy must hold embeddings of one run of predict"),
    ("empty", "empty must hold embeddings of one run of predict, got files of none"),
    ("embeddings", "embeddings holds embeddings of a run that did not finish"),
    ("cut.npz", "cut.npz must be an .npz file that np.savez wrote"),
    ("keys.npz", "keys.npz must hold 'scores', or 'image_embeds' and 'text_embeds', got 'a'"),
    ("widths.npz", r"widths.npz\): image_embeds and text_embeds must be of one width, got 3 and 5"),
    ("nan.npz", r"nan.npz\): image_embeds must be finite"),
    ("text.safetensors", "text.safetensors must be a safetensors file, and whole"),
    ("numbers.pt", "numbers.pt must hold tensors, or lists of tensors of one width, got int"),
    ("module.pt", r"module.pt holds objects (torch.nn.modules.linear.Linear), which could only be unpickled"),
    ("pickled.pt", "pickled.pt "),
    ("three.txt", "arrays are read from .npy, .npz, .safetensors, .pt, .pth, got .*three.txt"),
    ("pipe.npy", "model must be a file or a folder, got a pipe, a socket or a device: .*pipe.npy"),
    ("right.npy,right.npy,right.npy", "a model must be one file or IMAGES,TEXTS, got 3 files"),
]
OPTIONS = [
    (EVALUATE, "--captions", "nothing.json", "--captions: nothing at 'nothing.json'"),
    (EVALUATE, "--captions", "cut.json", "--captions must be a JSON file, got '.*cut.json'"),
    (EVALUATE, "--captions", "deep.json", "deep.json': it is nested too deeply"),
    (EVALUATE, "--captions", "number.json", "--captions must be a Karpathy split file .*number.json is none"),
    (EVALUATE, "--captions", "null.json", "null.json is none"),
    (EVALUATE, "--captions", "latin.json", "latin.json': it holds the byte 0xe9, which is none of UTF-8"),
    (EVALUATE, "--captions", "pipe.json", "--captions must be a file or a folder, got a pipe"),
    (EVALUATE, "--captions", "split_none.json", "images[0] of .*split_none.json must have a string as split, got None"),
    (EVALUATE, "--captions", "blank.json", r"images[0] of .*blank.json (a.jpg) must have sentences that are not blank"),
    (EVALUATE, "--captions", "words.json", r"images[0] of .*words.json (a.jpg) must have a list of sentences"),
    (EVALUATE, "--captions", "ragged.csv", "line 3 of .*ragged.csv must have 2 cells"),
    (EVALUATE, "--captions", "twice.csv", "--captions must name each column once, .*twice.csv"),
    (EVALUATE, "--captions", "head.csv", "head.csv has none"),
    (EVALUATE, "--captions", "quote.csv", "quote.csv cannot be read as a table: line 2"),
    (EVALUATE, "--captions", "utf16.csv", "utf16.csv: it holds the byte 0xff, which is none of UTF-8"),
    (EVALUATE, "--captions", "cut.jsonl", "line 2 of .*cut.jsonl must be a JSON object"),
    (PAIRED, "--captions", "empty.txt", "--captions must have a caption on each line, got the empty file .*empty.txt"),
    (PAIRED, "--captions", "blank.txt", "--captions must have a caption on each line, line 2 of .*blank.txt is empty"),
    (PAIRED, "--captions", "latin.txt", "latin.txt: it holds the byte 0xe9, which is none of UTF-8: save it as UTF-8"),
    (PAIRED, "--captions", "empty", "--captions must be a text file in UTF-8, got .*empty: is a directory"),
    (
        EVALUATE,
        "--image_ids",
        "ids.json",
        "--image_ids must be all integers or all strings, got int and str in .*ids",
    ),
    (EVALUATE, "--image_ids", "ids_object.json", "--image_ids must be a list in JSON, got dict in .*ids_object.json"),
    (EVALUATE, "--image_ids", "three.txt", "--image_ids must have an id for each of the 4 captions, got 3"),
    (EVALUATE, "--image_ids", "right.npy", "--image_ids must be integers or strings (captions,), got float32"),
    (EVALUATE, "--captions_per_image", "0", "--captions_per_image must divide the number of captions, got 0 for 4"),
    (EVALUATE, "--captions_per_image", "x", "captions_per_image: expected int, got x"),
    (EVALUATE, "--captions_per_image", "-1", "--captions_per_image must divide the number of captions, got -1 for 4"),
    (PAIRED, "--relevance", "nan.npy", "--relevance nan.npy must be finite"),
    (PAIRED, "--relevance", "cut.npy", "cut.npy is damaged"),
    (PAIRED, "--relevance", "pair.npz", "--relevance pair.npz must hold one array, images x texts"),
    (PAIRED, "--positive_threshold", "0.5", "--positive_threshold is about --relevance, which is not given"),
    (PAIRED, "--judgements", "rating.csv", "--judgements must have finite numbers as rating, got 'high' in line 2"),
    (PAIRED, "--judgements", "rated_nan.csv", "--judgements must have finite numbers as rating, got 'nan' in line 2"),
    (PAIRED, "--judgements", "rated_other.csv", "got '99' in line 2 of rated_other.csv"),
    (PAIRED, "--judgements", "no_column.csv", "--judgements must have one of the columns text and sentid, .*no_column"),
    (PAIRED, "--labels", "nonsense", "--labels .*nonsense"),
    (PAIRED, "--labels", "nothing.npy", "--labels: nothing at 'nothing.npy'"),
    (
        [*EVALUATE, "--captions", "three.txt"],
        "--captions_per_image",
        "2",
        "must divide the number of captions, got 2",
    ),
    (PAIRED, "--recall_ks", "0", "every entry of recall_ks must be a whole number of at least 1, got 0"),
    (PAIRED, "--recall_ks", "-1", "every entry of recall_ks must be a whole number of at least 1, got -1"),
    (PAIRED, "--ndcg_ks", "0", "every entry of ndcg_ks must be a whole number of at least 1, got 0"),
    (PAIRED, "--coherent_ks", "1", "every entry of coherent_ks must be a whole number of at least 2, got 1"),
    (PAIRED, "--folds", "1.5", "folds: expected int, got 1.5"),
    (PAIRED, "--folds", "3", "folds must divide the number of images, got 3 folds of 2 images"),
    (PAIRED, "--resamples", "0", "resamples must be a whole number of at least 1, got 0"),
    (PAIRED, "--seed", "-1", "seed must be a whole number of at least 0, got -1"),
    (PAIRED, "--intervals", "2", "confidence must lie between 0 and 1, got 2"),
    (PAIRED, "--output", "empty", "--output .*empty"),
    (
        PAIRED,
        "--extra_metrics",
        "nonsense",
        "extra_metrics: expected the name or the dotted path of a class, got nons",
    ),
    (PAIRED, "--config", "cut.yaml", "--config: cut.yaml must be YAML: .* in line 1, column 7"),
    (PAIRED, "--config", "tab.yaml", "--config: tab.yaml must be YAML: .* in line 2, column 1"),
    (PAIRED, "--config", "code.yaml", "--config: code.yaml must be YAML: could not determine a constructor"),
    (PAIRED, "--config", "alias.yaml", "--config: alias.yaml must be YAML: found undefined alias 'b'"),
    (PAIRED, "--config", "list.yaml", "--config: list.yaml must hold options by name, got a list"),
    (PAIRED, "--config", "key.yaml", "--config: key.yaml must have texts as names of options, got 101"),
    (PAIRED, "--config", "binary.yaml", "--config: binary.yaml must be YAML"),
    (PAIRED, "--config", "unknown.yaml", "--config unknown.yaml: Option 'modle' is not accepted"),
    (PAIRED, "--config", "nothing.yaml", "--config: no file 'nothing.yaml' here, and none of that name is shipped"),
]
CHECKPOINTS = [
    ("nothing.ckpt", "nothing at 'nothing.ckpt'"),
    ("folder.ckpt", "folder.ckpt"),
    ("empty.ckpt", "checkpoint .*empty.ckpt is damaged: it is empty"),
    ("text.ckpt", "checkpoint .*text.ckpt cannot be read without unpickling: it must be a file of tensors"),
    ("cut.ckpt", "checkpoint .*cut.ckpt is damaged, as a file that was cut off"),
    ("module.ckpt", "checkpoint .*module.ckpt cannot be read without unpickling: it holds objects (torch.nn.modules"),
    ("tensor.ckpt", "checkpoint .*tensor.ckpt must be one that Lightning wrote, with a state_dict"),
    ("other.ckpt", "checkpoint .*other.ckpt must be one that Lightning wrote, with a state_dict"),
    ("bare.ckpt", "checkpoint .*bare.ckpt must be of a Retriever such as DualEncoder, but names no class"),
    ("parameters.ckpt", "checkpoint .*parameters.ckpt must have hyper_parameters by name"),
    ("code.ckpt", "checkpoint .*code.ckpt .*os.system"),
    (
        "missing.ckpt",
        "checkpoint .*missing.ckpt must be of a Retriever such as DualEncoder, got vse_lightning.models",
    ),
    ("pair.npz", "checkpoint .*pair.npz"),
]
FITS = [
    ("--trainer.max_epochs=many", "trainer.max_epochs: expected int, got many"),
    ("--trainer.accumulate_grad_batches=0", "--trainer.accumulate_grad_batches must be at least 1, got 0"),
    ("--seed_everything=-1", "--seed_everything must be true, false or a whole number from 0 to 4294967295, got -1"),
    ("--model=[1]", "model: expected the path of a LightningModule's class, or it as class_path, got [1]"),
    (
        "--model.init_args.optimizer=torch.nn.Linear",
        "model.optimizer: expected Optimizer's class, got torch.nn",
    ),
    ("--model.init_args.optimizer.init_args.lr=x", "model.optimizer.lr: expected float or .*, got x"),
    (f"{LOSS}=3", "model.relevance_loss: expected the name or the dotted path of a class, got 3"),
    (f"{DATA}.labels_on_device=maybe", "data.labels_on_device: expected bool, got maybe"),
    (f"{DATA}.batches=alike", "data.batches: expected one of 'random', 'distinct', 'similar', got alike"),
    (f"{DATA}.source=vse_lightning.data.NoSource", "data.source (vse_lightning.data.NoSource): module 'vse_lightning"),
    (f"{DATA}.source.init_args.num_images=3", "num_images must be a whole number of at least 10, got 3"),
    (
        "--ckpt_path=bare.ckpt",
        "--ckpt_path: .*bare.ckpt must be a checkpoint that Lightning wrote, but names no",
    ),
    ("--config=unknown.yaml", "--config unknown.yaml: Option 'modle' is not accepted: did you mean model?"),
]
OTHERS = [
    (["fitt"], "COMMAND must be one of fit, validate, test, predict, label, evaluate, search, export, got 'fitt'"),
    (["validate"], "the following arguments are required"),
    (["predict", "--data", "3"], "data: expected the name or the dotted path of a class"),
    (["label", "--config", "cut.yaml"], "--config: cut.yaml must be YAML"),
    (["label", "stray"], "unrecognized arguments: stray"),
    (["evaluate"], "required"),
    (["export", "--ckpt_path", "bare.ckpt", "--format", "pdf"], "format: expected one of 'pt2', 'onnx', .*, got pdf"),
    (["search", "--ckpt_path", "bare.ckpt", "--index", "text.index", "--top_k", "x"], "top_k: expected int, got x"),
]


def pattern(message):
    """A regular expression of a message, in which only ``.*`` and what is escaped already is one."""
    return ".*".join(re.sub(r"(?<!\\)([][()?+])", r"\\\1", part) for part in message.split(".*"))


@pytest.mark.parametrize(("model", "message"), MODELS)
def test_models_to_evaluate(said, model, message):
    assert re.search(pattern(message), said("evaluate", model, "--captions_per_image", "2"))


@pytest.mark.parametrize(("args", "option", "value", "message"), OPTIONS)
def test_options_of_evaluate(said, args, option, value, message):
    assert re.search(pattern(message), said(*args, option, value))


@pytest.mark.parametrize(("checkpoint", "message"), CHECKPOINTS)
def test_checkpoints(said, checkpoint, message):
    assert re.search(pattern(message), said("export", "--ckpt_path", checkpoint, "--output", "exported"))


@pytest.mark.parametrize("index", ["text.index", "other.index", "empty"])
def test_search_indices(said, index):
    args = ["search", "--ckpt_path", "bare.ckpt", "--text", "a dog"]
    assert index in said(*args, "--index", index)


@pytest.mark.parametrize(("option", "message"), FITS)
def test_configs_of_a_training(said, option, message):
    assert re.search(pattern(message), said(*QUICK, option))


@pytest.mark.parametrize(("args", "message"), OTHERS)
def test_other_commands(said, args, message):
    assert re.search(pattern(message), said(*args))
