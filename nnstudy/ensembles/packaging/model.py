"""What MLflow runs to load the model: models-from-code, so that no object is pickled."""

from mlflow.models import set_model

from nnstudy.ensembles.packaging.pyfunc import EnsembleModel

set_model(EnsembleModel())
