# Every command of the project. Each does its own set-up, once (tools/setup.sh).
.DEFAULT_GOAL := help
.PHONY: help run test check score time bench export bundle weights

TEAM ?= medseg-laptop
CONTAINER ?= docker
IMAGES ?= test_input
SEGS ?= out/segs
FROM ?= weights

python := .venv/bin/python
runtime := .venv/.runtime-ready
dev := .venv/.dev-ready

# Jittor on the CPU, quiet, one compile cache whatever the git branch. JITTOR_HOME would stick in its config.json.
test check bench export: export nvcc_path ?=
test check bench export: export log_silent ?= 1
test check bench export: export cache_name ?= default
unexport JITTOR_HOME

# Settings of this machine that a build needs too, each passed only where it is set.
build_settings := PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_TRUSTED_HOST http_proxy https_proxy no_proxy
build_args := $(foreach name,$(build_settings),$(if $($(name)),--build-arg $(name)))

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

$(runtime): requirements-runtime.txt tools/setup.sh
	sh tools/setup.sh runtime

$(dev): requirements-dev.txt requirements-runtime.txt tools/setup.sh
	sh tools/setup.sh dev

run: $(runtime) ## masks for the cases of test_input, written to test_output (BACKEND, MODEL, ENGINE, INPUTS, OUTPUTS)
	sh predict.sh

test: $(dev) ## all tests
	$(python) -m pytest

check: $(dev) ## the linter and the fast tests
	$(python) -m ruff check .
	$(python) -m pytest -m "not slow and not docker"

# status 1 of predict.sh: some cases failed, and score 0
score: $(dev) ## DATA=DIR: segment DIR/validation-box/imgs and score it against DIR/validation-box/gts
	@test -d "$(DATA)/validation-box/imgs" || \
		{ echo 'make score DATA=DIR: DIR/validation-box/imgs must be a folder'; exit 2; }
	INPUTS="$(DATA)/validation-box/imgs" OUTPUTS="$(SEGS)" sh predict.sh || [ $$? = 1 ]
	$(python) -m evaluation "$(SEGS)" "$(DATA)/validation-box/gts" --csv "$(SEGS).csv" \
		--boxes "$(DATA)/validation-box/imgs" --baselines

time: $(dev) ## seconds, memory and CPU of each case of IMAGES in its container (TIME_FLAGS="--runner bare": without)
	$(python) -m time_eval --images "$(IMAGES)" --out out/time --team $(TEAM) $(TIME_FLAGS)

bench: $(dev) ## the six made cases over our models and MedficientSAM-L0's, by turns, to time_eval/results (BENCH_FLAGS)
	$(python) -m time_eval.bench $(BENCH_FLAGS)

export: $(dev) ## Jittor weights of FROM/roi2d and FROM/roi3d to ONNX and OpenVINO in weights/, verified
	$(python) -m export roi2d --weights "$(FROM)/roi2d"
	$(python) -m export roi3d --weights "$(FROM)/roi3d"

weights: $(dev) ## MODEL=NAME: which official file to put where, and how to convert it
	@$(python) -m models.checkpoints where $(MODEL)

bundle: ## the challenge's submission: dist/TEAM.tar.gz (CONTAINER=docker|podman)
	$(CONTAINER) build --network host $(build_args) --target cpu --tag $(TEAM):latest .
	mkdir -p dist
	$(CONTAINER) save --output dist/$(TEAM).tar $(TEAM):latest
	gzip --force dist/$(TEAM).tar
	@ls -lh dist/$(TEAM).tar.gz
