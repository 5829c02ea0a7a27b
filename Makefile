# Shortcuts for `cargo xtask` (see `cargo xtask --help`) and the tests.

.PHONY: qa audit test changelog

qa:
	cargo xtask qa

audit:
	cargo xtask audit

test:
	cargo test --workspace

changelog:
	cargo xtask changelog
