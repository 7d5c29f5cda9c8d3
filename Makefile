# Two commands: `make demo` and `make test`. Each target works as the first one on a fresh Debian 12 (git, make, python3, root or sudo).
.DEFAULT_GOAL := build
JOBS ?= $(shell nproc)
.PHONY: setup build test demo model twin oracle install fuzz format lint clean

setup:
	@scripts/setup.sh

build: setup
	@scripts/build.sh release

test: setup
	@scripts/test.sh

demo: model
	@scripts/build.sh release sparing sparing-lab
	@scripts/demo.sh

model: setup
	@scripts/model.sh

twin: model
	@scripts/twin.sh

oracle: build model
	@scripts/oracle.sh

install: build
	DESTDIR=$(DESTDIR) cmake --install build/release --prefix $(or $(PREFIX),/usr/local)

fuzz: setup
	@scripts/fuzz.sh $(or $(SECONDS_EACH),1800)

format: setup
	@scripts/format.sh --fix

lint: setup
	@scripts/format.sh --check
	@scripts/check_layers.py

clean:
	rm -rf build
