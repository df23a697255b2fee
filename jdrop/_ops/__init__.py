"""The family: a file a kind of op, each op one function over `jdrop._op.apply`."""
