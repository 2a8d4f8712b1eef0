"""Subcommands of the command line, one a file: ``add_arguments(parser)`` and ``run(options) -> exit status``.

They hold no algorithms: each turns its options into the configs of a recipe and runs that.
"""
