"""The streaming pass over a gallery: what every query's candidate list looks like, without ever holding all pairs.

It knows neither torchmetrics nor Lightning. :class:`~vse_lightning.ranking.reading.RankingReader` says what it asks of
a metric, :func:`~vse_lightning.ranking.query_values.query_values` is the way in, and whoever calls it summarises the
values of the queries. A :class:`~vse_lightning.ranking.gallery.Gallery` holds the images and texts,
:class:`~vse_lightning.ranking.pair_scores.PairScores` scores them block by block,
:class:`~vse_lightning.ranking.candidate_lists.CandidateLists` are the whole lists of a block of queries, and
:class:`~vse_lightning.ranking.text_queries.TextQueries` collects the best of each text's while blocks of images arrive.
"""
