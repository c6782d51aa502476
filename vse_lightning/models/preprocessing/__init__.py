"""What makes tensors of pictures and captions, as an encoder wants them."""
