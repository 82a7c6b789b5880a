"""What is trained: one class a strategy, all under the contract of :mod:`finetune.method`."""
