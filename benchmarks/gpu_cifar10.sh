#!/usr/bin/env bash
# CIFAR-10 under every model on one GPU, in resumable pieces of at most nine minutes.
#
#   benchmarks/gpu_cifar10.sh DATA OUT [MODEL …]
#
# Before a long run on a machine that is new: `pytest tests/test_gpu.py tests/test_gpu_drawing.py`, minutes at most, holds
# its GPU to what a CPU computes.
# Models: amortized ggcn wgcn gcn multigrid, and ablation, which is benchmarks/ablation.py (default: all, in this order).
#
# DATA is an .npz with uint8 train_x and test_x (`evolvent data cifar10 --out cifar10.npz`), or what `evolvent data` reads.
# Each call goes on with the first model that is unfinished, for one piece; call it until it says "all done". A finished
# model is scored, each score once: births, and its own stages, 10,000 samples against the 10,000 test images (floor: as many
# training images), and 50,000 against the 50,000 training images; of chains of 1,000 steps from noise, which take the longer,
# 10,000. Where particles evolve in hidden space, 5,000 against the training images at several weights of the energy say which
# --beta to sample with. PYTHON and DEVICE are those of pieces.sh.
# OPTIONS adds recipe options (--labels learns every class of its own, under all but multigrid; '--init-from OUT/amortized
# --labels' with another OUT tells a finished model the classes, which held on a CPU where labels at the start collapsed;
# '--init-from OUT/amortized --augment 0.2' likewise, which took a CPU's model from 21.4 to 19.9 where going on took it to 21.0),
# ABLATION those of the ablation; DEVICE=cpu rehearses, here with an .npz of 16 px:
#   OPTIONS='--size 16 --num-steps 4 --batch-size 8 --width 8 --mapping-width 8 --captured false' NUM=64 DEVICE=cpu
#   ABLATION='--size 16 --minutes 0.1 --num 64 --num-reference 128 --detector-size 64'
set -euo pipefail
data=$1 out=$2
shift 2
models=("$@")
[ ${#models[@]} -gt 0 ] || models=(amortized ggcn wgcn gcn multigrid ablation)
num=${NUM:-10000}
benchmarks=$(dirname "${BASH_SOURCE[0]}")
source "$benchmarks/pieces.sh"

for model in "${models[@]}"; do
    run=$out/$model
    if [ "$model" = ablation ]; then
        code=0
        # shellcheck disable=SC2086
        "$python" "$benchmarks/ablation.py" --data "$data" --out "$run" "${on[@]}" --max-minutes 7.5 ${ABLATION:-} || code=$?
        [ "$code" -eq 0 ] && continue
        exit "$code" # 124: it goes on with the next call
    fi
    # shellcheck disable=SC2086
    train_a_piece "cifar10-$model" --data "$data" ${OPTIONS:-}
    of_training=(--against "$data" --split train --measures frechet,kernel)
    case $model in gcn | wgcn) all=10000 ;; *) all=50000 ;; esac
    score births --num "$num" --dynamics none
    score own --num "$num"
    score all --num "${NUM:-$all}" "${of_training[@]}"
    case $model in amortized | ggcn)
        for beta in 2 4 8 16; do
            score "beta-$beta" --num "${NUM:-5000}" --dynamics selection,hidden --beta "$beta" "${of_training[@]}"
        done
        ;;
    esac
    echo "$model is scored"
done
echo "all done"
