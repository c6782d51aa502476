"""Examples in docstrings that need an extra are left out where it is missing."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("timm") else ["vse_lightning/models/encoders/timm_image.py"]
