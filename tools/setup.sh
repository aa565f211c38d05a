#!/bin/sh
# Makes .venv ready; safe to repeat.   sh tools/setup.sh runtime|dev
#   runtime  numpy, OpenVINO and isal: all that predict.sh needs
#   dev      also Jittor with what its compiler needs, the exporter's packages, and the tests
# Missing Debian packages are installed when this runs as root; otherwise they are named and the script stops.
# PYTHON chooses the interpreter (default python3); pip takes its index and certificates from its own environment.
set -eu

say() { printf 'setup: %s\n' "$*" >&2; }
stop() { say "$*"; exit 1; }

# have_package NAME: true if the Debian package is installed
have_package() { dpkg-query -W -f='${Status}' "$1" 2>/dev/null | grep -q 'ok installed'; }

# need_packages NAME...: installs those that are missing
need_packages() {
    missing=
    for package in "$@"; do have_package "$package" || missing="$missing $package"; done
    [ -n "$missing" ] || return 0
    command -v apt-get >/dev/null || stop "install the equivalents of these Debian packages, then repeat:$missing"
    [ "$(id -u)" = 0 ] || stop "missing Debian packages; run: sudo apt-get install --no-install-recommends$missing"
    say "apt-get install$missing"
    apt-get update -qq
    # shellcheck disable=SC2086  # a list of names
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
}

make_venv() {
    .venv/bin/python -m pip --version >/dev/null 2>&1 && return 0
    command -v "$PYTHON" >/dev/null || stop "$PYTHON not found; install Python 3.11 or set PYTHON"
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        stop "Python 3.11 or newer is needed; $PYTHON is $("$PYTHON" --version 2>&1)"
    # Debian keeps the pip that a new venv starts with in a package of its own
    "$PYTHON" -c 'import ensurepip' 2>/dev/null || need_packages python3-venv
    say "making .venv with $("$PYTHON" --version)"
    "$PYTHON" -m venv --clear .venv
}

install_wheels() { .venv/bin/python -m pip install --disable-pip-version-check -r "$1"; }

# Jittor cuts its compiler's command line at spaces. The runtime has no such limit.
refuse_spaces() {
    for folder in "$PWD" "$HOME"; do
        case $folder in
            *[[:space:]]*) stop "Jittor cannot compile under a folder with a space in its name: move $folder" ;;
        esac
    done
}

# Jittor asks pythonX.Y-config for the C headers, and looks for it only beside its own interpreter and in /usr/bin.
find_python_headers() {
    config=$("$PYTHON" -c 'import sys, sysconfig; print(
        "{}/python{}.{}-config".format(sysconfig.get_config_var("BINDIR"), *sys.version_info[:2]))')
    name=$(basename "$config")
    [ -x "/usr/bin/$name" ] && return 0
    if [ -x "$config" ]; then   # a Python of its own (pyenv): a wrapper, as the script finds its headers by its own path
        printf '#!/bin/sh\nexec "%s" "$@"\n' "$config" >".venv/bin/$name"
        chmod +x ".venv/bin/$name"
    else
        need_packages python3-dev
    fi
}

# Jittor downloads a oneDNN of its own unless this folder is filled. Debian's libdnnl serves as well, so where packages can
# be installed, or it is there already, no other host has to be reached.
link_onednn() {
    case $(uname -m) in
        x86_64) folder=dnnl_lnx_2.2.0_cpu_gomp ;;
        aarch64) folder=dnnl_lnx_2.2.0_cpu_gomp_aarch64 ;;
        *) stop "Jittor has no oneDNN for $(uname -m)" ;;
    esac
    folder=$HOME/.cache/jittor/mkl/$folder
    [ -e "$folder/lib/libmkldnn.so" ] && return 0
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then need_packages libdnnl-dev; fi
    for library in /usr/lib/*-linux-gnu/libdnnl.so; do
        [ -e "$library" ] || { say "no libdnnl here: Jittor will download its own oneDNN"; return 0; }
        mkdir -p "$folder/lib"
        ln -sfn /usr/include "$folder/include"
        ln -sfn "$library" "$folder/lib/libmkldnn.so"
    done
}

# Training on several processes is optional: where nothing can be installed, only `mpirun python -m training` is missing.
install_mpi() {
    command -v mpicc >/dev/null && return 0
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then need_packages openmpi-bin libopenmpi-dev
    else say "no mpicc here: training runs on one process (openmpi-bin and libopenmpi-dev would give more)"; fi
}

# Starts get faster; without it all works as well.
compile_models() { .venv/bin/python -m inference.precompile || say "models are compiled at each start"; }

compile_jittor() {
    say "importing Jittor; the first time on a machine this compiles its core, a few minutes"
    unset JITTOR_HOME   # Jittor would remember it in ~/.cache/jittor/config.json
    nvcc_path='' log_silent=1 cache_name=default .venv/bin/python -c 'import jittor' >/dev/null ||
        stop "Jittor does not import; its message stands above"
}

cd -- "$(dirname -- "$0")/.."
PYTHON=${PYTHON:-python3}
case ${1:-} in
    runtime)
        make_venv
        install_wheels requirements-runtime.txt
        compile_models
        ;;
    dev)
        refuse_spaces
        command -v g++ >/dev/null || need_packages g++
        make_venv
        install_wheels requirements-dev.txt
        find_python_headers
        link_onednn
        install_mpi
        compile_models
        compile_jittor
        touch .venv/.dev-ready
        ;;
    *) stop "usage: sh tools/setup.sh runtime|dev" ;;
esac
touch .venv/.runtime-ready
