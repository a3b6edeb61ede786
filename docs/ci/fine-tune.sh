#!/bin/sh
# Submit the job of a job file or take it up again, and watch it for a while.
#
#     sh fine-tune.sh [JOB.TOML [SECONDS]]
#
# For Jenkins, cron, or a terminal.  The exit code is that of ftjobs: 0 the job succeeded, 5 it
# failed, 8 it still runs: run this again, from any machine, to go on watching the same job.
# Reports lie in ftjobs-reports: job.xml (JUnit), job.md, job.json.
set -eu

job_file=${1:-job.toml}
seconds=${2:-18000}
reports=ftjobs-reports

mkdir -p "$reports"
ftjobs plan "$job_file" -o "$reports/plan.json"
job=$(ftjobs apply "$reports/plan.json" -o "$reports/job.json")
# The job file may name the backend; the plan knows it.
backend=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["backend"])' "$reports/plan.json")
exec ftjobs --backend "$backend" watch "$job" --timeout "$seconds" \
  -o "$reports/job.xml" -o "$reports/job.md" -o "$reports/job.json"
