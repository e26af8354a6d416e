# What the programmes for a GPU share, to be sourced: training in pieces of eight minutes, and scores that are taken once.
# Each call of a programme goes on with the first thing that is unfinished, for one piece; call it until it says "all done".
#
# PYTHON is the interpreter (default: python); the package need not be installed where a programme is called. DEVICE=cpu
# rehearses. A programme sets `run`, a folder, before it calls what is here.
python=${PYTHON:-python}
on=(--device "${DEVICE:-cuda}")

evolvent() {
    "$python" -m evolvent "$@"
}

# WORD…: train `run` by these words of `evolvent train` for one piece and end the programme's call, unless it is finished.
train_a_piece() {
    local code=0
    if grep -qs '"status": "finished"' "$run/run.json"; then return; fi
    if [ -f "$run/run.json" ]; then
        evolvent train --resume --out "$run" --max-minutes 8 || code=$?
    else
        evolvent train "$@" --out "$run" "${on[@]}" --max-minutes 8 || code=$?
    fi
    [ "$code" -eq 124 ] && echo "$run goes on with the next call" # out of time, a checkpoint is saved
    exit "$code"
}

# NAME OPTION…: evaluate `run` once under these options; a call that has taken four minutes ends here.
score() {
    local mark=$run/scored-$1
    shift
    [ -f "$mark" ] && return
    evolvent evaluate "$run" "$@" "${on[@]}"
    touch "$mark"
    if [ "$SECONDS" -gt 240 ]; then
        echo "$run goes on with the next call"
        exit 0
    fi
}
