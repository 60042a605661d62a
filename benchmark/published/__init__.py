"""Numbers from papers, and our cells beside them.

``results/published/*.yaml`` and a sweep's records come in; ``published_numbers`` reads them and says what keeps the two from being
compared, ``comparison`` gives an outcome with its prediction interval, and a table of outcomes with reasons goes out.
"""
