#!/usr/bin/env bash
# Faces of 64 px on one GPU, begun at 32 px, in resumable pieces of at most nine minutes (pieces.sh).
#
#   benchmarks/gpu_faces64.sh DATA OUT
#
# DATA is an .npz of aligned faces of 64 px (`evolvent data faces.zip --size 64 --out faces64.npz`), a tenth of which is held
# out. The model of 64 px begins with the images of that of 32 px, its energy over patches of twice the side. Both are scored
# by births and by their own stages, the larger at several weights of the energy, 2,000 samples against the held-out faces.
# STEPS are those of 32 px and of 64 px, OPTIONS adds recipe options to the first, which the second keeps; to rehearse:
#   STEPS='2 2' OPTIONS='--batch-size 8 --width 8 --mapping-width 8 --captured false' NUM=64 DEVICE=cpu
set -euo pipefail
data=$1 out=$2
num=${NUM:-2000}
read -r steps_32 steps_64 <<< "${STEPS:-8000 12000}"
source "$(dirname "${BASH_SOURCE[0]}")/pieces.sh"

run=$out/faces32
# shellcheck disable=SC2086
train_a_piece faces64-ggcn --data "$data" --size 32 --num-steps "$steps_32" ${OPTIONS:-}
score births --num "$num" --dynamics none
score own --num "$num"

begin_from=$run
run=$out/faces64
train_a_piece --init-from "$begin_from" --size 64 --patch 2 --num-steps "$steps_64"
score births --num "$num" --dynamics none
score own --num "$num"
for beta in 1 8; do
    score "beta-$beta" --num "$num" --dynamics selection,hidden --beta "$beta" --measures frechet,kernel
done
echo "all done"
