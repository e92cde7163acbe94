# How one works here
#
# On a fresh Debian machine with Go, "make demo" shows what this project does
# and "make test" proves that it does it. Both set up what they need: Debian
# packages (as root, or through sudo) and the fixture, a small operating system
# made of Debian packages and shaped like Fedora CoreOS. The fixture takes some
# minutes once and is then kept in the user's cache directory. The program
# itself needs neither packages nor root.
#
# While writing code, "go test ./pkg/..." is the loop: seconds, no fixture. Where
# a real tool judges a format (e2fsck, sgdisk, qemu-img and their like), a test
# is skipped, and says so, when the tool is not installed; OHP_TOOLS=required
# turns that into a failure, and make sets it. "make unit" adds the tests that
# read the fixture, "make boot" boots what was built, "make check" is what a
# reviewer would say first, and "make race" looks for data races.
#
# The code is in pkg/, from the nouns outward: rootfs (a tree of inodes) and
# disk (an image that is a plan), then their codecs. cmd/ohp-assemble is the only place
# that reads the clock, the environment or a terminal. ci/fixture makes the operating
# system, ci/boot boots images in QEMU, ci/reference makes the same disk the
# conventional way to compare with, and ci/bench measures both side by side.
#
# No test has a time limit, because a busy machine may be ten times slower than an
# idle one: a boot fails when its console falls silent.
#
# "make judges" builds independent implementations (coreos-installer, ostree-ext,
# Ignition's validator) into the user's cache, which takes some 25 minutes once, and
# has them judge the images. "make ci" is "make test" and those judges that are
# built already.
#
# A change begins with the test that would convince a sceptic. It is done when
# "make test" passes and a stranger could use it by the README alone.

.DEFAULT_GOAL := help
.PHONY: help build setup fixture fixture-ref demo release test ci check unit race boot judges judged bench reference fuzz clean

export CGO_ENABLED = 0
VERSION     := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
TEST        := go test -timeout 0
RACE        := CGO_ENABLED=1 $(TEST) -race -short # the one thing that needs cgo
FUZZTIME    ?= 1m

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

build: ## Build the program: bin/ohp-assemble, one static binary
	go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/ohp-assemble ./cmd/ohp-assemble

setup: ## Install the Debian packages that tests and the fixture need
	@ci/fixture/setup

fixture: setup ## Build the fixture operating systems (kept in the cache)
	@ci/fixture/build all

fixture-ref: ## Print a fixture's reference: make -s fixture-ref FIXTURE=tiny-base|tiny-chunked|full-base|full-chunked
	@ci/fixture/ref $(FIXTURE)

demo: build fixture ## Build images of the full fixture, boot them, show what they say
	@ci/demo

release: build fixture ## From a Containerfile over a registry to a machine that boots
	@ci/release

test: setup fixture check unit race boot release ## All tests

ci: test judged ## What CI runs: all tests, and the judges that are built

check: ## gofmt, go vet, staticcheck
	@test -z "$$(gofmt -l cmd pkg ci | tee /dev/stderr)"
	go vet ./...
	go run $(STATICCHECK) ./...

unit: build fixture ## All tests but the boots, every tool required
	OHP_TOOLS=required OHP_FIXTURE=required $(TEST) ./...

race: ## The concurrent packages and the command under the race detector
	$(RACE) ./pkg/rootfs/... ./pkg/disk ./pkg/disk/raw ./pkg/cloud/... ./pkg/stream/... ./cmd/...

boot: build fixture ## Boot what was built under SeaBIOS and OVMF, tiny and full
	OHP_TOOLS=required OHP_BOOT=all $(TEST) -count=1 -v ./ci/boot

judges: build fixture ## Build the independent judges, once, and run them
	@ci/judges/build >/dev/null
	OHP_JUDGES=required $(TEST) -count=1 -v ./ci/judges

judged: build fixture ## Run the judges that are built, and name the others
	OHP_JUDGES=built $(TEST) -count=1 -v ./ci/judges

bench: build fixture ## Measure ohp-assemble beside the conventional way
	@ci/bench/run

reference: fixture ## Make the same disk the conventional way and compare it file by file
	@ci/reference/check

fuzz: ## Run every fuzzer for FUZZTIME
	@ci/fuzz $(FUZZTIME)

clean: ## Remove what was built here; the caches stay
	rm -rf bin out
