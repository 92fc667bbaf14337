"""llama.cpp's own words about its backends and the processor's extensions, read."""

import re

NOT_REPORTED = "not reported"

NOT_INSTRUCTIONS = {"LLAMAFILE", "OPENMP", "REPACK", "ACCELERATE", "KLEIDIAI", "CPU_HBM"}
"""What llama.cpp lists among a CPU's features and is how it was built."""


def backend_and_instructions(info: str) -> tuple[str, str]:
    """`llama_print_system_info` → what runs the model, and the CPU's extensions in use.

    It reads `Metal : BF16 = 1 | CPU : NEON = 1 | OPENMP = 1`: each backend with its features.
    """
    others = [name for name in re.findall(r"(\S+) : ", info) if name != "CPU"]
    cpu = re.search(r"\bCPU : ((?:\w+ = \w+(?: \| )?)*)", info)
    features = re.findall(r"(\w+) = (?!0\b)\w+", cpu[1]) if cpu else []
    instructions = [feature for feature in features if feature not in NOT_INSTRUCTIONS]
    return ",".join(others) or "CPU", " ".join(instructions) or NOT_REPORTED
