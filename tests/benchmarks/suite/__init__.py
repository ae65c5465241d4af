"""Mesh against its peers: one upstream, one load generator, each contender in an environment of its own."""
