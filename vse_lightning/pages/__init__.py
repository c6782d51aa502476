"""HTML pages: what the gallery of a run, the answers of a search and an evaluation are shown on."""
