"""TokenCut and what is built on it: masks and objects without labels."""
