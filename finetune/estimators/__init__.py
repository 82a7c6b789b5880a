"""Our classifiers as scikit-learn estimators."""
