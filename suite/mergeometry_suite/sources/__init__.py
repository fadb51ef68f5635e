"""One loader a source: from the files of a package to labelled examples."""
