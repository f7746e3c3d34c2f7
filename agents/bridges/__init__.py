"""Other people's interfaces around our parts; imported only when they are asked for."""
