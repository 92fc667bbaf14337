"""models: what a model is, as data: configs, shapes, families, pre-tokenizers, the embedded model."""
