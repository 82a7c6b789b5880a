"""What is fitted on features: linear classifiers, hidden layers, nearest neighbours."""
