"""The ``textgym`` command, and the only place that knows all three packages."""
