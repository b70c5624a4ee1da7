"""Articles, from a feed or a push to what an issue may hold."""
