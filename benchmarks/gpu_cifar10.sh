#!/usr/bin/env bash
# CIFAR-10 under every model on one GPU, in resumable pieces of at most nine minutes.
#
#   benchmarks/gpu_cifar10.sh DATA OUT [MODEL …]      models: amortized ggcn wgcn gcn multigrid (default: all, in this order)
#
# DATA is an .npz with uint8 train_x and test_x (`evolvent data cifar10 --out cifar10.npz`), or what `evolvent data` reads.
# Each call goes on with the first model that is unfinished, for one piece; call it until it says "all done". A finished
# model is scored once: births, and its own stages, 10,000 samples against the 10,000 test images (floor: as many training
# images), and 50,000 against the 50,000 training images.
# OPTIONS adds recipe options, DEVICE=cpu rehearses: OPTIONS='--num-steps 4 --batch-size 8 …' DEVICE=cpu NUM=64 …
set -euo pipefail
data=$1 out=$2
shift 2
models=("$@")
[ ${#models[@]} -gt 0 ] || models=(amortized ggcn wgcn gcn multigrid)
num=${NUM:-10000} all=${NUM:-50000}
on=(--device "${DEVICE:-cuda}")

for model in "${models[@]}"; do
    run=$out/$model
    if ! grep -qs '"status": "finished"' "$run/run.json"; then
        code=0
        if [ -f "$run/run.json" ]; then
            evolvent train --resume --out "$run" --max-minutes 9 || code=$?
        else
            # shellcheck disable=SC2086
            evolvent train "cifar10-$model" --data "$data" ${OPTIONS:-} --out "$run" "${on[@]}" --max-minutes 9 || code=$?
        fi
        [ "$code" -eq 124 ] && echo "$model goes on with the next call" # out of time, a checkpoint is saved
        exit "$code"
    fi
    if [ ! -f "$run/scored" ]; then
        evolvent evaluate "$run" --num "$num" --dynamics none "${on[@]}"
        evolvent evaluate "$run" --num "$num" "${on[@]}"
        evolvent evaluate "$run" --num "$all" --against "$data" --split train --measures frechet,kernel "${on[@]}"
        touch "$run/scored"
        echo "$model is scored"
        exit 0
    fi
done
echo "all done"
