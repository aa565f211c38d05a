"""The runtime: images and boxes in, masks out. On the CPU path it needs numpy and one engine, nothing else; isal makes
reading and writing faster."""
