# A thin wrapper over Meson; `make help` lists the targets. ./dev does the same after installing what is missing.
BUILD  ?= build
JOBS   ?= $(shell nproc)
MESON  ?= meson

.PHONY: build test check rooms lint format asan clang bench soak demo docs help clean
.DEFAULT_GOAL := build

# What Meson says is kept in a file and shown only when it fails.
define configure
	@test -f $(1)/build.ninja || { mkdir -p $(1) && { $(MESON) setup $(1) $(2) > $(1)/setup.log 2>&1 || { cat $(1)/setup.log; rm -f $(1)/build.ninja; exit 1; }; }; }
endef

build:                  ## build/tenet
	$(call configure,$(BUILD),-Doptimization=2)
	@NINJA_STATUS="Building:   %f of %t  " ninja -C $(BUILD) -j $(JOBS) --quiet

test: build             ## every quick test; the last line counts them
	@tools/run-tests $(BUILD)

check: test asan rooms lint clang   ## test, the same under sanitizers, rooms, names, lint, and clang without a warning

rooms: build            ## who includes whom, and what is exported
	@tools/check-rooms
	@tools/check-names $(BUILD)

lint:                   ## what a script can see of docs and style
	@tools/lint

format:                 ## lays the sources out by .clang-format (clang-format 14, Debian 12's)
	@tools/sources | xargs clang-format -i

asan:                   ## the tests under AddressSanitizer and UBSan
	$(call configure,build-asan,-Doptimization=1 -Ddebug=true -Db_sanitize=address$(comma)undefined -Db_lundef=false)
	@NINJA_STATUS="Sanitizers: %f of %t  " ninja -C build-asan -j $(JOBS) --quiet
	@ASAN_OPTIONS=detect_stack_use_after_return=1:allocator_may_return_null=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
		tools/run-tests build-asan

clang:                  ## everything by clang and by gcc, warnings as errors
	$(call configure,build-clang,--native-file tools/clang.ini -Doptimization=2 -Dwerror_all=true)
	@NINJA_STATUS="clang:      %f of %t  " ninja -C build-clang -j $(JOBS) --quiet
	$(call configure,build-gcc,-Doptimization=2 -Dwerror_all=true)
	@NINJA_STATUS="gcc:        %f of %t  " ninja -C build-gcc -j $(JOBS) --quiet

bench: build            ## ratios to this machine's limits, and to other libraries where they are installed
	@tools/run-bench $(BUILD)

soak: build             ## the long proofs: kills, flips, fuzzing, a bare Debian; writes docs/measured/
	@tools/run-soak $(BUILD) $(SOAK)

demo: build             ## the main job: align a small model, and prove it
	@tools/demo

docs: build             ## docs/commands/*.md from the option tables
	@tools/make-docs $(BUILD)

help:                   ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

clean:                  ## removes the build folders
	rm -rf $(BUILD) build-asan build-clang build-gcc

comma := ,
