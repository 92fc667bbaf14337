"""Transforms: function-preserving rewrites of weights before they are rounded. Mathematics on arrays, one file each."""
