"""One run: from its resolved config and its prepared assets to its record.

In come a :class:`benchmark.config.run_config.RunConfig`, the decoded images, the prepared weights, and a :class:`session.Session`: the
live claim on the run's folder, with a way to say how far the run is and to be asked to stop. Out go the files of the run's folder,
``record.json`` last, or ``Interrupted`` behind a checkpoint. ``run`` reads top to bottom: images, networks and pipeline are put together
(``images``, ``backbones``, ``net``, ``pipeline``, ``setup_cache``), trained (``loop``, ``optim``, ``checkpoint``), measured (``evaluate``,
``linearity``, ``snapshots``) and written down (``record``). ``preflight`` refuses what cannot run before any compute.
"""
