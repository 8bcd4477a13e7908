"""Where nodes run and how they break."""
