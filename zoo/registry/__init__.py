"""Names of pretrained CNNs and where their weights come from: ``registry.yaml``, read and checked."""
