# The two commands of the README, and what developers need. CMake does the building; this file only calls it.
#   make serve   install what the build needs, build, get the default model, serve it on 127.0.0.1:8000
#   make test    install what tests need, build, run everything that CI runs
#   make soak    all kinds of requests at once for SOAK_SECONDS (600) on the default model: nothing may go wrong, nothing may grow
#   make fuzz    a million changed images, and each other parser for a minute, under the sanitizers
#   make install the program with man pages, completions and service, and the library (PREFIX=/usr/local, DESTDIR=)
#   make deb     a Debian package in build/release/packages
#   make sbom    what the program is linked with, as SPDX: build/release/spate.spdx.json
#   make reproducible   two builds of the last commit, compared byte for byte
#   make coverage       which lines of src/ the tests run, with the sanitizers; fails below 85 %
#   make analyze        cppcheck, gcc -fanalyzer and clang-tidy over src/
MODEL ?=
ARGS ?=
JOBS := $(shell nproc)

PREFIX ?= /usr/local

.PHONY: serve test fuzz soak build check-all bench gpu-bundle installable install deb sbom reproducible coverage analyze format clean

build: build/release/spate

build/release/spate: FORCE
	@scripts/install_packages.sh build
	@test -f build/release/build.ninja || cmake --preset release -DSPATE_TESTS=OFF >/dev/null
	@cmake --build --preset release --target spate -- $(if $(V),-v,--quiet)

FORCE:

serve: build
	@model="$(MODEL)"; [ -n "$$model" ] || model=$$(scripts/get_model.sh) || exit 1; \
	exec build/release/spate serve "$$model" $(ARGS)

test:
	@scripts/install_packages.sh test
	@scripts/ci.sh

check-all: # the long ones: longer fuzzing, all sanitizers over everything, cross builds
	@scripts/install_packages.sh test
	@SPATE_LONG=1 scripts/ci.sh

soak: build # two hours: make soak SOAK_SECONDS=7200
	@model="$(MODEL)"; [ -n "$$model" ] || model=$$(scripts/get_model.sh) || exit 1; \
	SPATE_TEST_MODEL="$$model" SOAK_SECONDS=$(or $(SOAK_SECONDS),600) SPATE=build/release/spate exec python3 tests/soak/soak.py

fuzz: # one alone: make fuzz FUZZ=fuzz_gguf FUZZ_SECONDS=600
	@scripts/install_packages.sh test
	@test -f build/fuzz/build.ninja || cmake --preset fuzz -DSPATE_TESTS=ON >/dev/null
	@cmake --build --preset fuzz --target fuzzers -- --quiet
	@FUZZ_SECONDS=$(or $(FUZZ_SECONDS),60) scripts/fuzz.sh $(FUZZ)
	@if [ -z "$(FUZZ)" ]; then FUZZ_RUNS=$(or $(FUZZ_RUNS),1000000) scripts/fuzz.sh fuzz_image; fi

bench: build
	@bench/cpu_vs_llamacpp.sh

gpu-bundle: # a folder for a machine with a GPU; needs nvcc 13
	@scripts/gpu_bundle.sh

installable: build
	@cmake --build --preset release --target libspate documents -- $(if $(V),-v,--quiet)

install: installable
	@cmake --install build/release --prefix $(PREFIX)

deb: installable
	@scripts/install_packages.sh deb
	@cd build/release && cpack

sbom: build
	@echo build/release/spate.spdx.json

reproducible:
	@scripts/install_packages.sh deb
	@scripts/reproducible.sh

coverage:
	@scripts/install_packages.sh test
	@scripts/coverage.sh run

analyze:
	@scripts/install_packages.sh test
	@scripts/analyze.py all

format:
	@git ls-files '*.c' '*.h' | xargs clang-format -i

clean:
	rm -rf build
