"""The shards of a release: plan, members, tars, indexes and random access."""
