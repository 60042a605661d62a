"""What is asked for, before anything is computed.

A sweep file and the command line's changes come in (``grid``, ``sweep_file``, ``entries``, and the blocks ``slurm_options``,
``tune_options``, ``selection``); resolved configs of single runs go out, each with the identity that names it (``run_config``). Options
and declarations of methods are read from their source text (``method_source``, ``method_options``), and ``weights`` says which file a
backbone's name means. Nothing here imports torch or runs a method; whatever is wrong is refused with the file, the key and the valid
choices.
"""
