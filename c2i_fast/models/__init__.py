"""Where a classifier comes from. Importing this room imports no framework; loading a model imports the one it needs."""

from c2i_fast.models.classifier import Classifier
from c2i_fast.models.source import load_classifier

__all__ = ["Classifier", "load_classifier"]
