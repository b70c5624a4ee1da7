"""The people behind it: newsletters, accounts, tokens, and what they must hear of."""
