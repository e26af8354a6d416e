"""The parts of `benchmarks/ablation.py`: what is compared, training for equal time, drawing and judging, tables."""
