#!/usr/bin/env bash
# scripts/fuzz.sh SECONDS [TARGET]: throws inputs at one parser or at all of them, one after the other.
set -euo pipefail
cd "$(dirname "$0")/../tests/fuzz"

# Coverage comes from LLVM, which a stable compiler has as well. These flags replace those of .cargo/config.toml:
# libFuzzer looks up what it intercepts in the dynamic C library.
RUSTFLAGS=-Cpasses=sancov-module
for flag in level=4 inline-8bit-counters pc-table trace-compares; do
  RUSTFLAGS+=" -Cllvm-args=-sanitizer-coverage-$flag"
done
export RUSTFLAGS CARGO_TARGET_DIR=../../target/fuzz

seconds=$1
targets=${2:-$(basename --suffix=.rs src/bin/*.rs)}
[ -z "${2:-}" ] || [ -f "src/bin/$2.rs" ] || { echo "fuzz: there is no target $2; there are: $(basename --suffix=.rs src/bin/*.rs | xargs)" >&2; exit 1; }

out=$(realpath -m ../../target/fuzz)
programs=$out/x86_64-unknown-linux-gnu/fuzz
[ -d "$programs" ] || echo "fuzz: compiling everything with coverage, once (this takes minutes)"
nice -n 10 cargo build --profile fuzz -p aios-fuzz --features link --quiet

failed=
for target in $targets; do
  # What was found interesting is kept from run to run.
  mkdir -p "$out/corpus/$target" "$out/crashes/$target"
  echo "fuzz: $target, $seconds s"
  nice -n 10 "$programs/$target" -max_total_time="$seconds" -timeout=5 -rss_limit_mb=2048 -artifact_prefix="$out/crashes/$target/" \
    "$out/corpus/$target" "seeds/$target" 2>&1 | tee "$out/$target.log" \
    | sed -unE 's/^#([0-9]+)\s+(pulse|DONE)\s+cov: ([0-9]+) ft: ([0-9]+) .*exec\/s: ([0-9]+).*/  \1 inputs, \3 places, \4 features, \5 inputs\/s/p' \
    || failed+=" $target"
  if [[ $failed == *" $target" ]]; then
    grep -E -m 3 -A 1 'panicked at|ERROR: libFuzzer' "$out/$target.log" >&2 || tail -3 "$out/$target.log" >&2
    sed -nE "s|.*Test unit written to (.*)|  again: $programs/$target \1|p" "$out/$target.log" >&2
  fi
done
[ -z "$failed" ] || { echo "fuzz: failed:$failed" >&2; exit 1; }
