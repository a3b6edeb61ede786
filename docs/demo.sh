#!/bin/sh
# The main job, end to end, with ftjobs' own commands.  `make demo` runs it.
set -eu

export FTJOBS_HOME="${FTJOBS_HOME:-$PWD/.demo}" FTJOBS_BACKEND=local
data=datasets/company-ja

run() {
    printf '\n$ %s\n' "$*"
    "$@"
}

run ftjobs models pull smollm2-135m
run ftjobs data check $data/train.jsonl
run ftjobs submit $data/train.jsonl --model smollm2-135m --suffix demo --seed 42 --watch
run ftjobs compare $data/prompts.jsonl --base smollm2-135m --tuned latest --max-tokens 64
tuned=$(ftjobs jobs list --json | head -n 1 | sed -E 's/.*"fine_tuned_model": ?"([^"]*)".*/\1/')
# With the cache, where there is one of its own: without it the base model is converted again.
cache=${FTJOBS_CACHE:+FTJOBS_CACHE=$FTJOBS_CACHE }
printf '\nAsk it yourself: %sFTJOBS_HOME=%s %s chat %s\n' "$cache" "$FTJOBS_HOME" "$(command -v ftjobs)" "$tuned"
