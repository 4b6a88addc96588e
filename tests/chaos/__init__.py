"""Attacks on the real shop: load while its processes and servers die. docs/chaos.md says what is proved."""
