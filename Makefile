# make demo   from a clean clone to the robots at work        make test   the whole test suite
# make check  what CI asks for besides the tests               make bench  the benchmarks
SHELL := bash
PYTHON ?= python3
# torch's build is yours to choose (the CPU's, unless an index is given), e.g. TORCH='torch==2.13.0 --index-url https://download.pytorch.org/whl/cu130'
TORCH ?= torch==2.13.0
PYTEST ?=
ROS := scripts/with_ros
# A node starts in half the time from bytecode, and the tests start some sixty.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-nodes test-core test-models check format type setup bench lock clean

setup:  ## everything that the rest needs, in .venv and ros2_ws; says what is missing and how to get it
	@PYTHON="$(PYTHON)" TORCH="$(TORCH)" scripts/setup.sh

demo: export ROBO4D_MAKE_STARTED_S := $(shell date +%s.%N)
demo: setup
	@$(ROS) python -m robo4d_ros.demo $(DEMO)

test: setup  ## nodes live by the clock and go first; what only computes takes the time that they leave
	@$(MAKE) --jobs=3 --no-print-directory test-nodes test-core test-models

test-nodes:
	@OMP_NUM_THREADS=1 $(ROS) python -m pytest tests/robo4d_ros $(PYTEST)

test-core:
	@OMP_NUM_THREADS=1 $(ROS) nice -n 19 python -m pytest --ignore=tests/robo4d_ros --ignore=tests/robo4d_models $(PYTEST)

test-models:
	@OMP_NUM_THREADS=1 $(ROS) nice -n 19 python -m pytest tests/robo4d_models $(PYTEST)

check: setup
	@scripts/check.sh

format: setup
	@.venv/bin/ruff format . && .venv/bin/ruff check --fix .

bench: setup  ## BENCH_JSON=FOLDER writes the figures there, too
	@$(BENCH_JSON:%=mkdir -p %)
	@$(ROS) robo4d bench sim $(BENCH_JSON:%=--json %/sim.json)
	@$(ROS) robo4d bench transport $(BENCH_JSON:%=--json %/transport.json)

lock:  ## pin all dependencies with hashes (needs uv); torch stays open
	uv pip compile -q pyproject.toml --upgrade --universal --python-version 3.10 --generate-hashes \
	    --extra models --extra sim --extra motion --extra bags --extra view --extra dev \
	    --no-emit-package torch --no-emit-index-url --custom-compile-command "make lock" -o requirements/base.lock
	uv pip compile -q pyproject.toml --upgrade --universal --python-version 3.10 --generate-hashes \
	    --extra ros -c requirements/base.lock --no-emit-index-url --custom-compile-command "make lock" -o requirements/ros.lock

clean:
	rm -rf .venv ros2_ws/build ros2_ws/install ros2_ws/log
