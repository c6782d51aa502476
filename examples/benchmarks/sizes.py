"""Memory and communication of a training step with many GPUs, from formulas: python examples/benchmarks/sizes.py

The example is CLIP ViT-B/32 (151 million parameters, embeddings of 512 in bfloat16, SBERT labels of 384) with global
batches of 4k, 32k and 256k pairs on 8 and 64 GPUs. Copy the output to results/sizes.md, or put your own sizes in.
"""

from itertools import product

PARAMETERS = 151e6
WIDTH, LABEL_WIDTH = 512, 384
EMBEDDING, SINGLE = 2, 4  # bytes of bfloat16 and float32
TOKENS_TIMES_WIDTH_TIMES_LAYERS = 50 * 768 * 12 + 77 * 512 * 12  # of both towers
ACTIVATION = 34 * TOKENS_TIMES_WIDTH_TIMES_LAYERS  # Korthikanti et al. 2022, in bfloat16, attention not stored
CHUNK = 256
LISTS = 2 * (SINGLE + SINGLE + 1)  # scores, relevance and matches, of local images x all texts and the other way
INFONCE = 6400 / 1024 * SINGLE  # results/losses/cuda.md, 16,384 pairs: MiB beside lists of 1,024 MiB
SMOOTH_NDCG = 7924 / 1024 * SINGLE

INTRODUCTION = f"""# Many GPUs: what a step needs

By `examples/benchmarks/sizes.py`, on paper, for CLIP ViT-B/32 in bfloat16. Each of `P` processes embeds `n = B / P`
pairs and ranks all `B` candidates for its own queries, in both directions. Nothing of size `B * B` exists anywhere.

- **Lists**: `n * B` times {LISTS} bytes (two lists of scores, relevance and matches) and, for the backward pass,
  {INFONCE:.0f} bytes of InfoNCE and {SMOOTH_NDCG:.0f} of Smooth-NDCG (`surrogate: sigmoid`), as measured on an H200
  at 16,384 pairs.
- **Activations**: 34 bytes per token, width and layer, {ACTIVATION / 1e6:.0f} MB a pair. With
  `relevance_chunk_size: {CHUNK}` those of one chunk, for one more forward pass: a third more time.
- **Received for the loss**, by each process: embeddings of both kinds and label features of all `B` texts, then the
  gradients of all `B` embeddings, summed by an all-reduce that moves them twice. Independent of `P`.
- **Received for the weights**: DDP moves the gradients twice, {2 * PARAMETERS * SINGLE / 1e9:.1f} GB; FSDP2 the
  weights twice and the gradients once, {3 * PARAMETERS * SINGLE / 1e9:.1f} GB. Weights, gradients and AdamW's moments
  are {16 * PARAMETERS / 1e9:.1f} GB, with FSDP2 a `P`-th of that.

| pairs | GPUs | n | lists, InfoNCE | with Smooth-NDCG | activations | in chunks | received for the loss |
| --: | --: | --: | --: | --: | --: | --: | --: |"""

CONCLUSION = """
Up to 32k pairs the loss is small beside the towers, and 8 GPUs do with `relevance_chunk_size`. At 256k it receives more
than DDP; 64 GPUs of 80 GB hold InfoNCE's lists but not Smooth-NDCG's beside them, and 8 GPUs hold neither:
take more GPUs, a smaller batch, or `relevance_gather: false`, which ranks each process's own pairs alone.
`surrogate: bound` compares all pairs of candidates and is for batches up to about 1,000. Checked by measurement: the
bytes of the losses, on one GPU. Not checked: everything that needs several."""


def size(count: float) -> str:
    """Bytes for people."""
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.0f} MB"


def main() -> None:
    print(INTRODUCTION)
    for pairs, processes in product((4096, 32768, 262144), (8, 64)):
        own = pairs // processes
        lists = own * pairs
        received = pairs * (2 * WIDTH * EMBEDDING * 3 + LABEL_WIDTH * SINGLE + 3 * 8)
        columns = (
            size(lists * (LISTS + INFONCE)),
            size(lists * (LISTS + INFONCE + SMOOTH_NDCG)),
            size(own * ACTIVATION),
            size(min(own, CHUNK) * ACTIVATION),
            size(received),
        )
        print(f"| {pairs:,} | {processes} | {own:,} | {' | '.join(columns)} |")
    print(CONCLUSION)


if __name__ == "__main__":
    main()
