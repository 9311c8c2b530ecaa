"""Data: sources, seeded parts, fast minibatches and augmentation of whole minibatches."""

from nnstudy.data import augmentation, datasets
from nnstudy.data.data import Data
from nnstudy.data.folding import Folds
from nnstudy.data.loading import load, load_few
from nnstudy.data.normalisation import Normalisation
from nnstudy.data.parts import LoaderPart, Part, TensorPart
from nnstudy.data.source import Source, from_dataset, tensors
from nnstudy.data.split import Split, Subset

__all__ = [
    "Data",
    "Folds",
    "LoaderPart",
    "Normalisation",
    "Part",
    "Source",
    "Split",
    "Subset",
    "TensorPart",
    "augmentation",
    "datasets",
    "from_dataset",
    "load",
    "load_few",
    "tensors",
]
