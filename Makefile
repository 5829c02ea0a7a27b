# For those who look for one. What is done stands in xtask/; `cargo xtask --help` tells more.

.PHONY: qa audit test changelog

qa:
	cargo xtask qa

audit:
	cargo xtask audit

test:
	cargo test --workspace

changelog:
	cargo xtask changelog
