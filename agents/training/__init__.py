"""Between an advantage and a changed weight: passes, gradients, processes, guards, resume."""
