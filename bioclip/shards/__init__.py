"""WebDataset shards and the release that holds them."""
