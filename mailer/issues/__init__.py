"""Issues, from what is new to what each group of readers gets, and the checks before they leave."""
