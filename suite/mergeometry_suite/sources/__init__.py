"""One loader per source: from the files of a package to labelled examples."""
