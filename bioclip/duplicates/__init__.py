"""Groups of images that are the same photograph, and the gate that keeps copies of evaluation images out of training."""
