"""Text and labels: corpora behind one interface, nested subsets, and the sandbox that makes its own languages."""
