"""What a strategy should beat: scikit-learn's classifiers on features, and references without a CNN."""
