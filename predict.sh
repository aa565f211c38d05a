#!/bin/sh
# Masks for every case of a folder: inputs -> outputs.
#   in the container   /workspace/inputs -> /workspace/outputs  (the image sets INPUTS and OUTPUTS)
#   on a bare host     test_input -> test_output beside this script
# Environment: INPUTS, OUTPUTS (folders), BACKEND (cpu|gpu), MODEL (name in weights/manifest.json),
# ENGINE (openvino|onnxruntime|jittor), WEIGHTS (folder of manifest.json), JOBS (processes that share the cases).
# Arguments are handed on to python -m inference.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)

# absolute PATH: relative paths are the caller's, and the working directory is about to change
absolute() {
    case $1 in
        /*) printf '%s\n' "$1" ;;
        *) printf '%s\n' "$PWD/$1" ;;
    esac
}
inputs=$(absolute "${INPUTS:-$here/test_input}")
outputs=$(absolute "${OUTPUTS:-$here/test_output}")
if [ -n "${WEIGHTS:-}" ]; then
    WEIGHTS=$(absolute "$WEIGHTS")
    export WEIGHTS
fi

[ -z "${ENGINE:-}" ] || set -- --engine "$ENGINE" "$@"
[ -z "${JOBS:-}" ] || set -- --jobs "$JOBS" "$@"
[ -z "${MODEL:-}" ] || set -- --model "$MODEL" "$@"
[ -z "${BACKEND:-}" ] || set -- --backend "$BACKEND" "$@"

python=$here/.venv/bin/python
[ -x "$python" ] || python=python3

cd -- "$here"
exec "$python" -m inference -i "$inputs" -o "$outputs" "$@"
