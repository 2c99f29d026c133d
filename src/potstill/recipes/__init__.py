"""Complete recipes from the literature, each with its source: shown, and given their data, by ``potstill recipes``.

They lie in the package and nowhere else, so that what is installed and what is read in the repository are one file.
"""
