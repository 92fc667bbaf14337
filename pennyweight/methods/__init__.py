"""Methods: how codes are chosen on a grid. Mathematics on arrays; no file, no architecture, one method one file.

Each is a frozen config and `quantize_weight(weight, statistics, grid, config) → Quantized`.
"""
