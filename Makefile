# How to work here
#
# On a fresh Debian machine with Go, "make demo" shows what the project does and
# "make test" proves it. Both install and build only what they need: Debian packages
# (as root, or through sudo) and the fixture, a small operating system made of Debian
# packages in the shape of Fedora CoreOS. The fixture is built once and kept in the
# user's cache directory. The program itself needs neither packages nor root.
#
# While writing code, use "go test ./pkg/...": it takes seconds and needs no fixture.
# A test that needs a real tool (e2fsck, sgdisk, qemu-img) is skipped with a message
# when the tool is not installed. OHP_TOOLS=required turns the skip into a failure, and
# make sets it.
#
#   make check   gofmt, go vet, staticcheck
#   make test    all of the above, every unit test, and a boot under BIOS and UEFI
#   make ci      everything: test, the race detector, all boots, the release from end to
#                end, golden digests under emulation, and the judges that are built
#   make judges  build the independent judges (coreos-installer, ostree-ext, Ignition's
#                validator) into the user's cache, some 25 minutes once, and run them
#
# The code is in pkg/, from the nouns outward: rootfs (a tree of inodes) and disk (an
# image that is a plan), then their codecs. cmd/ohp-assemble is the only place that
# reads the clock, the environment or a terminal. ci/fixture builds the operating
# system, ci/boot boots images in QEMU, ci/reference builds the same disk the
# conventional way for comparison, and ci/bench measures both side by side.
#
# No test has a time limit, because a busy machine can be ten times slower than an
# idle one. A boot fails when its console falls silent.
#
# A change begins with the test that would convince a sceptic. It is done when
# "make test" passes and a stranger can use it by the README alone.

.DEFAULT_GOAL := help
.PHONY: help build setup setup-demo fixture fixture-ref demo release test ci check unit race golden boot boot-brief judges judged bench reference fuzz clean

export CGO_ENABLED = 0
# Signature policies need go.podman.io/image/v5/signature, which uses a C library for
# OpenPGP unless this tag is set. Without the tag, a --policy rejects every container.
export GOFLAGS := $(GOFLAGS) -trimpath -tags=containers_image_openpgp
# Policies of distributions, which may not be part of the project. Tests that compare
# with them are skipped visibly where they are absent.
export OHP_VECTORS ?= $(or $(wildcard $(abspath ../shared/vectors)),none)

VERSION     := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
TEST        := go test -timeout 0
# The race detector needs cgo, and sleeps for a second at the end of each process unless
# told otherwise.
RACE        := CGO_ENABLED=1 GORACE=atexit_sleep_ms=0 $(TEST) -race -short
FUZZTIME    ?= 1m

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

build: ## Build the program: bin/ohp-assemble, one static binary
	go build -ldflags '-s -w -X main.version=$(VERSION)' -o bin/ohp-assemble ./cmd/ohp-assemble

setup: ## Install the Debian packages for tests and the fixture
	@ci/fixture/setup

setup-demo:
	@ci/fixture/setup demo

fixture: setup ## Build the fixture operating systems (kept in the cache)
	@ci/fixture/build all

fixture-ref: ## Print a fixture's reference: make -s fixture-ref FIXTURE=tiny-base|tiny-chunked|full-base|full-chunked
	@ci/fixture/ref $(FIXTURE)

demo: setup-demo ## Build images, boot them under BIOS and UEFI, show their reports; FIXTURE=full-chunked for the full system
	@ci/demo

release: build fixture ## From a Containerfile over a registry to a machine that boots
	@ci/release

test: check unit boot-brief ## Checks, all unit tests, one boot under each firmware

ci: test race golden boot release judged ## Everything that CI runs

check: ## gofmt, go vet, staticcheck
	@test -z "$$(gofmt -l cmd pkg ci | tee /dev/stderr)"
	go vet ./...
	go run $(STATICCHECK) ./...

unit: build fixture ## All tests except boots, every tool required
	OHP_TOOLS=required OHP_FIXTURE=required $(TEST) ./...

race: ## The concurrent packages and the command under the race detector
	$(RACE) ./cmd/... ./pkg/rootfs/... ./pkg/disk ./pkg/disk/raw ./pkg/cloud/... ./pkg/stream/...

BRIEF = TestTiny$$/tiny-base

boot-brief: build fixture
	OHP_TOOLS=required OHP_BOOT=tiny $(TEST) -count=1 -v -run '$(BRIEF)' ./ci/boot

GOLDEN := $(patsubst %/testdata/golden.txt,./%,$(wildcard cmd/*/testdata/golden.txt pkg/*/*/testdata/golden.txt))

golden: setup ## Golden digests of all bytes: with one core, with two, and as a program of aarch64
	GOMAXPROCS=1 $(TEST) -count=1 -short -run TestGolden $(GOLDEN)
	GOMAXPROCS=2 $(TEST) -count=1 -short -run TestGolden $(GOLDEN)
	GOARCH=arm64 $(TEST) -count=1 -vet=off -short -exec qemu-aarch64 -run TestGolden $(GOLDEN)

boot: boot-brief ## Boot images of the tiny and the full system under SeaBIOS and UEFI
	OHP_TOOLS=required OHP_BOOT=all $(TEST) -count=1 -v -skip '$(BRIEF)' ./ci/boot

judges: build fixture ## Build the independent judges, once, and run them
	@ci/judges/build >/dev/null
	OHP_JUDGES=required $(TEST) -count=1 -v ./ci/judges

judged: build fixture ## Run the judges that are built, and name the missing ones
	OHP_JUDGES=built $(TEST) -count=1 -v ./ci/judges

bench: build fixture ## Measure ohp-assemble beside the conventional way
	@ci/bench/run

reference: fixture ## Make the same disk the conventional way and compare it file by file
	@ci/reference/check

fuzz: ## Run every fuzzer for FUZZTIME
	@ci/fuzz $(FUZZTIME)

clean: ## Remove build results; the caches stay
	rm -rf bin out
