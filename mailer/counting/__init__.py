"""Opens and clicks, for those who agreed."""
