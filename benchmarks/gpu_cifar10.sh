#!/usr/bin/env bash
# Amortised CIFAR-10 on one GPU, in resumable pieces of at most nine minutes.
#
#   benchmarks/gpu_cifar10.sh DATA.npz RUN [recipe options …]     start, or go on where the last piece stopped
#
# DATA.npz holds uint8 train_x and test_x (N, 32, 32, 3). Call it until it says "finished"; then it scores births
# and hidden-space evolution against the 10,000 test images.
set -euo pipefail
data=$1 run=$2
shift 2
if [ -f "$run/run.json" ]; then
    evolvent train --resume --out "$run" --max-minutes 9
else
    evolvent train cifar10-amortized --data "$data" "$@" --out "$run" --device cuda --max-minutes 9
fi
if grep -q '"status": "finished"' "$run/run.json"; then
    evolvent evaluate "$run" --num 10000 --dynamics none --batch-size 500
    evolvent evaluate "$run" --num 10000 --dynamics hidden --num-steps 40 --batch-size 500
fi
