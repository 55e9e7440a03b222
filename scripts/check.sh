#!/usr/bin/env bash
# Everything that CI asks for besides the tests: format, lint, types, import directions, spelling, containers, YAML.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH=$PWD/.venv/bin:$PATH
failed=()
check() { # NAME COMMAND...
    local name=$1
    shift
    if output=$("$@" 2>&1); then
        printf '%-12s ok\n' "$name"
    else
        printf '%-12s FAILED\n%s\n' "$name" "$output"
        failed+=("$name")
    fi
}
mapfile -t workflows < <(git ls-files '*.yaml' '*.yml')
mapfile -t shell_scripts < <(git grep -lE '^#!.*(bash|sh)$' -- scripts docker .ci .devcontainer)
check format ruff format --check .
check lint ruff check .
check types pyright
check calls pyright -p ros2_ws/src/robo4d
check imports lint-imports
check spelling typos
check yaml yamllint --strict "${workflows[@]}"
check shell shellcheck --external-sources "${shell_scripts[@]}"
check dockerfile hadolint docker/Dockerfile
check compose check-jsonschema --builtin-schema vendor.compose-spec docker/compose.yaml
check devcontainer python -c 'import json, sys; json.load(open(".devcontainer/devcontainer.json"))'
((${#failed[@]} == 0)) || { echo "failed: ${failed[*]}"; exit 1; }
