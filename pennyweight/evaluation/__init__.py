"""evaluation: what a model costs and is worth: perplexity, divergence, throughput, tasks, sweeps."""
