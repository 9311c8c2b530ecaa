"""An ensemble as something that can be used: packed, logged in MLflow, served, asked."""
