"""The page that :class:`~vse_lightning.callbacks.RetrievalGallery` writes: what is on it and how it looks."""
