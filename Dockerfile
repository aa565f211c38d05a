# The challenge's container. Targets: cpu (the default: numpy, OpenVINO and isal) and gpu (Jittor with CUDA).
#   docker build --network host --target cpu --tag medseg-laptop:latest .
# The classic builder, which Debian 12's docker.io uses, builds every stage up to the target; without --target that includes
# gpu and its large base. BuildKit and podman build only what the target needs, and need no --target.
# BASE may be a Debian 12 image of your own, with a company's certificates in it, say.
ARG BASE=debian:bookworm-slim
ARG CUDA_BASE=nvidia/cuda:12.2.2-cudnn8-devel-ubuntu22.04

# ---- python: shared by the next two. python3-minimal is not enough: numpy needs json, numbers, ctypes and shutil.
FROM ${BASE} AS python
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3 \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt /var/cache/debconf /var/log/*

# ---- build: everything that the final image gets, laid out under /rootfs
FROM python AS build
RUN apt-get update && apt-get install -y --no-install-recommends python3-pip
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_TRUSTED_HOST
COPY requirements-runtime.txt /tmp/
# --no-deps leaves out openvino-telemetry, OpenVINO's only dependency besides numpy
RUN python3 -m pip install --no-cache-dir --no-compile --no-deps \
        --target /rootfs/usr/local/lib/python3.11/dist-packages -r /tmp/requirements-runtime.txt
# Left out: OpenVINO's Python package but for its place (the engine takes the C library), devices and model formats that a CPU
# reading OpenVINO IR never loads, and what is there for developers. The libraries come stripped: doing it again gains 2 MB.
RUN cd /rootfs/usr/local/lib/python3.11/dist-packages \
 && rm -rf bin && find openvino -mindepth 1 -maxdepth 1 ! -name libs ! -name __init__.py -exec rm -r {} + \
 && cd openvino/libs && rm -f cache.json tbb.pc libtbbmalloc_proxy.* \
        libopenvino_intel_gpu_* libopenvino_intel_npu_* libopenvino_auto_* libopenvino_hetero_* \
        libopenvino_gguf_* libopenvino_jax_* libopenvino_onnx_* libopenvino_paddle_* libopenvino_pytorch_* libopenvino_tensorflow_* \
 && cd ../../numpy && rm -rf tests f2py distutils typing/tests core/include core/lib core/_simd.* random/lib random/_examples \
 && cd .. && find . -type d -name tests -prune -exec rm -r {} + \
 && find . -name '*.pyi' -delete \
 && python3 -m compileall -q --invalidation-mode unchecked-hash .
COPY predict.sh /rootfs/workspace/
COPY inference /rootfs/workspace/inference
COPY weights /rootfs/workspace/weights
# The networks are compiled for this kind of processor; on another kind that is ignored.
RUN cd /rootfs/workspace \
 && find weights -type f ! -name manifest.json ! -name '*.xml' ! -name '*.bin' -delete \
 && python3 -m compileall -q --invalidation-mode unchecked-hash inference \
 && PYTHONPATH=/rootfs/usr/local/lib/python3.11/dist-packages python3 -m inference.precompile \
 && mkdir inputs outputs && chmod 777 outputs && chmod -R a+rX .

# ---- cpu: runs with --network none --read-only; writes to /workspace/outputs alone
FROM python AS cpu
RUN useradd --no-create-home --shell /bin/bash user && rm -rf /var/log/*
COPY --from=build /rootfs/ /
WORKDIR /workspace
ENV INPUTS=/workspace/inputs OUTPUTS=/workspace/outputs
USER user
CMD ["sh", "predict.sh"]

# ---- gpu: docker build --target gpu; docker run --gpus all. The project's tests do not build it: its base is several GB.
# Jittor compiles its kernels on first use (minutes) into /home/user/.cache: keep that in a volume, and do not run --read-only.
# cuDNN 8 is the newest that Jittor 1.3.11 loads; oneDNN comes from the distribution and the other libraries that Jittor
# would download (NCCL, cuTT, CUTLASS) are switched off, so that it runs without a network.
FROM ${CUDA_BASE} AS gpu
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3.11 python3.11-dev python3.11-venv g++ libgomp1 libdnnl-dev \
 && rm -rf /var/lib/apt/lists/*
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_TRUSTED_HOST
COPY requirements-dev.txt requirements-runtime.txt /tmp/
RUN python3.11 -m venv /workspace/.venv \
 && grep -E '^(jittor|safetensors|numpy|isal)==' -h /tmp/requirements-*.txt >/tmp/requirements.txt \
 && /workspace/.venv/bin/python -m pip install --no-cache-dir -r /tmp/requirements.txt
WORKDIR /workspace
COPY predict.sh /workspace/
COPY inference /workspace/inference
COPY models /workspace/models
COPY weights /workspace/weights
RUN useradd --create-home --shell /bin/bash user \
 && mkdir -p inputs outputs /home/user/.cache/jittor/mkl/dnnl_lnx_2.2.0_cpu_gomp/lib \
 && ln -s /usr/include /home/user/.cache/jittor/mkl/dnnl_lnx_2.2.0_cpu_gomp/include \
 && ln -s /usr/lib/x86_64-linux-gnu/libdnnl.so /home/user/.cache/jittor/mkl/dnnl_lnx_2.2.0_cpu_gomp/lib/libmkldnn.so \
 && chown -R user: /home/user && chmod 777 outputs && chmod -R a+rX .
ENV INPUTS=/workspace/inputs OUTPUTS=/workspace/outputs BACKEND=gpu log_silent=1 use_nccl=0 use_cutt=0 use_cutlass=0
USER user
CMD ["sh", "predict.sh"]

# ---- what a build without --target makes
FROM cpu
