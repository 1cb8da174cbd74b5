#!/usr/bin/env bash
# Installs AutoPipe with its extras, but the benchmarks' peers, into an existing virtual environment.
#
#   deployments/install.sh .venv
#
# On Linux the default index serves torch with 2-3 GB of CUDA libraries. Without an NVIDIA GPU they
# are dead weight, so torch is taken from PyTorch's CPU index first; when that index cannot be
# reached, or has no matching build, pip's own configuration decides. The version is the same
# (constraints.txt), so whatever is installed here is kept by the second step.
# TORCH_INDEX=<url> chooses another build (ROCm, another CUDA); TORCH_INDEX= leaves it to pip.
set -euo pipefail
cd "$(dirname "$0")/.."

pip=("$1/bin/python" -m pip --disable-pip-version-check)

if [ "$(uname -s)" = Linux ] && ! nvidia-smi -L >/dev/null 2>&1; then
  default_index=https://download.pytorch.org/whl/cpu
else
  default_index=
fi
index=${TORCH_INDEX-$default_index}

if [ -n "$index" ]; then
  echo "Taking torch from $index"
  "${pip[@]}" install --quiet --retries 0 --timeout 15 --no-deps \
    --index-url "$index" --constraint constraints.txt torch ||
    echo "$index gave no torch; leaving the choice to pip's configuration"
fi
"${pip[@]}" install --constraint constraints.txt --editable '.[dev,gguf,dask,pictures]'
"${pip[@]}" check
