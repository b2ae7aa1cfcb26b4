#!/usr/bin/env bash
# Starts a test program or another program that cargo built; the one that makes network namespaces as root.
set -euo pipefail
case "$(basename "$1")" in
  network-*) exec sudo --preserve-env "$@" ;;
  *) exec "$@" ;;
esac
