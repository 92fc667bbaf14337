"""recipes: what each tensor of a model becomes: file types and overrides, `assign`, the layout of the written file."""
