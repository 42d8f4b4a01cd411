"""From video to motion labels: landmarks, then a head fitted to them, cameras, mattes and what is to be trusted."""
